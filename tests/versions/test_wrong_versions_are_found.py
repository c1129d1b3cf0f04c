"""The comparison itself: an engine that does one thing wrong is found, and told so that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from local.stack import Stack
from millrace.warehouse.bind_statements import Binding
from millrace.warehouse.modes.applier import Application, Applier
from millrace.warehouse.modes.history import HistoryApplier
from millrace.warehouse.modes.logs import LogApplier
from millrace.warehouse.modes.states import StateApplier
from millrace.warehouse.modes.versions import Scd2Applier
from tests.conftest import unique
from tests.support.engine import Together
from tests.versions.driver import play
from tests.versions.places import together_on


@pytest.fixture(scope="module")
def on_postgres(stack: Stack) -> Together:
    return together_on(stack, "postgres", unique("wrong"))


def ends_at_once(applier: Scd2Applier, start: str, successor: str) -> str:
    return successor


def none_left(applier: Applier, application: Application) -> int:
    return 0


def in_the_order_of_arrival(applier: LogApplier) -> str:
    return "SELECT *, at$ AS place$, 1 AS is_row$ FROM events"


def never_deleted(binding: Binding, fact: str, versions: str) -> str:
    return f"{binding._same(fact, versions)} AND {binding._at(fact)} >= {versions}.starts$"


def as_it_says(applier: StateApplier, stated: str, read_at: str, effective_at: str) -> str:
    return f"coalesce({stated}, {effective_at})"


def one_number(applier: HistoryApplier, row: str, version: str) -> str:
    return f"{version}::BIGINT"


@pytest.mark.parametrize(
    ("of", "name", "wrong", "number"),
    [
        (Scd2Applier, "_end_before", ends_at_once, 0),
        (Applier, "find_orphans", none_left, 1),
        (LogApplier, "_place_events", in_the_order_of_arrival, 4),
        (Binding, "_is_valid", never_deleted, 4),
        (StateApplier, "_since", as_it_says, 3),
        (HistoryApplier, "_record_id", one_number, 0),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
async def test_an_engine_that_is_wrong_is_found(
    on_postgres: Together, monkeypatch: pytest.MonkeyPatch, of: type, name: str, wrong: Callable[..., Any], number: int
) -> None:
    """By a history in which it shows; by others as well."""
    monkeypatch.setattr(of, name, wrong)
    found = await play(on_postgres, 1, number)
    told = found.told(1)
    assert f"make torture KIND=versions HISTORIES=1 SEED=1 FIRST={number}" in told
    assert "run " in told
    assert found.problem.startswith(("Difference: ", "CountMismatch: ")), "by the rules, or by the engine's own checks"
