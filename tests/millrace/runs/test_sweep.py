"""The sweep on real servers: what no cursor shows arrives, what is gone goes, and what agrees is left alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from local.stack import WAREHOUSE_IAM_ROLE
from millrace import Incremental, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.declaration.captures import DeletePolicy
from millrace.lake.batch import MANIFEST_NAME, SCANS
from millrace.runs.choose import ReadRequest
from millrace.sources import chunk
from millrace.warehouse.warehouse import Warehouse
from tests.support.engine import NOW, Engine, counts
from tests.support.notes import NOTES

LONG_AGO = "'2020-01-01+00'"


def fill(engine: Engine, rows: int = 10) -> None:
    engine.source(
        "CREATE TABLE notes (id bigint PRIMARY KEY, body text, changed timestamptz); "
        f"INSERT INTO notes SELECT i, 'note ' || i, clock_timestamp() FROM generate_series(1, {rows}) AS i"
    )


def kept_objects(engine: Engine) -> set[str]:
    """Keys of the lake but for the scans of sweeps, which expire."""
    return {key for key in engine.store.list_keys("") if not key.startswith(f"{SCANS}/")}


async def test_silent_updates_inserts_and_deletes_arrive(either: Engine) -> None:
    fill(either)
    await either.deliver(NOTES)
    either.source(
        "UPDATE notes SET body = 'silent' WHERE id = 1; DELETE FROM notes WHERE id IN (2, 3); "
        f"INSERT INTO notes VALUES (11, 'restored', {LONG_AGO})"
    )
    await either.deliver(NOTES)
    assert either.query("SELECT count(*) FROM engine.notes") == [(10,)], "no cursor shows any of it"
    assert counts(await either.sweep(NOTES)) == {"read": 11, "inserted": 1, "updated": 1, "deleted": 2, "unchanged": 7}
    assert either.rows("notes", "id", "body") == either.source("SELECT id, body FROM notes ORDER BY 1")


async def test_a_sweep_of_a_stream_that_was_never_loaded_reads_it_as_a_whole(engine: Engine) -> None:
    fill(engine)
    assert counts(await engine.run(NOTES, ReadRequest("sweep"))) == {"read": 10, "inserted": 10}
    assert engine.batches[-1].kind == "window"


async def test_a_second_sweep_finds_everything_unchanged_and_rewrites_nothing(either: Engine) -> None:
    fill(either)
    await either.deliver(NOTES)
    before = either.rows("notes")
    assert counts(await either.sweep(NOTES)) == {"read": 10, "unchanged": 10}
    assert either.rows("notes") == before


@pytest.mark.parametrize(
    ("stream", "mode", "files"),
    [
        (NOTES, ReadRequest("sweep"), [MANIFEST_NAME]),
        (NOTES, ReadRequest("sweep", deep=True), [MANIFEST_NAME]),
        (replace(NOTES, capture=Snapshot()), NOW, [MANIFEST_NAME, "part-00000.parquet"]),
    ],
    ids=["sweep", "deep sweep", "snapshot"],
)
async def test_what_finds_nothing_leaves_a_row_in_the_ledger_and(
    either: Engine, stream: Stream, mode: ReadRequest, files: list[str]
) -> None:
    """Its manifest; a snapshot its rows, too, and the list of them that COPY reads. The scan of a sweep expires."""
    fill(either)
    await either.run(stream)
    batches, kept = either.query("SELECT count(*) FROM millrace.batches"), kept_objects(either)
    assert counts(await either.run(stream, mode)) == {"read": 10, "unchanged": 10}
    assert either.query("SELECT count(*) FROM millrace.batches") == [(batches[0][0] + 1,)]
    names = [key.rpartition("/")[2] for key in sorted(kept_objects(either) - kept)]
    assert [name for name in names if not name.startswith("copy-")] == files


async def test_a_sweep_moves_the_position_as_a_window_does(engine: Engine) -> None:
    fill(engine)
    await engine.deliver(NOTES)
    engine.source("UPDATE notes SET body = 'stamped', changed = clock_timestamp() WHERE id = 1")
    await engine.sweep(NOTES)
    assert await engine.deliver(NOTES) is None


async def test_a_row_that_is_written_while_the_sweep_goes_on_is_not_lost(engine: Engine) -> None:
    """A late commit: stamped before the scan, visible after it."""
    fill(engine)
    await engine.deliver(NOTES)
    writer = engine.connect_source()
    with writer.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (20, 'late', clock_timestamp())")
        engine.source("INSERT INTO notes VALUES (21, 'early', clock_timestamp())")
        await engine.sweep(NOTES)
        writer.commit()
    writer.close()
    await engine.deliver(NOTES)
    assert engine.rows("notes", "id")[-2:] == [(20,), (21,)]


@pytest.mark.parametrize(
    ("policy", "left", "deleted"),
    [("hard", [(1, None)], 2), ("soft", [(1, False), (2, True), (3, True)], 2), ("ignore", [(1,), (2,), (3,)], 0)],
)
async def test_deletes_follow_the_policy(
    either: Engine, policy: DeletePolicy, left: list[tuple[object, ...]], deleted: int
) -> None:
    stream = replace(NOTES, deletes=policy)
    fill(either, rows=3)
    await either.deliver(stream)
    either.source("DELETE FROM notes WHERE id > 1")
    assert counts(await either.sweep(stream)).get("deleted", 0) == deleted
    if policy == "soft":
        assert either.query('SELECT id, "_deleted_at" IS NOT NULL FROM engine.notes ORDER BY 1') == left
    else:
        assert either.rows("notes", "id") == [row[:1] for row in left]
    assert counts(await either.sweep(stream)).get("deleted", 0) == 0, "a delete is counted once"


@pytest.mark.parametrize("body", ["note 2", "another"])
async def test_a_deleted_row_that_comes_back_is_alive_again(either: Engine, body: str) -> None:
    """A, gone, A: with its old values as with new ones, by the cursor as by the sweep."""
    stream = replace(NOTES, deletes="soft")
    fill(either, rows=3)
    await either.deliver(stream)
    for step in (either.deliver, either.sweep):
        either.source("DELETE FROM notes WHERE id = 2")
        await either.sweep(stream)
        stamp = "clock_timestamp()" if step == either.deliver else LONG_AGO
        either.source(f"INSERT INTO notes VALUES (2, '{body}', {stamp})")
        assert counts(await step(stream))["updated"] == 1
        assert either.query('SELECT body, "_deleted_at" FROM engine.notes WHERE id = 2') == [(body, None)]


async def test_a_policy_changed_to_soft_adds_the_mark_to_the_target(engine: Engine) -> None:
    fill(engine, rows=3)
    await engine.deliver(NOTES)
    engine.source("DELETE FROM notes WHERE id = 2")
    result = await engine.sweep(replace(NOTES, deletes="soft"))
    assert result is not None
    assert "add column _deleted_at TIMESTAMPTZ to engine.notes" in result.warnings[0]
    assert engine.query('SELECT id FROM engine.notes WHERE "_deleted_at" IS NOT NULL') == [(2,)]


async def test_a_row_that_cannot_be_decoded_is_not_taken_for_a_deleted_one(engine: Engine) -> None:
    """Its last good version stays; the row is rejected with its reason."""
    stream = replace(NOTES, source="postgres:public.prices", name="prices")
    engine.source(
        "CREATE TABLE prices (id int PRIMARY KEY, price numeric, changed timestamptz DEFAULT now()); "
        "INSERT INTO prices VALUES (1, 1.5), (2, 2.5)"
    )
    await engine.deliver(stream)
    engine.source("UPDATE prices SET price = 'NaN' WHERE id = 2")
    assert counts(await engine.sweep(stream)) == {"read": 2, "unchanged": 1, "rejected": 1}
    assert engine.query("SELECT id, price FROM engine.prices ORDER BY 1") == engine.query(
        "SELECT 1, 1.5 UNION ALL SELECT 2, 2.5"
    )
    assert [reject["reason"] for reject in engine.rejects()] == ["number_does_not_fit"]


async def test_damage_in_the_warehouse_is_found_and_mended(engine: Engine) -> None:
    fill(engine)
    await engine.deliver(NOTES)
    before = engine.rows("notes", "id", "body")
    damage(engine)
    assert counts(await engine.sweep(NOTES)) == {"read": 11, "inserted": 1, "deleted": 1, "unchanged": 9}
    assert engine.rows("notes", "id", "body") == before


def damage(engine: Engine) -> None:
    """A row lost, and one that the source never had."""
    connection = engine.connect_warehouse()
    with connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM engine.notes WHERE id = 4")
        cursor.execute("UPDATE engine.notes SET id = 99 WHERE id = 5")
        own = 'body, changed, "_row_hash", "_loaded_at"'
        cursor.execute(f"INSERT INTO engine.notes SELECT 5, {own} FROM engine.notes WHERE id = 99")
    connection.close()


async def test_a_truncated_source_empties_the_target(either: Engine) -> None:
    fill(either)
    await either.deliver(NOTES)
    either.source("TRUNCATE notes")
    assert counts(await either.sweep(NOTES)) == {"read": 10, "deleted": 10}
    assert either.query("SELECT count(*) FROM engine.notes") == [(0,)]


async def test_a_sweep_by_a_key_that_cannot_be_compared_is_refused(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE hours (at time PRIMARY KEY, changed timestamptz); INSERT INTO hours VALUES ('10:00', now())"
    )
    stream = Stream("hours", source="postgres:public.hours", key="at", capture=Incremental("changed"))
    await engine.deliver(stream)
    with pytest.raises(ConfigurationError, match="cannot compare keys of type time"):
        await engine.sweep(stream)
    assert engine.query("SELECT count(*) FROM engine.hours") == [(1,)]


async def test_a_sweep_goes_on_past_a_key_that_is_too_long_for_the_warehouse(engine: Engine) -> None:
    engine.source("CREATE TABLE words (word text PRIMARY KEY, n int, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO words VALUES ('a', 1), ('b', 1), ('c', 1)")
    stream = Stream("words", source="postgres:public.words", key="word", capture=Incremental("changed"))
    await engine.deliver(stream)
    engine.source("INSERT INTO words VALUES (repeat('x', 70000), 1)")
    engine.source("DELETE FROM words WHERE word = 'a'; UPDATE words SET n = 2 WHERE word = 'b'")
    assert counts(await engine.sweep(stream)) == {"read": 4, "updated": 1, "deleted": 1, "unchanged": 1, "rejected": 1}
    assert [reject["reason"] for reject in engine.rejects()] == ["too_long"]


async def test_keys_of_a_case_insensitive_type_are_told_apart(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key in a block of its own: the source must not give one row for both spellings."""
    monkeypatch.setattr(chunk, "BLOCK_ROWS", 1)
    engine.source("CREATE EXTENSION citext; CREATE TABLE words (word citext PRIMARY KEY, changed timestamptz)")
    engine.source("INSERT INTO words VALUES ('Abc', now()), ('other', now())")
    stream = Stream("words", source="postgres:public.words", key="word", capture=Incremental("changed"))
    await engine.deliver(stream)
    engine.source("UPDATE words SET word = 'abc' WHERE word = 'Abc'")
    assert counts(await engine.sweep(stream)) == {"read": 3, "inserted": 1, "deleted": 1, "unchanged": 1}
    assert engine.rows("words", "word") == [("abc",), ("other",)]


