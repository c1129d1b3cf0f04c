"""What holds for every load mode. A new mode is done when it passes (docs/extending.md)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from local.stack import Stack
from millrace.warehouse.warehouse import Warehouse
from tests.extending.load_mode_subjects import (
    CASES,
    FIRST,
    Case,
    ModelSubject,
    StreamSubject,
    Subject,
    counts,
    in_order,
)
from tests.support.databases import EmptyDatabases
from tests.support.engine import PIPELINE, Engine, bucket_store, quick_engine_between

OF_STREAMS = {name: case for name, case in CASES.items() if case.stream}


@pytest.fixture
def on_postgres(stack: Stack, postgres_database: str, bucket: str, empty_databases: EmptyDatabases) -> Iterator[Engine]:
    """Empty source, lake and Postgres warehouse."""
    with empty_databases.lend() as warehouse_url:
        yield quick_engine_between(stack, bucket_store(stack, bucket), postgres_database, warehouse_url)


@pytest.fixture(params=["redshift", "postgres"])
def engine(request: pytest.FixtureRequest, stack: Stack, postgres_database: str, bucket: str) -> Engine:
    """Empty source, lake and warehouse of each kind."""
    if request.param == "postgres":
        on_postgres: Engine = request.getfixturevalue("on_postgres")
        return on_postgres
    warehouse_url: str = request.getfixturevalue("warehouse_url")
    return quick_engine_between(stack, bucket_store(stack, bucket), postgres_database, warehouse_url)


@pytest.fixture
def subject_of(stack: Stack) -> Callable[[Engine, Case], Subject]:
    """Makes the items of a case, with three rows."""

    def make(engine: Engine, case: Case) -> Subject:
        engine.source(
            "CREATE TABLE items (id int, name text, amount numeric, stamp timestamptz DEFAULT clock_timestamp()); "
            "INSERT INTO items (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')"
        )
        if case.stream:
            return StreamSubject(engine, case, stream=case.stream)
        bucket = stack.aws.create_bucket(f"modes-{secrets.token_hex(4)}")
        return ModelSubject(engine, case, processed=bucket_store(stack, bucket))

    return make


@pytest.fixture(params=CASES)
def subject(request: pytest.FixtureRequest, engine: Engine, subject_of: Callable[[Engine, Case], Subject]) -> Subject:
    """Every load mode on either warehouse."""
    return subject_of(engine, CASES[request.param])


@pytest.fixture(params=OF_STREAMS)
def of_stream(request: pytest.FixtureRequest, engine: Engine, subject_of: Callable[[Engine, Case], Subject]) -> Subject:
    """Every load mode of a stream on either warehouse."""
    return subject_of(engine, CASES[request.param])


def insert_and_update(engine: Engine) -> None:
    engine.source("INSERT INTO items (id, name) VALUES (4, 'four')")
    engine.source("UPDATE items SET name = 'zwei', stamp = clock_timestamp() WHERE id = 2")


async def test_rows_are_inserted_updated_and_deleted(subject: Subject) -> None:
    assert counts(await subject.run()) == (3, 0, 0)
    assert subject.rows() == in_order(FIRST)
    insert_and_update(subject.engine)
    assert counts(await subject.run()) == subject.case.update_counts
    assert subject.rows() == in_order(subject.case.updated)
    subject.engine.source("DELETE FROM items WHERE id = 1")
    assert counts(await subject.run()) == subject.case.delete_counts
    assert subject.rows() == in_order(subject.case.deleted)


async def test_a_batch_is_applied_once_and_a_run_without_changes_writes_nothing(subject: Subject) -> None:
    await subject.run()
    insert_and_update(subject.engine)
    result = await subject.run()
    before = subject.everything()
    again = subject.load()
    assert again.was_applied_before
    assert counts(again) == counts(result)
    await subject.read()
    if subject.batches:
        assert counts(subject.load()) == (0, 0, 0)
    assert subject.everything() == before


async def test_a_row_is_deleted_once_and_may_return_as_it_was(subject: Subject) -> None:
    engine = subject.engine
    await subject.run()
    engine.source("CREATE TABLE former AS SELECT * FROM items WHERE id = 1; DELETE FROM items WHERE id = 1")
    await subject.run()
    deleted = subject.everything()
    await subject.read()
    if subject.batches:
        result = subject.load()
        assert (*counts(result), result.read) == (0, 0, 0, result.unchanged)
        assert result.read <= len(FIRST) - 1, "a row that was deleted before is not read again"
    assert subject.everything() == deleted
    engine.source("INSERT INTO items SELECT * FROM former")
    await subject.run()
    live = engine.query(f"SELECT name FROM {PIPELINE}.{subject.table} WHERE id = 1 AND {subject.case.is_live}")
    assert live == [("one",)]


async def test_a_longer_text_and_a_greater_key_are_taken(subject: Subject) -> None:
    await subject.run()
    long = "x" * 1000
    subject.engine.source("ALTER TABLE items ALTER COLUMN id TYPE bigint")
    subject.engine.source(f"INSERT INTO items (id, name) VALUES (5000000000, '{long}')")
    assert counts(await subject.run()) == (1, 0, 0)
    assert subject.rows() == in_order([*FIRST, (5_000_000_000, long)])


async def test_a_new_column_is_taken(of_stream: Subject) -> None:
    await of_stream.run()
    of_stream.engine.source("ALTER TABLE items ADD COLUMN colour text")
    of_stream.engine.source("INSERT INTO items (id, name, colour) VALUES (4, 'four', 'red')")
    assert counts(await of_stream.run()) == (1, 0, 0), "rows in which a new column is NULL are as they were"
    expected = [*((*row, None) for row in FIRST), (4, "four", "red")]
    assert of_stream.rows("id", "name", "colour") == in_order(expected)


async def test_good_rows_are_kept_beside_bad_ones(of_stream: Subject) -> None:
    of_stream.engine.source("UPDATE items SET amount = 'NaN' WHERE id = 3")
    result = await of_stream.run()
    assert (result.rejected, result.inserted) == (1, 2)
    assert of_stream.rows() == in_order(FIRST[:2])
    of_stream.engine.source("UPDATE items SET amount = NULL, stamp = clock_timestamp() WHERE id = 3")
    assert (await of_stream.run()).inserted == 1
    assert of_stream.rows() == in_order(FIRST)


def test_the_page_shows_the_mode_that_is_tested() -> None:
    """But for how lines are broken."""
    page, module = (
        "".join(Path(name).read_text().split()) for name in ("docs/extending.md", "tests/extending/keep_first.py")
    )
    assert module[module.index("@dataclass") :] in page


class CrashError(Exception):
    """The process died."""


def crashing(engine: Engine, number: int) -> Engine:
    """Return an engine whose connections to the warehouse break before this statement (from 1) of the transaction that
    applies."""

    class Cursor(psycopg2.extensions.cursor):
        seen = 0

        def execute(self, query: Any, parameters: Any = None) -> None:
            if Cursor.seen or str(query).startswith("LOCK TABLE millrace.batches"):
                Cursor.seen += 1
                if Cursor.seen == number:
                    self.connection.close()
                    raise CrashError
            super().execute(query, parameters)

    def connect() -> Any:
        connection = engine.connect_warehouse()
        connection.cursor_factory = Cursor
        return connection

    return replace(engine, warehouse=Warehouse(connect, engine.warehouse.dialect))


@pytest.mark.parametrize("name", CASES)
async def test_a_crash_before_any_statement_changes_nothing_and_the_batch_can_be_applied_again(
    name: str, on_postgres: Engine, subject_of: Callable[[Engine, Case], Subject]
) -> None:
    subject = subject_of(on_postgres, CASES[name])
    await subject.run()
    insert_and_update(on_postgres)
    await subject.read()
    before, number = subject.everything(), 0
    while True:
        number += 1
        subject.engine = crashing(on_postgres, number)
        try:
            result = subject.load()
        except CrashError:
            assert subject.everything() == before, f"a crash before statement {number}"
        else:
            break
    assert number > 10, "statements are counted"
    assert counts(result) == subject.case.update_counts
    assert subject.rows() == in_order(subject.case.updated)
