"""What users of other tools complain of, each as a test here. The issues named are public ones of those projects.

The table in docs/complaints.md says what is done about each, and names the test. It is one page, and so is this file,
though it is long: both are read from top to bottom, and each test needs only the few helpers below.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from local.stack import Stack
from millrace import Incremental, Stream
from millrace.base.errors import CountMismatch, StreamBusy, Superseded, TooManyRejects
from millrace.declaration.captures import DeletePolicy
from millrace.lake.batch import Batch
from millrace.sources.chunk import Window
from millrace.sources.postgres import PostgresSource
from tests.support.changed_batches import change_batch
from tests.support.engine import Engine, counts, pipeline_of
from tests.support.notes import NOTES

OLD = datetime(2020, 1, 1, tzinfo=UTC)
Papers = tuple[Stream, Collection[dict[str, Any]]]


def fill(engine: Engine, rows: int = 10) -> None:
    engine.source(
        "CREATE TABLE notes (id int PRIMARY KEY, body text, amount numeric, changed timestamptz DEFAULT now())"
    )
    engine.source(f"INSERT INTO notes SELECT i, 'note ' || i, i FROM generate_series(1, {rows}) AS i")


def add(engine: Engine, *ids: int) -> None:
    engine.source(f"INSERT INTO notes (id) VALUES {', '.join(f'({number})' for number in ids)}")


def ids(engine: Engine) -> list[int]:
    return [number for (number,) in engine.rows("notes", "id")]


def everything(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All tables of the warehouse with their rows; not who holds a stream."""
    tables = engine.query(
        "SELECT table_schema, table_name FROM information_schema.tables "
        "WHERE table_schema IN ('engine', 'millrace') AND table_name <> 'leases' ORDER BY 1, 2"
    )
    return {name: sorted(engine.query(f'SELECT * FROM "{schema}"."{name}"'), key=repr) for schema, name in tables}


def positions(engine: Engine) -> list[datetime]:
    """In the order in which they were committed."""
    found = engine.query("SELECT position FROM millrace.batches WHERE position IS NOT NULL ORDER BY applied_at")
    return [datetime.fromisoformat(position) for (position,) in found]


@pytest.fixture
def papers(engine: Engine, mongo_database: str) -> Iterator[Papers]:
    """A stream of documents, and their collection."""
    stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed", overlap=timedelta(0)))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        yield stream, client[mongo_database]["papers"]


async def test_rows_committed_late_with_an_earlier_timestamp_arrive(engine: Engine) -> None:
    """dlt 2269, airbyte 80152: the position is no highest stamp, but the start of the oldest open transaction."""
    fill(engine)
    with closing(engine.connect_source()) as late, late.cursor() as cursor:
        cursor.execute("INSERT INTO notes (id) VALUES (100)")
        add(engine, 101)
        await engine.deliver(NOTES)
        assert ids(engine) == [*range(1, 11), 101]
        late.commit()
    await engine.deliver(NOTES)
    assert ids(engine) == [*range(1, 11), 100, 101]


async def test_rows_of_one_timestamp_are_not_split_by_a_position(engine: Engine) -> None:
    """airbyte 15427: the position is the very stamp of rows that are still to come, and the read is cut at each."""
    engine.chunk_bytes = 1
    fill(engine)
    with closing(engine.connect_source()) as late, late.cursor() as cursor:
        cursor.execute("INSERT INTO notes (id) VALUES (100), (101), (102)")
        cursor.execute("SELECT now()")
        ((stamp,),) = cursor.fetchall()
        await engine.deliver(NOTES)
        late.commit()
    assert positions(engine) == [stamp]
    assert counts(await engine.deliver(NOTES)) == {"read": 3, "inserted": 3}
    assert ids(engine) == [*range(1, 11), 100, 101, 102]


