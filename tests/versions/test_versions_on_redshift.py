"""Random histories of versions, facts and records on the Redshift stand-in, each compared with rules of its own."""

from __future__ import annotations

import pytest

from local.stack import Stack
from tests.conftest import unique
from tests.support.engine import Together
from tests.versions.driver import play
from tests.versions.places import together_on

HISTORIES = 4
"""`make torture KIND=versions` plays any number."""


@pytest.fixture(scope="module")
def on_redshift(stack: Stack) -> Together:
    return together_on(stack, "redshift", unique("versions"))


@pytest.mark.parametrize("number", range(HISTORIES))
async def test_every_version_record_and_bound_fact_is_what_the_rules_say(on_redshift: Together, number: int) -> None:
    outcome = await play(on_redshift, 1, number)
    assert not outcome.problem, outcome.told(1)
