"""The life of the simulated back office: the same however it is cut up, restarted or killed, and kept in full."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from local.stack import Stack
from millrace.base.errors import ConfigurationError, MillraceError, SourceMissing
from millrace.seed_data.totesys.happened import Counts, Happened
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from millrace.seed_data.totesys.world import TABLES
from tests.conftest import unique

START, DAYS, RATE = date(2025, 3, 6), 6, 25.0
BEGIN = datetime(2025, 3, 6, tzinfo=UTC)
END = BEGIN + timedelta(days=DAYS)
HISTORY = 'SELECT table_name, key, "row", changed_at, is_silent FROM simulation.history ORDER BY sequence'
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@contextmanager
def fresh_database(stack: Stack) -> Iterator[str]:
    name = unique("totesys")
    url = stack.postgres.create_database(name)
    with closing(psycopg2.connect(url)) as connection:
        install(connection)
    yield url
    stack.postgres.drop_database(name)


def rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


def everything(connection: Any) -> dict[str, list[tuple[Any, ...]]]:
    tables = {table: rows(connection, f'SELECT * FROM public."{table}" ORDER BY 1') for table in TABLES}
    return {**tables, "history": rows(connection, HISTORY)}


@pytest.fixture(scope="module")
def advanced(stack: Stack) -> Iterator[tuple[dict[str, list[tuple[Any, ...]]], Happened]]:
    """Six days with many silent edits, made in one step."""
    with fresh_database(stack) as url, closing(psycopg2.connect(url)) as connection:
        happened = TotesysSimulation(connection, 5, START, RATE).advance(END)
        yield everything(connection), happened


@pytest.fixture
def database(stack: Stack) -> Iterator[str]:
    with fresh_database(stack) as url:
        yield url


@pytest.fixture
def connection(database: str) -> Iterator[Any]:
    with closing(psycopg2.connect(database)) as connection:
        yield connection


def test_in_small_steps_with_restarts_the_same_happens(advanced: Any, database: str) -> None:
    expected, happened = advanced
    total, moment = Happened(), BEGIN
    while moment < END:
        with closing(psycopg2.connect(database)) as connection:
            simulation = (
                TotesysSimulation.resume(connection, RATE)
                if total.tables
                else TotesysSimulation(connection, 5, START, RATE)
            )
            for _ in range(12):
                moment = min(moment + timedelta(minutes=97, milliseconds=1), END)
                total += simulation.advance(moment)
                assert simulation.now() == moment
    with closing(psycopg2.connect(database)) as connection:
        assert everything(connection) == expected
    assert total == happened


def test_in_bulk_the_same_happens(advanced: Any, connection: Any) -> None:
    expected, happened = advanced
    simulation = TotesysSimulation(connection, 5, START, RATE)
    assert simulation.fill(DAYS) == happened
    assert everything(connection) == expected
    assert simulation.now() == END


def test_after_bulk_it_lives_on(advanced: Any, connection: Any) -> None:
    expected, _ = advanced
    simulation = TotesysSimulation(connection, 5, START, RATE)
    happened = simulation.fill(DAYS - 2)
    happened += simulation.advance(END)
    assert everything(connection) == expected
    assert happened == advanced[1]


def test_on_a_running_clock_the_same_happens(advanced: Any, connection: Any) -> None:
    expected, happened = advanced
    simulation = TotesysSimulation(connection, 5, START, RATE)
    parts = list(simulation.live(1e6, END, lambda _seconds: False))
    assert [moment for moment, _ in parts[:-1]] == [BEGIN + timedelta(hours=hour + 1) for hour in range(DAYS * 24)]
    assert sum((part for _, part in parts), Happened()) == happened
    assert everything(connection) == expected
    assert END <= simulation.now() == parts[-1][0]


def test_a_running_clock_can_be_stopped_and_rests(connection: Any) -> None:
    simulation = TotesysSimulation(connection, 5, START)
    [(moment, _)] = simulation.live(1.0, END, lambda _seconds: True)
    assert BEGIN < moment == simulation.now() < BEGIN + timedelta(hours=1)
    assert rows(connection, "SELECT speed FROM simulation.clock") == [(0.0,)]


def test_an_event_at_the_very_moment_of_a_restart_happens_once(advanced: Any, connection: Any) -> None:
    expected, _ = advanced
    simulation = TotesysSimulation(connection, 5, START, RATE)
    simulation.advance(BEGIN + timedelta(hours=12))
    [(next_at,)] = rows(connection, "SELECT complete_until + interval '1 microsecond' FROM simulation.clock")
    assert simulation.advance(next_at).tables
    TotesysSimulation.resume(connection, RATE).advance(END)
    assert everything(connection) == expected


def test_a_clock_that_was_left_running_rests_when_it_is_taken_up(advanced: Any, connection: Any) -> None:
    expected, _ = advanced
    TotesysSimulation(connection, 5, START, RATE).advance(BEGIN + timedelta(hours=12))
    rows(connection, "UPDATE simulation.clock SET speed = 1e9")
    [(left_at,)] = rows(connection, "SELECT simulation.now()")
    simulation = TotesysSimulation.resume(connection, RATE)
    assert rows(connection, "SELECT speed, simulation.now(), complete_until FROM simulation.clock") == [
        (0.0, left_at, left_at)
    ]
    simulation.advance(END)
    assert everything(connection) == expected


def test_killed_in_the_middle_it_goes_on_without_a_gap(advanced: Any, database: str) -> None:
    expected, _ = advanced
    with (
        closing(psycopg2.connect(database)) as blocker,
        closing(psycopg2.connect(database)) as victim,
        ThreadPoolExecutor(1) as threads,
    ):
        simulation = TotesysSimulation(victim, 5, START, RATE)
        simulation.advance(BEGIN + timedelta(hours=12))
        blocker.cursor().execute("LOCK TABLE payment IN EXCLUSIVE MODE")
        advancing = threads.submit(simulation.advance, END)
        while not (waiting := _waiting(blocker)):
            assert not advancing.done()
        blocker.cursor().execute("SELECT pg_terminate_backend(%s)", waiting)
        with pytest.raises(MillraceError):
            advancing.result()
    with closing(psycopg2.connect(database)) as connection:
        again = TotesysSimulation.resume(connection, RATE)
        assert again.now() < END
        again.advance(END)
        assert everything(connection) == expected


def _waiting(connection: Any) -> tuple[int] | None:
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return cursor.fetchone()


def test_replaying_the_history_gives_the_tables(advanced: Any, connection: Any) -> None:
    TotesysSimulation(connection, 5, START, RATE).advance(END)
    for table in TABLES:
        replayed = rows(
            connection,
            f"""
            SELECT (jsonb_populate_record(NULL::public."{table}", latest."row")).*
            FROM (
                SELECT DISTINCT ON (key) "row" FROM simulation.history
                WHERE table_name = '{table}' ORDER BY key, sequence DESC
            ) AS latest
            WHERE latest."row" IS NOT NULL ORDER BY 1
            """,
        )
        assert replayed == rows(connection, f'SELECT * FROM public."{table}" ORDER BY 1'), table


def test_the_history_says_what_was_silent_and_counts_as_was_told(advanced: Any) -> None:
    everything_, happened = advanced
    told = {table: [0, 0, 0, 0] for table in happened.tables}
    seen: dict[tuple[str, int], Any] = {}
    for table, key, row, changed_at, is_silent in everything_["history"]:
        before = seen.get((table, key))
        kind = 0 if before is None else 3 if row is None else 2 if is_silent else 1
        if kind in {1, 2}:
            assert (row["last_updated"] == before["last_updated"]) == is_silent
            assert row != before
        assert BEGIN <= changed_at <= END
        told[table][kind] += 1
        seen[table, key] = row
    assert {table: Counts(*counts) for table, counts in told.items()} == happened.tables
    assert happened.total.silent > 50
    assert happened.total.deleted > 5


def test_a_higher_rate_of_silent_edits_leaves_the_rest_as_it_was(advanced: Any, connection: Any) -> None:
    _, happened = advanced
    TotesysSimulation(connection, 5, START, 0).advance(END)
    calm = everything(connection)
    assert not [change for change in calm["history"] if change[4] or change[2] is None]
    kept = {table: counts.inserted for table, counts in happened.tables.items()}
    assert {table: len(calm[table]) for table in TABLES} == kept


def test_what_another_hand_changes_is_seen(connection: Any) -> None:
    simulation = TotesysSimulation(connection, 5, START, RATE)
    simulation.advance(BEGIN + timedelta(hours=20))
    due = "payment_date = '2025-03-07' AND NOT paid"
    [(taken,)] = rows(connection, f"SELECT min(payment_id) FROM payment WHERE {due}")
    rows(connection, f"DELETE FROM payment WHERE payment_id = {taken}")
    rows(
        connection,
        f"UPDATE payment SET paid = true WHERE payment_id = (SELECT max(payment_id) FROM payment WHERE {due})",
    )
    [(left,)] = rows(connection, f"SELECT count(*) FROM payment WHERE {due}")
    happened = simulation.advance(BEGIN + timedelta(days=1, hours=8))
    assert happened.of_table("payment").updated == left > 0
    assert rows(
        connection,
        f"SELECT is_silent FROM simulation.history WHERE key IN ({taken}) AND table_name = 'payment' ORDER BY sequence",
    ) == [(False,), (False,)]


def test_a_moment_that_was_reached_changes_nothing(advanced: Any, connection: Any) -> None:
    simulation = TotesysSimulation(connection, 5, START)
    simulation.advance(END)
    before = everything(connection)
    assert simulation.advance(BEGIN) == simulation.advance(END) == Happened()
    assert everything(connection) == before
    assert simulation.now() == END


def test_filling_twice_is_refused_and_changes_nothing(connection: Any) -> None:
    simulation = TotesysSimulation(connection, 5, START)
    simulation.fill(1)
    before = everything(connection)
    with pytest.raises(ConfigurationError, match="there is data already"):
        simulation.fill(1)
    assert everything(connection) == before


def test_another_seed_or_start_is_refused(connection: Any) -> None:
    TotesysSimulation(connection, 5, START)
    for seed, start in ((6, START), (5, date(2025, 3, 7))):
        with pytest.raises(ConfigurationError, match="seed 5 from 2025-03-06 was begun here"):
            TotesysSimulation(connection, seed, start)
    assert TotesysSimulation(connection, 5, START).now() == BEGIN


def test_nothing_to_resume_is_told(connection: Any) -> None:
    with pytest.raises(SourceMissing, match="millrace seed totesys"):
        TotesysSimulation.resume(connection)


def test_two_at_once_are_refused(database: str, connection: Any) -> None:
    TotesysSimulation(connection, 5, START)
    with closing(psycopg2.connect(database)) as other, pytest.raises(ConfigurationError, match="at work"):
        TotesysSimulation.resume(other)


def test_installing_again_changes_nothing(connection: Any) -> None:
    TotesysSimulation(connection, 5, START).advance(BEGIN + timedelta(hours=9))
    before = everything(connection)
    install(connection)
    assert everything(connection) == before
    assert rows(connection, "SELECT count(*) FROM _prisma_migrations") == [(1,)]
