"""The simulated clock: what the engine takes as the source's time, never in the future, never before its events."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from local.stack import Stack
from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from millrace.sources.chunk import Window
from millrace.sources.postgres import PostgresSource
from tests.conftest import unique

START = date(2025, 3, 3)
NOON = datetime(2025, 3, 4, 12, tzinfo=UTC)
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def writer(postgres_database: str) -> Iterator[Any]:
    with closing(psycopg2.connect(postgres_database)) as connection:
        install(connection)
        yield connection


@pytest.fixture
def reader_url(stack: Stack, writer: Any) -> Iterator[str]:
    """Of a role that reads the tables by the simulated clock."""
    role = unique("reader")
    stack.postgres.create_role(role, member_of=("pg_read_all_stats",))
    database = writer.info.dbname
    for statement in (
        f"ALTER ROLE {role} IN DATABASE {database} SET millrace.clock = 'simulation.now'",
        f"GRANT CONNECT ON DATABASE {database} TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    ):
        stack.postgres.execute(statement, database=database)
    yield stack.postgres.url(database, user=role)
    stack.postgres.execute(f"DROP OWNED BY {role}", database=database)
    stack.postgres.execute(f"DROP ROLE {role}")


def one(connection: Any, query: str) -> Any:
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


async def test_the_engine_reads_at_the_simulated_time(writer: Any, reader_url: str) -> None:
    TotesysSimulation(writer, 1, START).advance(NOON)
    stream = Stream("payment", source="postgres:public.payment", key="payment_id", capture=Incremental("last_updated"))
    async with PostgresSource(lambda: psycopg2.connect(reader_url)).read(stream, (), Window()) as reading:
        chunks = [chunk async for chunk in reading.read_chunks()]
    assert reading.facts.read_at == NOON
    assert reading.facts.next_position == (NOON - timedelta(seconds=1)).isoformat()
    assert sum(len(chunk.frame) for chunk in chunks) == one(writer, "SELECT count(*) FROM payment") > 0


def test_a_reader_may_ask_the_time_and_nothing_else(writer: Any, reader_url: str) -> None:
    TotesysSimulation(writer, 1, START).advance(NOON)
    with closing(psycopg2.connect(reader_url)) as reader:
        assert one(reader, "SELECT simulation.now()") == one(reader, "SELECT simulation.clock_timestamp()") == NOON
        for statement in (
            "SELECT count(*) FROM simulation.history",
            "UPDATE simulation.clock SET speed = 1 RETURNING speed",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                one(reader, statement)


def test_other_roles_keep_the_real_time(writer: Any) -> None:
    TotesysSimulation(writer, 1, START).advance(NOON)
    assert one(writer, "SELECT now()") > NOON + timedelta(days=1)


def test_before_anything_is_begun_the_time_is_the_real_one(writer: Any) -> None:
    assert one(writer, "SELECT simulation.now() BETWEEN pg_catalog.now() AND pg_catalog.clock_timestamp()")


def test_who_inserts_without_a_stamp_gets_the_simulated_time(writer: Any) -> None:
    TotesysSimulation(writer, 1, START).advance(NOON)
    inserted = "INSERT INTO currency (currency_id, currency_code) VALUES (9, 'CHF') RETURNING {}"
    assert one(writer, inserted.format("created_at AT TIME ZONE 'UTC'")) == NOON


def test_a_clock_that_runs_fast_stops_at_the_present(writer: Any) -> None:
    TotesysSimulation(writer, 1, START)
    with writer, writer.cursor() as cursor:
        cursor.execute("UPDATE simulation.clock SET speed = 1e12, complete_until = 'infinity'")
    assert one(writer, "SELECT simulation.now() BETWEEN pg_catalog.now() AND pg_catalog.clock_timestamp()")


def test_a_clock_that_runs_waits_for_what_is_not_committed(writer: Any) -> None:
    simulation = TotesysSimulation(writer, 1, START)
    simulation.advance(NOON)
    complete_until = one(writer, "SELECT complete_until FROM simulation.clock")
    with writer, writer.cursor() as cursor:
        cursor.execute("UPDATE simulation.clock SET speed = 1e9")
    assert NOON < complete_until == one(writer, "SELECT simulation.now()")
    assert one(writer, "SELECT simulation.target()") > complete_until
    assert simulation.advance(complete_until).tables == {}
    assert len(simulation.advance(complete_until + timedelta(microseconds=1)).tables) > 0


def test_a_reader_sees_no_moment_before_its_events_are_committed(writer: Any, postgres_database: str) -> None:
    simulation = TotesysSimulation(writer, 1, START)
    simulation.advance(NOON)
    with (
        closing(psycopg2.connect(postgres_database)) as blocker,
        closing(psycopg2.connect(postgres_database)) as reader,
        ThreadPoolExecutor(1) as threads,
    ):
        next_at = one(reader, "SELECT complete_until FROM simulation.clock") + timedelta(microseconds=1)
        blocker.cursor().execute("LOCK TABLE payment IN EXCLUSIVE MODE")
        advancing = threads.submit(simulation.advance, NOON + timedelta(days=1))
        while not one(reader, f"SELECT EXISTS ({WAITING})"):
            assert not advancing.done()
        assert one(reader, "SELECT simulation.now()") < next_at + timedelta(hours=7)
        latest = one(reader, "SELECT max(last_updated) AT TIME ZONE 'UTC' FROM payment")
        assert latest <= one(reader, "SELECT simulation.now()")
        assert one(reader, "SELECT max(changed_at) <= simulation.now() FROM simulation.history")
        blocker.rollback()
        advancing.result()
        assert one(reader, "SELECT simulation.now()") == NOON + timedelta(days=1)


def test_the_future_is_refused(writer: Any) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    simulation = TotesysSimulation(writer, 1, START)
    with pytest.raises(ConfigurationError, match="lies in the future"):
        simulation.advance(tomorrow)
    with pytest.raises(ConfigurationError, match="lies in the future"):
        simulation.fill(36_500)
    assert simulation.now() == datetime(2025, 3, 3, tzinfo=UTC)
    with pytest.raises(psycopg2.errors.CheckViolation), writer, writer.cursor() as cursor:
        cursor.execute("UPDATE simulation.clock SET anchor_simulated = %s", (tomorrow,))


def test_a_start_in_the_future_is_refused(writer: Any) -> None:
    with pytest.raises(ConfigurationError, match="lies in the future"):
        TotesysSimulation(writer, 1, datetime.now(UTC).date() + timedelta(days=2))
    assert one(writer, "SELECT count(*) FROM simulation.clock") == 0
