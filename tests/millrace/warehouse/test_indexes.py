"""Indexes of a Postgres warehouse: made with a table, added once to an older one, never in the way of a long text."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg2

from local.stack import Stack
from millrace import Incremental, Stream
from tests.support.engine import Engine, pipeline_of

ITEMS = Stream("items", "postgres:public.items", "code", Incremental("stamp", timedelta(0)))
HELD = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'engine'"
LONG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) AS i)"
"""12,800 bytes that cannot be compressed."""


def fill(engine: Engine, code: str = "'a'") -> None:
    engine.source("CREATE TABLE items (code text, stamp timestamptz DEFAULT clock_timestamp())")
    engine.source(f"INSERT INTO items VALUES ({code})")


def indexes(engine: Engine) -> list[str]:
    """What they are on."""
    return [definition.partition("USING ")[2] for (definition,) in engine.query(HELD)]


async def test_a_table_is_made_with_an_index_on_its_key(postgres_engine: Engine) -> None:
    fill(postgres_engine)
    result = await postgres_engine.deliver(ITEMS)
    assert result is not None
    assert result.changes == ("create table engine.items",)
    assert indexes(postgres_engine) == ["btree (code)"]


async def test_an_older_table_gets_its_index_once(postgres_engine: Engine) -> None:
    """One that is there already, by whoever, is left as it is."""
    fill(postgres_engine)
    await postgres_engine.deliver(ITEMS)
    name = postgres_engine.query("SELECT indexname FROM pg_indexes WHERE schemaname = 'engine'")[0][0]
    postgres_engine.query(f'DROP INDEX engine."{name}"; DELETE FROM millrace.forms')
    pipeline = pipeline_of(ITEMS)
    text = "create an index on engine.items (code)"
    columns = postgres_engine.warehouse.find_state(pipeline, ITEMS).columns
    assert text in postgres_engine.warehouse.plan(pipeline, ITEMS, columns)[0]
    told = []
    for code in "bcd":
        postgres_engine.source(f"INSERT INTO items VALUES ('{code}')")
        result = await postgres_engine.deliver(ITEMS)
        assert result is not None
        told.append(result.changes)
        if code == "c":
            postgres_engine.query("DELETE FROM millrace.forms")
    assert told == [(text,), (), ()]
    assert indexes(postgres_engine) == ["btree (code)"]


async def test_a_text_that_is_too_long_for_an_index_is_loaded_without_it(postgres_engine: Engine) -> None:
    """The index is dropped first, and not made again."""
    fill(postgres_engine)
    await postgres_engine.deliver(ITEMS)
    postgres_engine.source(f"INSERT INTO items VALUES ({LONG})")
    result = await postgres_engine.deliver(ITEMS)
    assert result is not None
    assert result.changes == ("drop the index on engine.items (code): a text is longer than an index holds",)
    postgres_engine.source("INSERT INTO items VALUES ('b')")
    result = await postgres_engine.deliver(ITEMS)
    assert result is not None
    assert result.changes == ()
    assert indexes(postgres_engine) == []
    assert postgres_engine.query("SELECT count(*) FROM engine.items") == [(3,)]


async def test_a_table_whose_texts_are_too_long_has_no_index(postgres_engine: Engine) -> None:
    """Of an earlier version neither: its rows are measured first."""
    fill(postgres_engine, LONG)
    await postgres_engine.deliver(ITEMS)
    assert indexes(postgres_engine) == []
    postgres_engine.query("DELETE FROM millrace.forms")
    postgres_engine.source("INSERT INTO items VALUES ('b')")
    await postgres_engine.deliver(ITEMS)
    assert indexes(postgres_engine) == []
    assert postgres_engine.query("SELECT count(*) FROM engine.items") == [(2,)]


async def test_a_table_of_another_user_is_loaded_without_an_index(stack: Stack, postgres_engine: Engine) -> None:
    """It is told once which statement its owner may run."""
    fill(postgres_engine)
    await postgres_engine.deliver(ITEMS)
    name = postgres_engine.query("SELECT indexname FROM pg_indexes WHERE schemaname = 'engine'")[0][0]
    postgres_engine.query(f'DROP INDEX engine."{name}"; DELETE FROM millrace.forms')
    database = postgres_engine.query("SELECT current_database()")[0][0]
    with closing(psycopg2.connect(stack.postgres.url(database))) as admin, admin, admin.cursor() as cursor:
        cursor.execute("ALTER TABLE engine.items OWNER TO CURRENT_USER; GRANT ALL ON engine.items TO PUBLIC")
    told = []
    for code in "bc":
        postgres_engine.source(f"INSERT INTO items VALUES ('{code}')")
        result = await postgres_engine.deliver(ITEMS)
        assert result is not None
        told.append(result.changes)
    statement = 'CREATE INDEX ON "engine"."items" ("code")'
    text = f"engine.items belongs to another user, who may make loads cheaper: {statement}"
    assert (told, indexes(postgres_engine)) == ([(text,), ()], [])
