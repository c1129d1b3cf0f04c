"""A stream of a kind of source that the product does not have goes the whole way: read, swept, replayed, loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.stack import Stack
from millrace import Pipeline, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.blocks.databases import DATABASES
from millrace.declaration.source_kinds import SOURCE_KINDS
from millrace.flows.extract import EXTRACT
from millrace.sources.chunk import Source
from millrace.tasks.extract import EXTRACT_STREAM
from tests.extending.sqlite_source import SQLiteSource
from tests.extending.subjects import SQLiteSubject
from tests.support.engine import Engine, bucket_store, engine_between


@dataclass
class SQLiteEngine(Engine):
    """The engine between a file of SQLite and a Postgres warehouse."""

    path: str = ""

    @contextmanager
    def _source(self, stream: Stream) -> Iterator[Source]:
        yield SQLiteSource(self.path)


@pytest.fixture
def notes(tmp_path: Path) -> SQLiteSubject:
    subject = SQLiteSubject(str(tmp_path / "notes.db"), "main")
    subject.make_table()
    return subject


@pytest.fixture
def engine(stack: Stack, bucket: str, postgres_database: str, notes: SQLiteSubject) -> SQLiteEngine:
    made = engine_between(stack, bucket_store(stack, bucket), "", postgres_database)
    return SQLiteEngine(made.store, made.warehouse, made.connect_warehouse, "", "", path=notes.address)


async def test_changes_deletes_and_rejects_of_sqlite_arrive(engine: SQLiteEngine, notes: SQLiteSubject) -> None:
    stream = notes.stream()
    for number in (1, 2):
        notes.insert(number, "note", datetime.now(UTC))
    notes.insert(3, "a\x00b", datetime.now(UTC))
    await engine.run(stream)
    notes.run("UPDATE notes SET body = 'changed', changed = ? WHERE id = 1", notes.stored(datetime.now(UTC)))
    notes.delete(2)
    await engine.run(stream)
    assert engine.rows("notes", "id", "body") == [(1, "changed"), (2, "note")]
    notes.run("UPDATE notes SET body = 'silently' WHERE id = 1")
    notes.run("UPDATE notes SET body = 'mended' WHERE id = 3")
    await engine.replay(stream)
    await engine.sweep(stream)
    assert engine.rows("notes", "id", "body") == [(1, "silently"), (3, "mended")]


async def test_a_snapshot_of_sqlite_replaces_the_target(engine: SQLiteEngine, notes: SQLiteSubject) -> None:
    stream = replace(notes.stream(), capture=Snapshot())
    for number in (1, 2):
        notes.insert(number, "note", None)
    await engine.run(stream)
    notes.delete(1)
    await engine.run(stream)
    assert engine.rows("notes", "id") == [(2,)]


def test_a_pipeline_may_declare_it(notes: SQLiteSubject) -> None:
    assert Pipeline("engine", [notes.stream()]).stream("notes").reference.kind.title == "SQLite"


def test_every_kind_of_the_product_has_its_flow_its_task_and_its_database() -> None:
    kinds = [kind for kind in SOURCE_KINDS.values() if kind.name != "sqlite"]
    assert list(EXTRACT) == list(EXTRACT_STREAM) == kinds
    assert list(DATABASES) == [kind for kind in kinds if not kind.is_queue]


async def test_a_kind_that_cannot_list_its_tables_says_so(notes: SQLiteSubject) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot list its tables. Remedy: declare streams by hand"):
        await SQLiteSource(notes.address).find_tables("main", 1)
