"""Reading from a replica of Postgres: the position is bounded by what was replayed there, and the report says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import psycopg2
import pytest

from local.postgres import PostgresServer, start_postgres
from local.stack import Stack
from millrace.sources.chunk import ReadFacts, Window
from millrace.sources.postgres import PostgresSource
from tests.conftest import unique
from tests.support.notes import NOTES
from tests.support.replicas import BLIND, HOUR, start_replica, started, until


@pytest.fixture(scope="module")
def servers(stack: Stack) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary with an empty table, and a streaming replica of it."""
    directory = stack.directory / unique("replicas")
    directory.mkdir(mode=0o755)
    primary = start_postgres(directory / "primary")
    replica = None
    try:
        primary.execute("CREATE TABLE notes (id int primary key, changed timestamptz DEFAULT now())")
        replica = start_replica(primary, directory)
        yield primary, replica
    finally:
        for server in filter(None, (replica, primary)):
            server.stop()


@pytest.fixture
def primary(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[PostgresServer]:
    """With an empty table, followed without delay afterwards."""
    primary, replica = servers
    primary.execute("TRUNCATE notes")
    primary.execute("INSERT INTO notes VALUES (1)")
    yield primary
    replica.execute("SELECT CASE WHEN pg_is_wal_replay_paused() THEN pg_wal_replay_resume() END")


@pytest.fixture
def replica(servers: tuple[PostgresServer, PostgresServer], primary: PostgresServer) -> PostgresServer:
    """Which has come as far as the primary."""
    follow(primary, servers[1])
    return servers[1]


def follow(primary: PostgresServer, replica: PostgresServer) -> None:
    """Wait until all that the primary committed is replayed."""
    ((reached,),) = primary.execute("SELECT pg_current_wal_flush_lsn()")
    until(lambda: replica.execute(f"SELECT pg_last_wal_replay_lsn() >= '{reached}'") == [(True,)])


async def read_of(server: PostgresServer, lower: str | None = None) -> tuple[ReadFacts, list[int]]:
    """What a read of the table says, and the keys that it gives."""
    source = PostgresSource(lambda: psycopg2.connect(server.url()))
    async with source.read(NOTES, (), Window(lower)) as reading:
        return reading.facts, sorted([number async for chunk in reading.read_chunks() for number in chunk.frame["id"]])


async def test_rows_replayed_later_than_any_overlap_arrive(primary: PostgresServer, replica: PostgresServer) -> None:
    """Replay stands still; a row is stamped now, and the replica's clock seems to be hours further at the read."""
    replica.execute("SELECT pg_wal_replay_pause()")
    until(lambda: replica.execute("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    ((replayed,),) = replica.execute("SELECT pg_last_xact_replay_timestamp()")
    primary.execute("INSERT INTO notes VALUES (2)")
    read, ids = await read_of(replica)
    assert ids == [1]
    assert started(read) == replayed - BLIND, "not the clock, but what was replayed"
    assert "replica" in read.position_note
    replica.execute("SELECT pg_wal_replay_resume()")
    follow(primary, replica)
    _, ids = await read_of(replica, read.next_position)
    assert 2 in ids


async def test_a_delayed_replica_is_bounded_by_what_it_applied(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    replica.execute("ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
    replica.execute("SELECT pg_reload_conf()")
    try:
        until(lambda: replica.execute("SHOW recovery_min_apply_delay") == [("1h",)])
        ((committed,),) = primary.execute("INSERT INTO notes VALUES (3) RETURNING now()")
        read, ids = await read_of(replica)
    finally:
        replica.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
        replica.execute("SELECT pg_reload_conf()")
    assert 3 not in ids
    assert started(read) < committed - BLIND
    follow(primary, replica)
    assert 3 in (await read_of(replica, read.next_position))[1]


async def test_a_query_on_the_replica_holds_nothing_back(primary: PostgresServer, replica: PostgresServer) -> None:
    """It writes nothing, however long it takes."""
    del primary
    with closing(psycopg2.connect(replica.url())) as other, other.cursor() as cursor:
        cursor.execute("SELECT now()")
        before, _ = await read_of(replica)
    after, _ = await read_of(replica)
    assert before.next_position == after.next_position


async def test_an_idle_primary_costs_what_was_last_written_and_no_more(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    """The position waits at the last commit: what is read again is fifteen minutes of the primary's life."""
    primary.execute(f"INSERT INTO notes VALUES (4, now() - interval '{(BLIND + HOUR).total_seconds()} s')")
    follow(primary, replica)
    first, _ = await read_of(replica)
    second, ids = await read_of(replica, first.next_position)
    assert second.next_position == first.next_position
    assert 4 not in ids


async def test_an_aurora_reader_is_bounded_by_its_lag(primary: PostgresServer, replica: PostgresServer) -> None:
    """Aurora's function is in the catalog, whatever the replica replayed; of several readers the slowest counts."""
    primary.execute(
        "CREATE FUNCTION pg_catalog.aurora_replica_status() "
        "RETURNS TABLE (server_id text, session_id text, replica_lag_in_msec double precision) LANGUAGE sql AS "
        "$$VALUES ('w', 'MASTER_SESSION_ID', NULL::double precision), ('a', 'x', 20), ('b', 'y', 7200000)$$"
    )
    try:
        follow(primary, replica)
        read, _ = await read_of(replica)
    finally:
        primary.execute("DROP FUNCTION pg_catalog.aurora_replica_status()")
    assert abs(read.read_at - timedelta(hours=2) - BLIND - started(read)) < timedelta(seconds=30)


async def test_a_long_autovacuum_holds_nothing_back(primary: PostgresServer) -> None:
    """It analyzes an index whose expression takes long."""
    primary.execute(
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$BEGIN IF (SELECT backend_type = 'autovacuum worker' FROM pg_stat_activity WHERE pid = "
        "pg_backend_pid()) THEN PERFORM pg_sleep(60); END IF; RETURN $1; END$$"
    )
    primary.execute("CREATE TABLE vacuumed (id int) WITH (autovacuum_analyze_threshold = 0)")
    primary.execute("CREATE INDEX ON vacuumed (slow(id))")
    primary.execute("INSERT INTO vacuumed SELECT generate_series(1, 100)")
    primary.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    primary.execute("SELECT pg_reload_conf()")
    worker = "FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND wait_event = 'PgSleep'"
    try:
        until(lambda: primary.execute(f"SELECT 1 {worker}") != [])
        ((begun,),) = primary.execute(f"SELECT xact_start {worker}")
        read, _ = await read_of(primary)
        assert begun < started(read) == read.read_at
    finally:
        primary.execute("ALTER SYSTEM RESET autovacuum_naptime")
        primary.execute("DROP TABLE IF EXISTS vacuumed")
        primary.execute("DROP FUNCTION slow(int)")
        primary.execute("SELECT pg_reload_conf()")
