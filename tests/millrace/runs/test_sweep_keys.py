"""Sweep and replay with keys of every kind: what the warehouse's driver gives back finds its row in the source.

Each row is deleted, changed without a stamp and inserted with an old one, and all of that is found by key alone. A
replay finds rows by what the lake keeps of them, whichever warehouse they go to: it is tried with Postgres alone, which
takes half the time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from pymongo import MongoClient

from local.mysql import MySQLServer
from local.stack import Stack
from local.warehouse import WarehouseServer
from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from tests.conftest import unique
from tests.support.engine import PIPELINE, Engine, bucket_store, quick_engine_between
from tests.support.key_cases import (
    COLLECTIONS,
    INCOMPARABLE_COLLECTIONS,
    INCOMPARABLE_TABLES,
    MYSQL_TABLES,
    PREPARE,
    TABLES,
    TABLES_OF_EACH_KIND,
)
from tests.support.keyed_sources import Keyed, KeyedCollection, KeyedMySQLTable, KeyedTable

REPLAYED_COLLECTIONS = [
    kind for kind in COLLECTIONS if kind not in {"int", "long", "ObjectId", "UUID", "boolean", "Decimal128"}
]
"""Replays by document ids of one type are in test_keys_of_documents.py."""
Counts = tuple[int, int, int, int, int]
Documents = tuple[MongoClient[dict[str, Any]], str]


class Rows(dy.Schema):
    """Bodies begin with a small letter."""

    body = dy.String(nullable=False)

    @dy.rule()
    def begins_small(cls) -> pl.Expr:
        return pl.col("body").str.contains("^[a-z]")


@pytest.fixture(scope="module")
def keyed_engine(stack: Stack, lasting_warehouse: WarehouseServer) -> Iterator[Engine]:
    """One source and one warehouse for all keys: each has a table of its own."""
    lasting_warehouse.clear()
    yield from keyed_between(stack, lasting_warehouse.url)


@pytest.fixture(scope="module")
def keyed_postgres_engine(stack: Stack) -> Iterator[Engine]:
    """The same with a Postgres warehouse."""
    name = unique("keys")
    yield from keyed_between(stack, stack.postgres.create_database(name))
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module")
def keyed_mysql_engine(keyed_postgres_engine: Engine, mysql: MySQLServer) -> Iterator[Engine]:
    """The same that also reads MySQL."""
    name = unique("keys")
    yield replace(keyed_postgres_engine, mysql_url=mysql.create_database(name))
    mysql.drop_database(name)


def keyed_between(stack: Stack, warehouse_url: str) -> Iterator[Engine]:
    store, name = bucket_store(stack, stack.aws.create_bucket(f"keys-{secrets.token_hex(4)}")), unique("keys")
    engine = quick_engine_between(stack, store, stack.postgres.create_database(name), warehouse_url)
    engine.source(PREPARE)
    yield engine
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module")
def documents(stack: Stack) -> Iterator[Documents]:
    """A server's client and a database of one's own."""
    name = unique("keys")
    with MongoClient[dict[str, Any]](stack.mongo.url, tz_aware=True) as client:
        yield client, name
    stack.mongo.drop_database(name)


def counts(result: LoadResult | None) -> Counts:
    """Inserted, updated, deleted, unchanged, rejected."""
    assert result is not None
    return (result.inserted, result.updated, result.deleted, result.unchanged, result.rejected)


async def assert_swept(engine: Engine, keyed: Keyed) -> None:
    """Delete the first row, change the second, insert the third; then delete or change all but the last."""
    last = keyed.rows - 1
    for number in (number for number in range(keyed.rows) if number != min(2, last)):
        keyed.insert(number)
    await engine.deliver(keyed.stream)
    keyed.delete(0)
    keyed.insert(min(2, last))
    changed = int(last > 1)
    if changed:
        keyed.update(1, "changed")
    rest = last - 1 - changed
    assert counts(await engine.sweep(keyed.stream)) == (1, changed, 1, rest, 0)
    keyed.assert_delivered(engine)
    for number in range(1, last, 2):
        keyed.delete(number)
    for number in range(2, last, 2):
        keyed.update(number, "changed again")
    assert counts(await engine.sweep(keyed.stream)) == (0, len(range(2, last, 2)), len(range(1, last, 2)), 1, 0)
    keyed.assert_delivered(engine)


async def assert_replayed(engine: Engine, stream: Stream, keyed: Keyed, mend: Callable[[int], None]) -> None:
    """Every row is rejected, all but the last are mended without a stamp and replayed; then the last."""
    last = keyed.rows - 1
    assert counts(await engine.deliver(stream)) == (0, 0, 0, 0, keyed.rows)
    for number in range(last):
        mend(number)
    assert counts(await engine.replay(stream)) == (last, 0, 0, 0, 1)
    assert engine.rows(stream.table, "number", "body") == keyed.held()[:last]
    mend(last)
    assert counts(await engine.replay(stream)) == (1, 0, 0, 0, 0)
    keyed.assert_delivered(engine)
    assert await engine.replay(stream) is None


async def assert_replayed_after_a_breach(engine: Engine, keyed: Keyed) -> None:
    keyed.insert_all()
    for number in range(keyed.rows):
        keyed.update(number, "Breach")
    stream = replace(keyed.stream, contract=Rows)
    await assert_replayed(engine, stream, keyed, lambda number: keyed.update(number, "mended"))


async def assert_replayed_after_a_value_that_does_not_fit(engine: Engine, keyed: Keyed) -> None:
    keyed.insert_all()
    keyed.spoil()
    await assert_replayed(engine, keyed.stream, keyed, keyed.mend)


@pytest.mark.parametrize("kind", TABLES)
async def test_a_sweep_of_a_table_finds_every_row_by_its_key(keyed_engine: Engine, kind: str) -> None:
    await assert_swept(keyed_engine, KeyedTable(keyed_engine, TABLES[kind]))


@pytest.mark.parametrize("kind", COLLECTIONS)
async def test_a_sweep_of_a_collection_finds_every_document_by_its_key(
    keyed_engine: Engine, documents: Documents, kind: str
) -> None:
    await assert_swept(keyed_engine, KeyedCollection(*documents, COLLECTIONS[kind]))


@pytest.mark.parametrize("kind", TABLES_OF_EACH_KIND)
async def test_a_sweep_finds_every_key_of_a_postgres_warehouse(keyed_postgres_engine: Engine, kind: str) -> None:
    await assert_swept(keyed_postgres_engine, KeyedTable(keyed_postgres_engine, TABLES_OF_EACH_KIND[kind]))


@pytest.mark.parametrize("kind", ["text that its collation takes for another", "compound of many kinds"])
async def test_a_sweep_and_a_replay_of_mysql(keyed_mysql_engine: Engine, kind: str) -> None:
    """What the server takes for which key, of every kind, is tested without a warehouse (test_mysql_names.py)."""
    keys = MYSQL_TABLES[kind]
    await assert_swept(keyed_mysql_engine, KeyedMySQLTable(keyed_mysql_engine, keys))
    await assert_replayed_after_a_value_that_does_not_fit(keyed_mysql_engine, KeyedMySQLTable(keyed_mysql_engine, keys))


@pytest.mark.parametrize("kind", TABLES_OF_EACH_KIND)
async def test_a_replay_of_a_table_finds_rows_that_broke_their_contract(
    keyed_postgres_engine: Engine, kind: str
) -> None:
    keyed = KeyedTable(keyed_postgres_engine, TABLES_OF_EACH_KIND[kind])
    await assert_replayed_after_a_breach(keyed_postgres_engine, keyed)


@pytest.mark.parametrize("kind", TABLES)
async def test_a_replay_of_a_table_finds_rows_that_could_not_be_decoded(
    keyed_postgres_engine: Engine, kind: str
) -> None:
    keyed = KeyedTable(keyed_postgres_engine, TABLES[kind])
    await assert_replayed_after_a_value_that_does_not_fit(keyed_postgres_engine, keyed)


@pytest.mark.parametrize("kind", REPLAYED_COLLECTIONS)
async def test_a_replay_of_a_collection_finds_documents_that_broke_their_contract(
    keyed_postgres_engine: Engine, documents: Documents, kind: str
) -> None:
    await assert_replayed_after_a_breach(keyed_postgres_engine, KeyedCollection(*documents, COLLECTIONS[kind]))


@pytest.mark.parametrize("kind", REPLAYED_COLLECTIONS)
async def test_a_replay_of_a_collection_finds_documents_that_could_not_be_decoded(
    keyed_postgres_engine: Engine, documents: Documents, kind: str
) -> None:
    keyed = KeyedCollection(*documents, COLLECTIONS[kind])
    await assert_replayed_after_a_value_that_does_not_fit(keyed_postgres_engine, keyed)


async def assert_refused(engine: Engine, keyed: Keyed) -> None:
    """Naming stream and remedy, with the warehouse as it was."""
    keyed.insert(0)
    with closing(engine.connect_warehouse()) as connection, connection, connection.cursor() as cursor:
        Ledger(connection).ensure()
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {PIPELINE}")
        cursor.execute(f"CREATE TABLE {PIPELINE}.{keyed.stream.table} (note VARCHAR(9))")
    before = engine.query("SELECT * FROM millrace.batches ORDER BY batch_id")
    with pytest.raises(ConfigurationError, match="a sweep cannot compare keys of type") as refused:
        await engine.sweep(keyed.stream)
    assert refused.value.place == f"stream {keyed.stream.name} ({keyed.stream.source})"
    assert refused.value.remedy
    assert engine.query("SELECT * FROM millrace.batches ORDER BY batch_id") == before
    assert engine.query(f"SELECT count(*) FROM {PIPELINE}.{keyed.stream.table}") == [(0,)]


@pytest.mark.parametrize("kind", INCOMPARABLE_TABLES)
async def test_a_sweep_by_a_key_that_a_table_cannot_be_compared_by_is_refused(keyed_engine: Engine, kind: str) -> None:
    await assert_refused(keyed_engine, KeyedTable(keyed_engine, INCOMPARABLE_TABLES[kind]))


@pytest.mark.parametrize("kind", INCOMPARABLE_COLLECTIONS)
async def test_a_sweep_by_a_key_that_a_collection_cannot_be_compared_by_is_refused(
    keyed_engine: Engine, documents: Documents, kind: str
) -> None:
    await assert_refused(keyed_engine, KeyedCollection(*documents, INCOMPARABLE_COLLECTIONS[kind]))


BENT_BY_READERS_OF_CSV = ("\ufeff", "\ufeffone", "\\.", "", "\r", "a\r", "\n", '"', ",", " ", "\\N", "NULL", "#a")


async def test_keys_that_readers_of_csv_bend_arrive_and_leave(either: Engine) -> None:
    stream = Stream("t", "postgres:public.t", "name", Incremental("changed"))
    either.chunk_bytes = 1
    # Redshift does not tell a text from one with more blanks at its end.
    keys = [key for key in BENT_BY_READERS_OF_CSV if key != "" or not either.warehouse.dialect.copies_from_lake]
    either.source("CREATE TABLE t (name text PRIMARY KEY, changed timestamptz DEFAULT now())")
    with closing(either.connect_source()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO t (name) SELECT unnest(%s)", (keys,))
    await either.deliver(stream)
    assert sorted(either.rows("t", "name")) == sorted((key,) for key in keys)
    swept = await either.sweep(stream)
    assert swept and (swept.updated, swept.unchanged) == (0, len(keys))
    either.source("DELETE FROM t; INSERT INTO t VALUES ('last')")
    await either.sweep(stream)
    assert either.rows("t", "name") == [("last",)]