async def test_many_long_keys_are_asked_for_in_several_questions(
    engine: Engine, mongo_url: str, mongo_database: str
) -> None:
    """More than MongoDB takes in one query."""
    stream = Stream("things", source=f"mongo:{mongo_database}.things", key="_id", capture=Incremental("at"))
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    things = client[mongo_database]["things"]
    old = datetime(2020, 1, 1, tzinfo=UTC)
    things.insert_many([{"_id": f"{number:04}" + "x" * 9_996, "n": 1, "at": old} for number in range(1_700)])
    await engine.deliver(stream)
    things.update_many({}, {"$set": {"n": 2}})
    client.close()
    assert counts(await engine.sweep(stream)) == {"read": 1_700, "updated": 1_700}


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
async def test_moments_at_the_edges_are_keys_in_any_time_zone_of_the_warehouse(engine: Engine, zone: str) -> None:
    engine.source(
        "CREATE TABLE moments (at timestamptz PRIMARY KEY, changed timestamptz); INSERT INTO moments "
        "SELECT at::timestamptz, now() FROM unnest(ARRAY['0001-01-01 00:00+00', '9999-12-31 23:59:59.999999+00']) AS at"
    )
    stream = Stream("moments", source="postgres:public.moments", key="at", capture=Incremental("changed"))
    connect = engine.warehouse._connect

    def connect_in_zone() -> Any:
        connection = connect()
        with connection.cursor() as cursor:
            cursor.execute(f"SET TimeZone = '{zone}'")
        connection.commit()
        return connection

    monkey = Warehouse(connect_in_zone, engine.warehouse.dialect, WAREHOUSE_IAM_ROLE)
    zoned = replace(engine, warehouse=monkey)
    await zoned.deliver(stream)
    engine.source("UPDATE moments SET changed = '2020-01-01+00'")
    assert counts(await zoned.sweep(stream)) == {"read": 2, "updated": 2}


