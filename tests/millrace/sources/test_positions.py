"""Where the next read starts: open transactions that are seen or not, overlaps, clocks that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection
from pymongo import MongoClient

from local.mysql import MySQLServer
from local.stack import Stack
from millrace import Incremental, Stream
from millrace.drivers.mongo_client import open_client
from millrace.drivers.psycopg_errors import statement
from millrace.runs.choose import ReadRequest
from millrace.sources import position
from millrace.sources.chunk import Keys, ReadFacts, Window
from millrace.sources.mongo import MongoSource
from tests.support.clocks import clock_that_is_off
from tests.support.engine import Engine, database_of, pipeline_of
from tests.support.notes import NOTES

PAST, FUTURE = "2000-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
AHEAD = timedelta(days=1)
MINUTE = timedelta(minutes=1)
"""The life of a transaction in MongoDB."""
MOMENT = timedelta(seconds=30)
"""That no read takes."""


@pytest.fixture
def notes(engine: Engine) -> Engine:
    """A table with a row."""
    engine.source("CREATE TABLE notes (id int primary key, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO notes VALUES (1)")
    return engine


@pytest.fixture
def blind(notes: Engine, stack: Stack) -> Iterator[Engine]:
    """The same for a user who may not see other sessions' transactions."""
    owner = database_of(notes.postgres_url)
    stack.postgres.execute(f'REVOKE pg_read_all_stats FROM "{owner}"')
    yield notes
    stack.postgres.execute(f'GRANT pg_read_all_stats TO "{owner}"')


async def read_of(engine: Engine, stream: Stream, selection: Window | Keys | None = None) -> tuple[ReadFacts, int]:
    """What a read says, and how many rows it gives."""
    async with engine.table_source(stream).read(stream, (), selection or Window()) as reading:
        return reading.facts, sum([chunk.frame.height async for chunk in reading.read_chunks()])


def started(read: ReadFacts) -> datetime:
    """Where the next read starts."""
    assert read.next_position is not None
    return datetime.fromisoformat(read.next_position)


@pytest.mark.parametrize(("declared", "effective"), [(None, 15), (0, 15), (2, 15), (60, 60)])
async def test_an_overlap_never_shortens_what_a_blind_read_needs(
    blind: Engine, declared: int | None, effective: int
) -> None:
    overlap = None if declared is None else timedelta(minutes=declared)
    read, _ = await read_of(blind, replace(NOTES, capture=Incremental("changed", overlap)))
    assert started(read) == read.read_at - timedelta(minutes=effective)
    assert "grant pg_read_all_stats" in read.position_note
    assert str(timedelta(minutes=effective)) in read.position_note


@pytest.mark.parametrize(("declared", "effective"), [(None, 60), (0, 60), (2, 60), (300, 300)])
async def test_an_overlap_never_shortens_the_life_of_a_transaction_in_mongodb(
    engine: Engine, mongo_database: str, declared: int | None, effective: int
) -> None:
    overlap = None if declared is None else timedelta(seconds=declared)
    stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed", overlap))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        client[mongo_database]["papers"].insert_one({"_id": 1, "changed": datetime.now(UTC)})
    batch = await engine.extract(stream)
    assert batch is not None
    assert batch.progress.position == (batch.read_at - timedelta(seconds=effective)).isoformat()


async def test_an_overlap_never_shortens_what_a_blind_read_of_mysql_needs(
    engine: Engine, mysql: MySQLServer, mysql_database: str
) -> None:
    name = database_of(mysql_database)
    engine.mysql_url = mysql_database
    engine.mysql("CREATE TABLE notes (id int primary key, changed timestamp(6) DEFAULT now(6))")
    engine.mysql_url = mysql.create_user(f"b{name[-12:]}", name, rights=("SELECT",), sees_transactions=False)
    try:
        read, _ = await read_of(engine, replace(NOTES, source=f"mysql:{name}.notes"))
    finally:
        mysql.drop_user(f"b{name[-12:]}")
    assert started(read) == read.read_at - timedelta(minutes=15)


async def test_a_transaction_that_a_blind_read_sees_holds_the_position_as_well(blind: Engine) -> None:
    """Its own role's, older than fifteen minutes."""
    with closing(blind.connect_source()) as late, late.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (2); SELECT now()")
        ((begun,),) = cursor.fetchall()
        read, _ = await read_of(blind, NOTES)
    assert started(read) == begun - timedelta(minutes=15)


