"""A warehouse that refuses a statement, or cuts the connection at it: a clean error, and the next run is right."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import count
from typing import Literal

import psycopg2
import pytest

from millrace.base.errors import Conflict, RetryableError
from tests.faults.every import steps
from tests.faults.judge import Judge
from tests.faults.places import Places
from tests.faults.subjects import Table
from tests.support.engine import Engine

ATTEMPTS = 6
"""Of a step of the load, before it gives up."""
FEWEST = {"any": 20, "commit": 4}
"""Statements of a run; below, the faults do not meet it."""
APPLY = [("lock", 1), ("delete", 1), ("delete", 2), ("insert", 1), ("insert", 2)]
"""Statements of the apply: the rows that changed, those that are gone, the new ones, the ledger's."""


class StandIn:
    """The stand-in's own controls; on a connection that commits by itself, since a commit would count."""

    def __init__(self, engine: Engine) -> None:
        self._connect = engine.connect_warehouse

    def inject(self, statement: str, action: str, nth: int = 1) -> None:
        """Let the nth such statement from now on fail."""
        self._say(f"STANDIN INJECT '{json.dumps({'statement': statement, 'nth': nth, 'action': action})}'")

    def reset(self) -> None:
        """Forget what did not strike."""
        self._say("STANDIN RESET")

    def struck(self, statement: str, nth: int) -> bool:
        """Whether the fault of ``inject`` met a statement already: else it meets one of the next ``nth`` such."""
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            try:
                for _ in range(nth):
                    cursor.execute("COMMIT" if statement == "commit" else "SELECT 1")
            except psycopg2.OperationalError:
                return False
        return True

    def _say(self, command: str) -> None:
        with closing(self._connect()) as connection:
            connection.autocommit = True
            connection.cursor().execute(command)


@pytest.mark.parametrize(("statement", "action"), [("any", "close"), ("commit", "close_after")])
@pytest.mark.parametrize("way", ["deliver", "sweep"])
async def test_a_connection_lost_at_any_statement(
    places: Places, table: Table, judge: Judge, statement: str, action: str, way: Literal["deliver", "sweep"]
) -> None:
    """At one statement, a later one, … until a run meets no fault: before it runs, and, of commits, when it ran
    and the answer is lost (of any other statement that is the loss before the next). A run either fails cleanly or can
    do without the statement (giving a lease back)."""
    engine = places.engine()
    await engine.deliver(table.stream)
    standin, run = StandIn(engine), engine.deliver if way == "deliver" else engine.sweep
    for number in count(1) if statement == "commit" else steps():
        table.change(deletes=way == "sweep")
        standin.inject(statement, action, number)
        try:
            await run(table.stream)
        except RetryableError:
            await run(table.stream)
        if not standin.struck(statement, number):
            break
        judge.check()
    assert number > FEWEST[statement]


@pytest.mark.parametrize(("statement", "nth"), APPLY)
async def test_a_conflict_is_met_by_the_run_itself(
    places: Places, table: Table, judge: Judge, statement: str, nth: int
) -> None:
    """Of a sweep, whose apply has deletes as well."""
    engine = places.engine()
    await engine.deliver(table.stream)
    table.change(deletes=True)
    batch = await engine.extract_sweep(table.stream)
    assert batch is not None
    StandIn(engine).inject(statement, "error:1023", nth)
    engine.load(table.stream, batch)
    judge.check()


async def test_conflicts_without_end_are_given_up_and_leave_nothing(
    places: Places, table: Table, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.warehouse.session.FIRST_PAUSE_SECONDS", 0.001)
    engine = places.engine()
    await engine.deliver(table.stream)
    before = engine.rows("notes"), engine.query("SELECT * FROM millrace.batches")
    table.change(deletes=True)
    batch = await engine.extract_sweep(table.stream)
    assert batch is not None
    for _ in range(ATTEMPTS):
        StandIn(engine).inject("insert", "error:1023")
    with pytest.raises(Conflict, match="run again"):
        engine.load(table.stream, batch)
    assert (engine.rows("notes"), engine.query("SELECT * FROM millrace.batches")) == before
    engine.load(table.stream, batch)
    judge.check()