async def test_a_position_keeps_every_microsecond(engine: Engine) -> None:
    """sling 307, 471: a microsecond before the position nothing is read again, at the position all is."""
    fill(engine)
    with closing(engine.connect_source()) as late, late.cursor() as cursor:
        cursor.execute("SELECT now()")
        ((stamp,),) = cursor.fetchall()
        just_before = stamp - timedelta(microseconds=1)
        engine.source(f"UPDATE notes SET changed = '{just_before}'")
        engine.source(f"UPDATE notes SET changed = '{stamp}' WHERE id = 3")
        await engine.deliver(NOTES)
    assert positions(engine) == [stamp]
    assert counts(await engine.deliver(NOTES)) == {"read": 1, "unchanged": 1}


async def test_a_run_of_no_rows_resets_nothing(engine: Engine) -> None:
    """airbyte 72936."""
    fill(engine)
    await engine.deliver(NOTES)
    before = everything(engine)
    assert await engine.deliver(NOTES) is None
    assert everything(engine) == before
    add(engine, 100)
    assert counts(await engine.deliver(NOTES)) == {"read": 1, "inserted": 1}


async def test_runs_at_once_do_not_share_a_stage(engine: Engine) -> None:
    """dlt 4297: both are between their COPY and their commit at the same time."""
    fill(engine)
    engine.source("CREATE TABLE others AS SELECT id + 1000 AS id, body, amount, changed FROM notes")
    others = replace(NOTES, name="others", source="postgres:public.others")
    batches = [(stream, await engine.extract(stream)) for stream in (NOTES, others)]
    meet = threading.Barrier(2)
    failures: list[Exception] = []

    def load(stream: Stream, batch: Batch | None) -> None:
        meet.wait()
        try:
            assert batch is not None
            engine.load(stream, batch)
        except Exception as error:
            failures.append(error)

    engine.query("""STANDIN INJECT '{"statement": "lock", "nth": 1, "action": "sleep:0.3"}'""")
    threads = [threading.Thread(target=load, args=one) for one in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ids(engine) == [*range(1, 11)]
    assert [number for (number,) in engine.rows("others", "id")] == [*range(1001, 1011)]


async def test_a_load_that_lost_its_rows_is_no_success(postgres_engine: Engine) -> None:
    """airbyte 73715: the warehouse itself swallows the rows, without an error."""
    engine = postgres_engine
    fill(engine)
    await engine.deliver(NOTES)
    engine.query(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER swallow BEFORE INSERT ON engine.notes FOR EACH ROW EXECUTE FUNCTION swallow()"
    )
    before = everything(engine)
    add(engine, 100)
    with pytest.raises(CountMismatch, match="1 rows were to be put in and 0 were"):
        await engine.deliver(NOTES)
    assert everything(engine) == before


async def test_a_bad_row_stops_no_other_and_is_kept_with_its_reason(engine: Engine) -> None:
    """ingestr 1147: one bad record fails hours of work; dlt 1980: discarded rows vanish."""
    fill(engine)
    engine.source("UPDATE notes SET amount = 'NaN', body = 'evidence' WHERE id = 4")
    assert counts(await engine.deliver(NOTES)) == {"read": 10, "inserted": 9, "rejected": 1}
    assert ids(engine) == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    (kept,) = engine.rejects()
    assert (kept["reason"], kept["field"], json.loads(kept["coordinates"])) == (
        "number_does_not_fit",
        "amount",
        {"id": "4"},
    )
    assert json.loads(kept["row"])["body"] == "evidence"
    assert engine.query("SELECT reason, field, rows_rejected FROM millrace.rejects") == [
        ("number_does_not_fit", "amount", 1)
    ]


async def test_more_bad_rows_than_allowed_fail_the_run_before_it_commits(engine: Engine) -> None:
    """The other half of dlt 1980: a quarantine that nobody bounds hides an outage."""
    fill(engine)
    await engine.deliver(NOTES)
    before = everything(engine)
    engine.source("UPDATE notes SET amount = 'NaN', changed = now() WHERE id <= 3")
    with pytest.raises(TooManyRejects, match="3 of 3 rows were rejected, 2 are allowed"):
        await engine.run(replace(NOTES, max_rejects=2))
    assert everything(engine) == before


async def test_every_row_read_is_accounted_for(engine: Engine) -> None:
    """ingestr 897: "0 rows" is told from "silently fewer", in the result and in the ledger."""
    fill(engine)
    stream = replace(NOTES, capture=Incremental("changed", overlap=timedelta(hours=1)))
    await engine.deliver(stream)
    add(engine, 100)
    engine.source("UPDATE notes SET body = 'changed' WHERE id <= 2; UPDATE notes SET amount = 'NaN' WHERE id = 3")
    window = {"read": 11, "inserted": 1, "updated": 2, "unchanged": 7, "rejected": 1}
    assert counts(await engine.deliver(stream)) == window
    engine.source("DELETE FROM notes WHERE id >= 8")
    swept = {"read": 11, "deleted": 4, "unchanged": 6, "rejected": 1}
    assert counts(await engine.sweep(stream)) == swept
    columns = "rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected"
    kept = engine.query(f"SELECT {columns} FROM millrace.batches ORDER BY read_at")
    assert kept == [(10, 10, 0, 0, 0, 0), (11, 1, 2, 0, 7, 1), (11, 0, 0, 4, 6, 1)]
    assert all(read == sum(rest) for read, *rest in kept)


async def test_keys_of_two_columns_are_not_joined_into_one_text(engine: Engine) -> None:
    """dlt 4244, of SCD2: there ("a", "bc") and ("ab", "c") were one key. Here with Merge; with Scd2: test_scd2.py."""
    engine.source("CREATE TABLE pairs (a text, b text, value int, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO pairs VALUES ('a', 'bc', 1), ('ab', 'c', 2), ('abc', '', 3), ('', 'abc', 4)")
    stream = replace(NOTES, name="pairs", source="postgres:public.pairs", key=["a", "b"])
    assert counts(await engine.deliver(stream)) == {"read": 4, "inserted": 4}
    engine.source("UPDATE pairs SET value = 20 WHERE a = 'ab'; DELETE FROM pairs WHERE a = 'a'")
    assert counts(await engine.sweep(stream)) == {"read": 4, "updated": 1, "deleted": 1, "unchanged": 2}
    assert engine.rows("pairs", "a", "b", "value") == [("", "abc", 4), ("ab", "c", 20), ("abc", "", 3)]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
async def test_a_row_that_goes_and_comes_back_as_it_was_is_there_again(engine: Engine, deletes: DeletePolicy) -> None:
    """dlt 1683, of SCD2: A, gone, A with its old values and stamp. Here with Merge; with Scd2: test_scd2.py."""
    fill(engine)
    stream = replace(NOTES, deletes=deletes)
    await engine.deliver(stream)
    before = engine.rows("notes", "id", "body", "amount", "changed")
    engine.source("CREATE TABLE away AS SELECT * FROM notes WHERE id = 4; DELETE FROM notes WHERE id = 4")
    assert counts(await engine.sweep(stream)) == {"read": 10, "deleted": 1, "unchanged": 9}
    engine.source("INSERT INTO notes SELECT * FROM away")
    back = "inserted" if deletes == "hard" else "updated"
    assert counts(await engine.sweep(stream)) == {"read": 10, back: 1, "unchanged": 9}
    assert engine.rows("notes", "id", "body", "amount", "changed") == before
    if deletes == "soft":
        assert engine.query("SELECT count(*) FROM engine.notes WHERE _deleted_at IS NOT NULL") == [(0,)]


async def test_texts_are_as_wide_as_they_need_to_be(engine: Engine) -> None:
    """dlt 2948: VARCHAR(MAX) everywhere exhausts the warehouse's memory."""
    engine.source("CREATE TABLE notes (id int, code varchar(10), body text, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO notes VALUES (1, 'é', repeat('x', 300))")
    widths = (
        "SELECT column_name, character_maximum_length FROM svv_columns "
        "WHERE table_name = 'notes' AND column_name IN ('code', 'body') ORDER BY 1"
    )
    await engine.deliver(NOTES)
    assert engine.query(widths) == [("body", 512), ("code", 10)]
    engine.source("INSERT INTO notes VALUES (2, repeat('é', 10), repeat('x', 5000))")
    await engine.deliver(NOTES)
    assert engine.query(widths) == [("body", 8192), ("code", 32)]


async def test_decimals_keep_their_digits_and_never_become_floats(engine: Engine) -> None:
    """sling 636, 484."""
    engine.source("CREATE TABLE notes (id int, price numeric(12, 2), free numeric, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO notes VALUES (1, 9999999999.99, 12345678901234567890.123456789), (2, 0.10, 1e-9)")
    await engine.deliver(NOTES)
    assert engine.rows("notes", "price", "free", order="id") == [
        (Decimal("9999999999.99"), Decimal("12345678901234567890.123456789")),
        (Decimal("0.10"), Decimal("0.000000001")),
    ]
    types = "SELECT data_type, numeric_precision, numeric_scale FROM svv_columns WHERE table_name = 'notes' AND "
    assert engine.query(types + "column_name = 'price'") == [("numeric", 12, 2)]
    assert engine.query(types + "column_name = 'free'") == [("numeric", 38, 9)]


async def test_nested_arrays_stay_with_their_document(engine: Engine, papers: Papers) -> None:
    """mongo-arrow 257: optional arrays in embedded documents moved to other rows."""
    stream, collection = papers
    nested = [None, {}, {"tags": None}, {"tags": []}, {"tags": [{"of": [1, None]}]}, {"tags": [[2], []]}]
    collection.insert_many({"_id": number, "deep": one, "changed": OLD} for number, one in enumerate(nested * 3))
    collection.insert_many({"_id": number, "changed": OLD} for number in (18, 19))
    await engine.deliver(stream)
    found = [value and json.loads(value) for _, value in engine.rows("papers", "_id", "deep_tags")]
    assert found == [None, None, None, [], [{"of": [1, None]}], [[2], []]] * 3 + [None, None]


async def test_a_value_of_another_type_is_rejected_and_neither_null_nor_the_end_of_the_batch(
    engine: Engine, papers: Papers
) -> None:
    """mongo-arrow 238: mixed types become null; 321: one mismatch kills the batch."""
    stream, collection = papers
    values: list[Any] = [1, 2, "three", 4, {"five": 5}, 6.0, 7.5]
    collection.insert_many({"_id": number, "value": value, "changed": OLD} for number, value in enumerate(values))
    assert counts(await engine.deliver(replace(stream, flatten_depth=0))) == {"read": 7, "inserted": 4, "rejected": 3}
    assert engine.rows("papers", "_id", "value") == [(0, 1), (1, 2), (3, 4), (5, 6)]
    assert {(one["reason"], one["field"]) for one in engine.rejects()} == {("type_mismatch", "value")}


async def test_a_quiet_collection_keeps_its_position(engine: Engine, papers: Papers) -> None:
    """airbyte 34500: a change-stream token dies on a quiet collection. There is no token here: a position is a time."""
    stream, collection = papers
    collection.insert_one({"_id": 1, "changed": OLD})
    await engine.deliver(stream)
    before = everything(engine)
    for _ in range(3):
        assert await engine.deliver(stream) is None
    assert everything(engine) == before
    collection.insert_one({"_id": 2, "changed": datetime.now(UTC)})
    assert counts(await engine.deliver(stream)) == {"read": 1, "inserted": 1}


async def test_a_position_never_goes_back(engine: Engine) -> None:
    """airbyte 69102: not by a late load, a backfill, a full run or a sweep."""
    fill(engine)
    paused = await engine.extract(NOTES)
    assert paused is not None
    await engine.deliver(NOTES)
    with pytest.raises(Superseded):
        engine.load(NOTES, change_batch(paused, token=engine.batches[-1].progress.token))
    await engine.deliver(NOTES, full=True, upper=datetime.now(UTC).isoformat())
    await engine.deliver(NOTES, full=True)
    await engine.sweep(NOTES)
    found = positions(engine)
    assert len(found) == 3
    assert found == sorted(found)
    assert engine.warehouse.find_state(pipeline_of(NOTES), NOTES).position == max(found).isoformat()


async def test_no_replication_slot_fills_the_disk(engine: Engine) -> None:
    """airbyte 47547: nothing of ours makes the source keep its log, or hold back its vacuum."""
    fill(engine)
    level = engine.source("SHOW wal_level")
    await engine.deliver(NOTES)
    await engine.sweep(NOTES)
    assert engine.source("SELECT slot_name FROM pg_replication_slots") == []
    assert engine.source("SHOW wal_level") == level
    others = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert engine.source(f"{others} AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)") == []


async def test_a_position_is_not_acknowledged_one_run_late(engine: Engine) -> None:
    """airbyte 42917: it is committed with the rows it stands for, so the next run begins after them."""
    fill(engine)
    ((before,),) = engine.source("SELECT clock_timestamp()")
    await engine.deliver(NOTES)
    assert positions(engine)[0] >= before
    assert await engine.deliver(NOTES) is None


async def test_a_snapshot_lives_as_long_as_its_read(engine: Engine) -> None:
    """peerdb 1750: an exported snapshot dies with its session. Here the connection that has it is the one that reads,
    and no timeout for idle transactions ends it."""
    fill(engine)

    def connect() -> Any:
        return psycopg2.connect(engine.postgres_url, options="-c idle_in_transaction_session_timeout=50")

    async with PostgresSource(connect).read(NOTES, (), Window()) as reading:
        await asyncio.sleep(0.2)
        engine.source("DELETE FROM notes")
        found = [row async for chunk in reading.read_chunks() for row in chunk.frame["id"]]
    assert found == [*range(1, 11)]


async def test_what_is_held_in_memory_does_not_grow_with_the_table(engine: Engine) -> None:
    """dlt 3915. The memory of a whole run is measured in test_promises.py."""
    chunk_bytes = 16 * 1024
    for rows in (200, 20_000):
        engine.source(f"DROP TABLE IF EXISTS notes; CREATE TABLE notes AS SELECT i AS id, now() AS changed, "
                      f"repeat(md5(i::text), 3) AS body FROM generate_series(1, {rows}) AS i")  # fmt: skip
        async with PostgresSource(engine.connect_source, chunk_bytes).read(NOTES, (), Window()) as reading:
            sizes = [chunk.frame.estimated_size() async for chunk in reading.read_chunks()]
        assert max(sizes) < 2 * chunk_bytes
    assert len(sizes) > 100


RUN = """
import asyncio, json, sys
from datetime import timedelta
from millrace import Incremental, Stream
from tests.faults.places import Places

notes = Stream("notes", "postgres:public.notes", "id", Incremental("changed", overlap=timedelta(0)))
result = asyncio.run(Places(**json.loads(sys.argv[1])).engine().deliver(notes))
print(json.dumps([result.read, result.inserted, result.updated]))
"""


def run_in_a_fresh_container(stack: Stack, engine: Engine, bucket: str, directory: Path) -> list[int]:
    """Another process, another home, another directory for temporary files; both are gone afterwards."""
    addresses = {
        "postgres_url": engine.postgres_url, "mongo_url": stack.mongo.url, "warehouse_url": stack.warehouse.url,
        "aws_url": stack.aws.url, "bucket": bucket,
    }  # fmt: skip
    (directory / "home").mkdir(parents=True)
    (directory / "tmp").mkdir()
    environment = os.environ | {"HOME": str(directory / "home"), "TMPDIR": str(directory / "tmp")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(addresses)],
        env={name: value for name, value in environment.items() if not name.startswith("PREFECT_")},
        cwd=Path(__file__).parents[3], capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((directory / "tmp").iterdir()) == []
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_no_state_is_lost_with_a_container(stack: Stack, engine: Engine, bucket: str, tmp_path: Path) -> None:
    """State on a container's own disk is gone at its end. Here nothing but the warehouse says where a run goes on."""
    fill(engine)
    assert run_in_a_fresh_container(stack, engine, bucket, tmp_path / "first") == [10, 10, 0]
    engine.source("UPDATE notes SET body = 'changed', changed = now() WHERE id = 1")
    assert run_in_a_fresh_container(stack, engine, bucket, tmp_path / "second") == [1, 0, 1]


async def test_a_twin_of_a_live_run_is_kept_out_and_one_that_was_given_up_does_no_harm(engine: Engine) -> None:
    """prefect 13020, 18429: a live run is marked as crashed, and its twin is started."""
    fill(engine)
    twin = replace(engine, holder="twin")
    first = await engine.extract(NOTES)
    assert first is not None
    with pytest.raises(StreamBusy, match="test holds the stream"):
        await twin.deliver(NOTES)
    engine.query("UPDATE millrace.leases SET expires_at = expires_at - INTERVAL '1 hour'")
    assert counts(await twin.deliver(NOTES)) == {"read": 10, "inserted": 10}
    before = everything(engine)
    with pytest.raises(Superseded):
        engine.load(NOTES, first)
    assert everything(engine) == before
    assert engine.query("SELECT count(*), count(DISTINCT id) FROM engine.notes") == [(10, 10)]


async def test_a_first_run_that_lost_its_lease_stops_though_it_read_later(engine: Engine) -> None:
    """prefect 13020, 18429: also when what it read is the newer of the two."""
    fill(engine)
    twin = replace(engine, holder="twin")
    pipeline = pipeline_of(NOTES)
    with engine.warehouse.lease(pipeline, NOTES, "test") as token:
        engine.query("UPDATE millrace.leases SET expires_at = expires_at - INTERVAL '1 hour'")
        await twin.deliver(NOTES)
        add(engine, 100)
        late = await twin.extract(NOTES)
        assert late is not None
        with pytest.raises(Superseded, match="older, by its lease, than one that is already applied"):
            engine.load(NOTES, change_batch(late, token=token))
    assert 100 not in ids(engine)


async def test_a_document_beyond_the_limit_is_rejected_and_not_dropped(engine: Engine) -> None:
    """airbyte 19990, 31575: what exceeds SUPER's 16,000,000 bytes disappears. Here it is measured before COPY."""
    engine.source("CREATE TABLE notes (id int, body jsonb, changed timestamptz DEFAULT now())")
    for number, texts in ((1, 1), (2, 1000), (3, 990)):
        engine.source(
            f"INSERT INTO notes SELECT {number}, jsonb_agg(repeat('x', 16000)) FROM generate_series(1, {texts})"
        )
    assert counts(await engine.deliver(NOTES)) == {"read": 3, "inserted": 2, "rejected": 1}
    assert ids(engine) == [1, 3]
    (rejected,) = engine.rejects()
    assert (rejected["reason"], rejected["field"]) == ("too_long", "body")
    assert len(json.loads(json.loads(rejected["row"])["body"])) == 1000


async def test_a_plan_shows_what_a_run_would_do_and_does_nothing(engine: Engine) -> None:
    """dlt 3088: no dry run."""
    fill(engine)
    await engine.deliver(NOTES)
    engine.source("ALTER TABLE notes ADD extra int; INSERT INTO notes (id, extra) VALUES (100, 1)")
    before, lake = everything(engine), list(engine.store.list_keys(""))
    pipeline = pipeline_of(NOTES)
    standing = engine.warehouse.find_state(pipeline, NOTES)
    window = Window(standing.position)
    query, columns = await PostgresSource(engine.connect_source).plan(NOTES, standing.columns, window)
    changes, commands = engine.warehouse.plan(pipeline, NOTES, columns)
    assert standing.position is not None
    assert standing.position in query
    assert changes == ["add column extra INTEGER to engine.notes"]
    assert commands[0] == 'ALTER TABLE "engine"."notes" ADD COLUMN "extra" INTEGER'
    assert any(command.startswith('DELETE FROM "engine"."notes"') for command in commands)
    assert (everything(engine), list(engine.store.list_keys(""))) == (before, lake)
    result = await engine.deliver(NOTES)
    assert result is not None
    assert result.changes == tuple(changes)