async def test_a_session_that_hides_its_transaction_makes_the_read_blind(notes: Engine, stack: Stack) -> None:
    name = database_of(notes.postgres_url)
    stack.postgres.execute(f'ALTER DATABASE "{name}" SET track_activities = off')
    with closing(notes.connect_source()) as late, late.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (2)")
        read, _ = await read_of(notes, NOTES)
    assert started(read) == read.read_at - timedelta(minutes=15)
    assert "track_activities" in read.position_note


async def test_a_prepared_transaction_holds_the_position_as_long_as_it_is_there(notes: Engine) -> None:
    name = database_of(notes.postgres_url)
    with closing(notes.connect_source()) as session, session.cursor() as cursor:
        cursor.execute("BEGIN; INSERT INTO notes VALUES (2)")
        cursor.execute(f"PREPARE TRANSACTION '{name}'")
    ((prepared,),) = notes.source(f"SELECT prepared FROM pg_prepared_xacts WHERE gid = '{name}'")
    try:
        for _ in range(2):
            read, _ = await read_of(notes, NOTES)
            assert started(read) == prepared - timedelta(minutes=15)
            assert "prepared" in read.position_note
    finally:
        with closing(notes.connect_source()) as session, session.cursor() as cursor:
            session.autocommit = True
            cursor.execute(f"ROLLBACK PREPARED '{name}'")
    assert (await read_of(notes, NOTES))[0].position_note == ""


async def test_a_walsender_holds_nothing_back(notes: Engine, stack: Stack) -> None:
    """It is in a transaction for as long as a subscriber copies a table."""
    url = stack.postgres.url(database_of(notes.postgres_url))
    with closing(psycopg2.connect(url, connection_factory=LogicalReplicationConnection)) as sender:
        cursor = sender.cursor()
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT now()")
        ((begun,),) = cursor.fetchall()
        read, _ = await read_of(notes, NOTES)
        assert started(read) > begun


@pytest.mark.parametrize(
    ("backend", "holds", "why"),
    [
        ("'client backend', NULL, 'idle in transaction'", True, ""),
        ("'client backend', '7', 'active'", True, ""),
        ("'logical replication parallel worker', '7', 'active'", True, ""),
        ("'of a later version', NULL, NULL", True, ""),
        ("'walsender', '7', 'active'", True, ""),
        ("'walsender', NULL, 'active'", False, ""),
        ("'autovacuum worker', '7', 'active'", False, ""),
        ("'client backend', '7', 'disabled'", True, "not tracked"),
    ],
)
def test_only_sessions_known_to_write_nothing_hold_no_position_back(
    notes: Engine, backend: str, holds: bool, why: str
) -> None:
    assert seen_of(notes, backend, "'2026-01-01T00:00:00Z'") == (holds, why)


def test_a_transaction_that_does_not_say_when_it_began_makes_the_read_blind(notes: Engine) -> None:
    assert seen_of(notes, "'walsender', '7', 'active'", "NULL") == (False, "not tracked")
    assert seen_of(notes, "'walsender', NULL, 'active'", "NULL") == (False, "")
    assert seen_of(notes, "'client backend', NULL, 'idle'", "NULL") == (False, "")


def seen_of(engine: Engine, backend: str, start: str) -> tuple[bool, str]:
    """Whether a session (its type, transaction id and state) that began then is seen, and why the read is blind."""
    kind, transaction, state = backend.rsplit(", ", 2)
    shown = (
        f"(SELECT 0 AS pid, current_database() AS datname, {kind} AS backend_type, {transaction}::xid AS backend_xid, "
        f"{state} AS state, {start}::timestamptz AS xact_start, ''::text AS application_name)"
    )
    query = statement("postgres_open_transactions").replace("pg_catalog.pg_stat_activity", shown)
    ((_, oldest_start, _, why_blind, _, _),) = engine.source(query)
    return oldest_start is not None, why_blind


async def test_a_transaction_of_a_walsender_that_writes_is_not_passed_over(notes: Engine, stack: Stack) -> None:
    url = stack.postgres.url(database_of(notes.postgres_url))
    with closing(psycopg2.connect(url, connection_factory=LogicalReplicationConnection)) as sender:
        cursor = sender.cursor()
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO notes VALUES (2) RETURNING changed")
        ((stamped,),) = cursor.fetchall()
        read, _ = await read_of(notes, NOTES)
    assert started(read) <= stamped


