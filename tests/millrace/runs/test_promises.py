"""The promises of docs/guarantees.md on the engine alone: one commit, exactly once, counts, memory, secrets."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from millrace import Stream
from millrace.base.errors import CountMismatch, FatalError, MillraceError, Superseded, Unreachable
from millrace.lake.batch import Batch
from tests.support.changed_batches import change_batch
from tests.support.engine import Engine
from tests.support.notes import NOTES
from tests.support.standin_faults import inject


def fill(engine: Engine, rows: int = 50) -> None:
    engine.source(
        "CREATE TABLE notes (id int PRIMARY KEY, body text, amount numeric(12,2), "
        "changed timestamptz DEFAULT clock_timestamp())"
    )
    engine.source(f"INSERT INTO notes SELECT i, 'note ' || i, i / 3.0 FROM generate_series(1, {rows}) AS i")


def ledger(engine: Engine) -> list[tuple[object, ...]]:
    return engine.query("SELECT * FROM millrace.batches ORDER BY read_at")


@pytest.mark.parametrize("statement", ["lock", "create", "delete", "insert", "commit"])
async def test_a_connection_lost_at_any_statement_leaves_rows_and_position_together(
    engine: Engine, statement: str
) -> None:
    """Promise 1 and 2: the first load's rows stay, the second's come whole or not at all, and come once."""
    fill(engine)
    await engine.deliver(NOTES)
    rows, position = engine.rows("notes"), ledger(engine)
    engine.source("UPDATE notes SET body = 'new', changed = clock_timestamp() WHERE id <= 5")
    batch = await engine.extract(NOTES)
    assert batch is not None
    nth = 2 if statement == "commit" else 1  # the first one commits the stage
    inject(engine, statement, "close", nth)
    with pytest.raises(Unreachable):
        engine.load(NOTES, batch)
    assert (engine.rows("notes"), ledger(engine)) == (rows, position)
    assert engine.load(NOTES, batch).updated == 5
    assert engine.query("SELECT count(*), count(DISTINCT id) FROM engine.notes") == [(50, 50)]


async def test_an_answer_lost_after_the_commit_is_found_applied(engine: Engine) -> None:
    """Promise 2: the client cannot know whether its commit arrived; the ledger does."""
    fill(engine)
    await engine.deliver(NOTES)
    engine.source("UPDATE notes SET body = 'new', changed = clock_timestamp() WHERE id <= 5")
    batch = await engine.extract(NOTES)
    assert batch is not None
    inject(engine, "commit", "close_after", nth=2)
    with pytest.raises(Unreachable):
        engine.load(NOTES, batch)
    again = engine.load(NOTES, batch)
    assert again.was_applied_before
    assert (again.updated, len(ledger(engine))) == (5, 2)


async def test_a_batch_is_applied_once_however_often_it_is_loaded(engine: Engine) -> None:
    fill(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    engine.load(NOTES, batch)
    rows, position = engine.rows("notes"), ledger(engine)
    assert engine.load(NOTES, batch).was_applied_before
    assert (engine.rows("notes"), ledger(engine)) == (rows, position)


async def test_twins_load_a_batch_once(engine: Engine) -> None:
    fill(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    inject(engine, "insert", "sleep:1")  # the first twin pauses between its check and its commit
    results: list[bool] = []
    twins = [
        threading.Thread(target=lambda: results.append(engine.load(NOTES, batch).was_applied_before)) for _ in range(4)
    ]
    for twin in twins:
        twin.start()
    for twin in twins:
        twin.join()
    assert sorted(results) == [False, True, True, True]
    assert engine.query("SELECT count(*) FROM engine.notes") == [(50,)]


async def test_an_earlier_read_does_not_undo_a_later_one(engine: Engine) -> None:
    """A run that was paused between its read and its load stops without writing."""
    fill(engine)
    early = await engine.extract(NOTES)
    engine.source("UPDATE notes SET body = 'later', changed = clock_timestamp() WHERE id = 1")
    late = await engine.extract(NOTES)
    assert early is not None
    assert late is not None
    engine.load(NOTES, late)
    rows = engine.rows("notes")
    with pytest.raises(Superseded, match="older, by its lease"):
        engine.load(NOTES, change_batch(early, token=late.progress.token))
    assert engine.rows("notes") == rows


async def test_counts_that_do_not_add_up_fail_the_load(engine: Engine) -> None:
    """Promise 6, complaint: "success", and rows are missing."""
    fill(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    (part,) = batch.files.rows
    with pytest.raises(CountMismatch, match="51 rows were written and 50 copied"):
        engine.load(NOTES, change_batch(batch, rows=(replace(part, rows=51),)))
    with pytest.raises(CountMismatch, match="read 49"):
        engine.load(NOTES, change_batch(batch, read=49))
    assert engine.query("SELECT count(*) FROM millrace.batches") == [(0,)]


async def test_a_missing_file_fails_the_load_and_says_which(engine: Engine) -> None:
    fill(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    (part,) = batch.files.rows
    with pytest.raises(FatalError, match="COPY failed") as failure:
        engine.load(NOTES, change_batch(batch, batch_id="other", rows=(replace(part, key=f"{part.key}.absent"),)))
    assert part.key in str(failure.value)


async def test_a_target_that_holds_a_key_twice_is_found(engine: Engine) -> None:
    fill(engine)
    await engine.deliver(NOTES)
    with closing(engine.connect_warehouse()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO engine.notes SELECT * FROM engine.notes WHERE id = 3")
    engine.source("UPDATE notes SET body = 'x', changed = clock_timestamp() WHERE id = 3")
    with pytest.raises(CountMismatch, match="holds a key more than once"):
        await engine.deliver(NOTES)


async def test_the_lake_is_only_added_to(engine: Engine) -> None:
    """Promise 12."""
    fill(engine)
    await engine.deliver(NOTES)
    before = {key: engine.store.get_bytes(key) for key in engine.store.list_keys("")}
    engine.source("UPDATE notes SET body = 'x', changed = clock_timestamp() WHERE id = 3")
    await engine.deliver(NOTES)
    after = {key: engine.store.get_bytes(key) for key in engine.store.list_keys("")}
    assert {key: after[key] for key in before} == before
    assert len(after) > len(before)


async def test_no_secret_reaches_the_statements_of_the_warehouse(engine: Engine) -> None:
    """Promise 11: COPY names a role, never a key."""
    fill(engine, rows=1)
    batch = await engine.extract(NOTES)
    assert batch is not None
    (part,) = batch.files.rows
    with pytest.raises(FatalError) as failure:
        engine.load(NOTES, change_batch(batch, batch_id="other", rows=(replace(part, size_bytes=1),)))
    assert "Signature" not in str(failure.value)
    assert "X-Amz" not in str(failure.value).replace("X-Amz-***", "")


MEASURE = """
import asyncio, resource, sys
import psycopg2
from millrace import Incremental, Stream
from millrace.sources.chunk import Window
from millrace.sources.postgres import PostgresSource
from millrace.runs.destination import BatchDestination
from millrace.declaration.pipeline import Pipeline
from millrace.runs.context import StreamContext
from millrace.runs.reads import read_window
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from millrace.warehouse.stream_state import NEVER_LOADED

