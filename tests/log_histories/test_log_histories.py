"""Histories of change logs, few of them: ``make torture KIND=log`` plays any number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import Stack
from millrace.change_logs.changed_keys import ChangedKeys
from millrace.change_logs.postgres_log import PostgresLog
from millrace.runs.extract import Extraction
from tests.conftest import unique
from tests.log_histories.log_driver import play_log
from tests.log_histories.log_history import LogPlaces, log_places_on
from tests.log_histories.log_server import log_server
from tests.torture.places import WarehouseKind

STEPS: dict[WarehouseKind, int] = {"postgres": 24, "redshift": 12}


@pytest.fixture(scope="module")
def log_places(stack: Stack) -> Iterator[LogPlaces]:
    """One for all histories."""
    stack.warehouse.clear()
    with log_server(stack.directory / unique("log")) as server:
        yield log_places_on(stack, server, unique("logs"))


@pytest.mark.parametrize("warehouse", ["postgres", "redshift"])
def test_any_history_of_a_change_log_shows_states_that_the_source_had(
    log_places: LogPlaces, warehouse: WarehouseKind
) -> None:
    outcome = play_log(log_places, 7, 1, STEPS[warehouse], warehouse)
    assert (outcome.problem, outcome.script[-1]) == ("", "end")


@pytest.mark.parametrize("fault", ["deletes are forgotten", "a slot that moved is trusted", "changes are forgotten"])
def test_a_fault_of_the_engine_is_found(log_places: LogPlaces, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """The machine itself."""
    if fault == "deletes are forgotten":
        monkeypatch.setattr(Extraction, "remove", lambda *_: None)
    elif fault == "changes are forgotten":
        of_relation = ChangedKeys.of
        monkeypatch.setattr(ChangedKeys, "of", lambda *arguments: of_relation(*arguments).clear())
    else:
        monkeypatch.setattr(PostgresLog, "_refuse_moved_slot", lambda *_: None)
        monkeypatch.setattr("millrace.change_logs.postgres_log._usable_entries", lambda entries, *_: entries)
    problems = (play_log(log_places, 8, number, 30, "postgres").problem for number in range(6))
    assert any("the targets hold none of the" in problem for problem in problems)