async def test_rows_of_a_subscription_come_later_than_their_stamps(notes: Engine, stack: Stack) -> None:
    """Whether it is enabled or not: once it is, it brings what was written before."""
    name = database_of(notes.postgres_url)
    options = "WITH (connect = false, slot_name = NONE)"
    stack.postgres.execute(
        f"CREATE SUBSCRIPTION {name} CONNECTION 'host=nowhere.invalid' PUBLICATION p {options}", database=name
    )
    try:
        read, _ = await read_of(notes, NOTES)
    finally:
        stack.postgres.execute(f"DROP SUBSCRIPTION {name}", database=name)
    assert started(read) == read.read_at - timedelta(minutes=15)
    assert "subscribes to another server" in read.position_note


async def test_a_source_whose_clock_is_ahead_is_not_believed(notes: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position, "datetime", clock_that_is_off(-AHEAD))
    read, _ = await read_of(notes, NOTES)
    assert abs(read.read_at - AHEAD - started(read)) < MOMENT
    assert "the source's clock is 1 day, 0:00:00 ahead" in read.position_note


async def test_a_mongodb_whose_clock_is_ahead_is_not_believed(
    engine: Engine, mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position, "datetime", clock_that_is_off(-AHEAD))
    stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed"))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        client[mongo_database]["papers"].insert_one({"_id": 1, "changed": datetime.now(UTC)})
    batch = await engine.extract(stream)
    assert batch is not None
    assert batch.progress.position is not None
    assert abs(batch.read_at - AHEAD - MINUTE - datetime.fromisoformat(batch.progress.position)) < MOMENT
    assert "1 day, 0:00:00 ahead" in batch.note


async def test_a_runner_whose_clock_is_ahead_changes_nothing(notes: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position, "datetime", clock_that_is_off(AHEAD))
    read, _ = await read_of(notes, NOTES)
    assert (started(read), read.position_note) == (read.read_at, "")


async def test_a_position_in_the_future_of_the_source_reads_everything_and_says_so(notes: Engine) -> None:
    """As of a source whose clock was ahead when the position was taken."""
    tomorrow = (datetime.now(UTC) + AHEAD).isoformat()
    read, rows = await read_of(notes, NOTES, Window(tomorrow))
    assert rows == 1
    assert "the position is 1 day, 0:00:00 ahead of the source's clock" in read.note
    assert started(read) <= read.read_at


@pytest.mark.parametrize(
    "read_request",
    [ReadRequest(start=PAST), ReadRequest(end=FUTURE), ReadRequest(start=PAST, end=FUTURE), ReadRequest("replay")],
    ids=["from", "to", "from and to", "replay"],
)
async def test_only_a_read_of_all_that_follows_advances_the_position(notes: Engine, read_request: ReadRequest) -> None:
    notes.source("ALTER TABLE notes ADD share numeric; INSERT INTO notes VALUES (2, now(), 'NaN')")
    await notes.run(NOTES)
    begun = notes.batches[-1].progress.position
    await notes.run(NOTES, read_request)
    assert (notes.batches[-1].counts.read > 0, notes.batches[-1].progress.position) == (True, None)
    assert notes.warehouse.find_state(pipeline_of(NOTES), NOTES).position == begun


async def test_rows_that_were_never_stamped_arrive(notes: Engine) -> None:
    notes.source("INSERT INTO notes VALUES (2, NULL)")
    await notes.run(NOTES)
    notes.source("INSERT INTO notes VALUES (3, NULL)")
    await notes.run(NOTES)
    assert notes.rows("notes", "id") == [(1,), (2,), (3,)]


async def test_a_future_that_a_person_asks_for_is_read(notes: Engine) -> None:
    notes.source("INSERT INTO notes VALUES (2, now() + interval '2 days')")
    tomorrow = (datetime.now(UTC) + AHEAD).isoformat()
    read, rows = await read_of(notes, NOTES, Window(tomorrow, is_chosen=True))
    assert (rows, read.note) == (1, "")


async def test_documents_after_a_position_in_the_future_are_read(engine: Engine, mongo_database: str) -> None:
    stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed"))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        client[mongo_database]["papers"].insert_one({"_id": 1, "changed": datetime.now(UTC)})
    opened = open_client(engine.mongo_url)
    tomorrow = (datetime.now(UTC) + AHEAD).isoformat()
    async with MongoSource(opened).read(stream, (), Window(tomorrow)) as reading:
        assert sum([chunk.frame.height async for chunk in reading.read_chunks()]) == 1
        assert "ahead of the source's clock" in reading.facts.note
    opened.close()