MEASURE = """
import asyncio, resource, sys
import psycopg2
from millrace import Incremental, Pipeline, Stream
from millrace.sources.chunk import batches_of_keys
from millrace.sources.postgres import PostgresSource
from millrace.runs.destination import BatchDestination
from millrace.runs.context import StreamContext
from millrace.runs.sweep import sweep
from millrace.warehouse.compare import Comparison
from millrace.warehouse.dialect import POSTGRES_DIALECT
from millrace.base.types import INT64, Column
from millrace.warehouse.stream_state import StreamState
from contextlib import contextmanager

class Discard:
    def uri(self, key): return key
    def put_file(self, path, key): return path.stat().st_size
    def put_bytes(self, data, key): return len(data)

url, rows = sys.argv[1:]
stream = Stream("big", source=f"postgres:public.big_{rows}", key="id", capture=Incremental("changed"))

class Unequal(Comparison):
    def fetch_blocks(self):
        yield from batches_of_keys((key, 1) for key in range(1, int(rows) + 1))

class Warehouse:
    def find_state(self, pipeline, stream): return StreamState((Column("id", "id", INT64),))
    @contextmanager
    def compare(self, pipeline, stream, scan, store, known, trusts_hashes): yield Unequal(0, 0, None)

landing = BatchDestination("test", Discard(), POSTGRES_DIALECT.limits)
source = PostgresSource(lambda: psycopg2.connect(url))
context = StreamContext(source, landing, Warehouse(), Pipeline("test", [stream]), stream)
swept = asyncio.run(sweep(context, deep=True))
assert (swept.kind, swept.counts.read) == ("sweep", int(rows))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_memory_bytes(engine: Engine, rows: int) -> int:
    engine.source(
        f"CREATE TABLE big_{rows} AS SELECT i::bigint AS id, repeat(md5(i::text), 4) AS body, now() AS changed "
        f"FROM generate_series(1, {rows}) AS i; ALTER TABLE big_{rows} ADD PRIMARY KEY (id)"
    )
    command = [sys.executable, "-c", MEASURE, engine.postgres_url, str(rows)]
    return int(subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[3]).stdout)


def test_the_memory_of_a_sweep_does_not_grow_with_the_table(engine: Engine) -> None:
    """Also where every single row differs: five times the rows in about the same memory."""
    small, large = peak_memory_bytes(engine, 100_000), peak_memory_bytes(engine, 500_000)
    assert large - small < 64 * 1024 * 1024


@pytest.mark.parametrize("policy", ["Ignore", "keep", ""])
async def test_an_unknown_policy_deletes_nothing(engine: Engine, policy: str) -> None:
    """A declaration takes none; one that comes in by another way stops the load."""
    engine.source("CREATE TABLE gone (id int PRIMARY KEY, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO gone VALUES (1), (2)")
    stream = Stream("gone", "postgres:public.gone", "id", Incremental("changed"))
    await engine.deliver(stream)
    engine.source("DELETE FROM gone WHERE id = 2")
    object.__setattr__(stream, "deletes", policy)
    with pytest.raises(AssertionError):
        await engine.sweep(stream)
    object.__setattr__(stream, "capture", Snapshot())
    with pytest.raises(AssertionError):
        await engine.run(stream)
    assert engine.rows("gone", "id") == [(1,), (2,)]