class Discard:
    def uri(self, key): return key
    def put_file(self, path, key): return path.stat().st_size
    def put_bytes(self, data, key): return len(data)

url, rows = sys.argv[1:]
stream = Stream("big", source=f"postgres:public.big_{rows}", key="id", capture=Incremental("changed"))
landing = BatchDestination("test", Discard(), REDSHIFT_DIALECT.limits)
class Empty:
    def find_state(self, pipeline, stream): return NEVER_LOADED

source = PostgresSource(lambda: psycopg2.connect(url))
context = StreamContext(source, landing, Empty(), Pipeline("test", [stream]), stream)
assert asyncio.run(read_window(context, Window())).counts.read == int(rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_memory_bytes(engine: Engine, rows: int) -> int:
    engine.source(
        f"CREATE TABLE big_{rows} AS SELECT i AS id, repeat(md5(i::text), 6) AS body, now() AS changed "
        f"FROM generate_series(1, {rows}) AS i"
    )
    command = [sys.executable, "-c", MEASURE, engine.postgres_url, str(rows)]
    root = Path(__file__).parents[3]
    return int(subprocess.run(command, capture_output=True, check=True, cwd=root).stdout)


def test_memory_does_not_grow_with_the_table(engine: Engine) -> None:
    """Promise 8: five times the rows (220 MB as CSV) in about the same memory."""
    small, large = peak_memory_bytes(engine, 200_000), peak_memory_bytes(engine, 1_000_000)
    assert large - small < 64 * 1024 * 1024


async def test_two_first_loads_at_once_share_schema_and_ledger(engine: Engine) -> None:
    """Both find nothing there and make it; whoever comes second finds it made."""
    fill(engine)
    engine.source("CREATE TABLE others AS SELECT * FROM notes")
    others = replace(NOTES, name="others", source="postgres:public.others")
    for _ in range(5):
        batches = [(stream, await engine.extract(stream, full=True)) for stream in (NOTES, others)]
        failures: list[Exception] = []

        def load(stream: Stream, batch: Batch, failures: list[Exception] = failures) -> None:
            try:
                engine.load(stream, batch)
            except MillraceError as error:
                failures.append(error)

        threads = [threading.Thread(target=load, args=(stream, batch)) for stream, batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert engine.query("SELECT count(*) FROM millrace.batches") == [(2,)]
        with closing(engine.connect_warehouse()) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA millrace CASCADE; DROP SCHEMA engine CASCADE")


async def test_a_serialization_conflict_is_repeated_within_the_load(engine: Engine) -> None:
    fill(engine)
    inject(engine, "delete", "error:1023")
    result = await engine.deliver(NOTES)
    assert result is not None
    assert result.inserted == 50
