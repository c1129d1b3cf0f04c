"""The comparison itself: an engine that does one thing wrong is found, and told so that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from local.stack import Stack
from millrace.warehouse.binding import Binding
from millrace.warehouse.modes.history import HistoryMode
from millrace.warehouse.modes.logs import LogsMode
from millrace.warehouse.modes.mode import Mode
from millrace.warehouse.modes.scd2 import Scd2Mode
from millrace.warehouse.modes.states import StatesMode
from tests.conftest import unique
from tests.millrace.engine_on_servers import Together
from tests.versions.driver import play
from tests.versions.places import together_on


@pytest.fixture(scope="module")
def on_postgres(stack: Stack) -> Together:
    return together_on(stack, "postgres", unique("wrong"))


def ends_at_once(mode: Scd2Mode, start: str, successor: str) -> str:
    return successor


def none_left(mode: Mode, cursor: Any, batch: Any) -> int:
    return 0


def in_the_order_of_arrival(mode: LogsMode) -> str:
    return "SELECT *, at$ AS place$, 1 AS is_row$ FROM events"


def never_deleted(binding: Binding, fact: str, versions: str) -> str:
    return f"{binding._same(fact, versions)} AND {binding._at(fact)} >= {versions}.starts$"


def as_it_says(mode: StatesMode, stated: str, read_at: str, effective_at: str) -> str:
    return f"coalesce({stated}, {effective_at})"


def one_number(mode: HistoryMode, row: str, version: str) -> str:
    return f"{version}::BIGINT"


@pytest.mark.parametrize(
    ("of", "name", "wrong", "number"),
    [
        (Scd2Mode, "_end_before", ends_at_once, 0),
        (Mode, "find_left", none_left, 1),
        (LogsMode, "_placed", in_the_order_of_arrival, 4),
        (Binding, "_is_valid", never_deleted, 4),
        (StatesMode, "_since", as_it_says, 3),
        (HistoryMode, "_record_id", one_number, 0),
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
