"""Names in the schemas of a database that are those of the server's own functions, operators, tables and types: none of
them takes the place of what a source is read with, or a warehouse is loaded with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local.stack import Stack
from millrace import Merge
from millrace.base.types import text
from tests.support.engine import Engine, database_of
from tests.support.postgres_things import THINGS, url_of_warehouse

EVIL = """
CREATE FUNCTION public.evil(numeric, int) RETURNS numeric LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''executed''; END';
CREATE OPERATOR public.* (leftarg = numeric, rightarg = int, function = public.evil);
CREATE FUNCTION public.evil(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''executed''; END';
CREATE OPERATOR public.= (leftarg = varchar, rightarg = varchar, function = public.evil);
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''2099-01-01''';
CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''2099-01-01''';
CREATE FUNCTION public.encode(bytea, text) RETURNS text LANGUAGE sql AS 'SELECT ''00''';
CREATE FUNCTION public.count(anyelement) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
CREATE TYPE public.int4 AS ENUM ('one', 'two');
CREATE TYPE public.jsonb AS (a int);
CREATE TYPE public.timestamptz AS ENUM ('never');
CREATE TABLE public.pg_stat_activity (datname text, pid int, xact_start pg_catalog.timestamptz);
CREATE TABLE public.pg_attribute (attrelid oid);
CREATE TABLE public.columns (table_schema text);
"""


def shadow(stack: Stack, url: str) -> None:
    """Objects in ``public`` that a session finds before the server's own."""
    name = database_of(url)
    stack.postgres.execute(EVIL, database=name)
    stack.postgres.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')


async def test_nothing_in_public_takes_the_place_of_what_a_source_is_read_with(
    engine: Engine, stack: Stack, postgres_database: str
) -> None:
    engine.source(
        "CREATE TABLE things (id varchar(5) PRIMARY KEY, bytes bytea, at timestamp, changed timestamptz DEFAULT now())"
    )
    engine.source(r"INSERT INTO things VALUES ('a', '\xff', '2024-02-29 12:00:00.000001'), ('b', '\x', NULL)")
    shadow(stack, postgres_database)
    batch = await engine.extract(THINGS)
    assert batch and batch.progress.position and batch.progress.position < "2090"
    assert engine.load(THINGS, batch).inserted == 2
    engine.source("UPDATE things SET bytes = '' WHERE id OPERATOR(pg_catalog.=) 'a'")
    swept = await engine.sweep(THINGS)
    assert swept and (swept.updated, swept.unchanged, swept.deleted) == (1, 1, 0)
    assert [str(at) for (at,) in engine.rows("things", "at")] == ["2024-02-29 12:00:00.000001", "None"]


async def test_nothing_in_public_takes_the_place_of_what_a_warehouse_is_loaded_with(
    postgres_engine: Engine, stack: Stack
) -> None:
    shadow(stack, url_of_warehouse(stack, postgres_engine))
    stream = replace(THINGS, load=Merge(), deletes="soft")
    postgres_engine.source(
        "CREATE TABLE things (id varchar(5) PRIMARY KEY, n int, doc jsonb, changed timestamptz DEFAULT now())"
    )
    postgres_engine.source("""INSERT INTO things VALUES ('a', 1, '{"a": 1}'), ('b', 2, NULL), ('c', 3, NULL)""")
    await postgres_engine.deliver(stream)
    postgres_engine.source("UPDATE things SET n = 9 WHERE id = 'a'; DELETE FROM things WHERE id = 'b'")
    swept = await postgres_engine.sweep(stream)
    assert swept and (swept.updated, swept.deleted, swept.unchanged) == (1, 1, 1)
    types = postgres_engine.query(
        "SELECT atttypid::regtype::text FROM pg_catalog.pg_attribute "
        "WHERE attrelid OPERATOR(pg_catalog.=) 'engine.things'::regclass AND attname OPERATOR(pg_catalog.=) 'n'"
    )
    assert types in ([("pg_catalog.int4",)], [("integer",)])


async def test_a_type_that_is_called_as_one_of_the_servers_is_not_taken_for_it(engine: Engine) -> None:
    engine.source("CREATE TYPE public.int4 AS ENUM ('one'); CREATE TYPE public.json AS (a int, b text)")
    engine.source(
        "CREATE TABLE things (id public.int4 PRIMARY KEY, doc public.json, changed timestamptz DEFAULT now())"
    )
    engine.source("INSERT INTO things VALUES ('one', ROW(1, 'x'))")
    await engine.deliver(THINGS)
    engine.source("UPDATE things SET doc = ROW(2, 'y')")
    swept = await engine.sweep(THINGS)
    assert swept and (swept.updated, swept.deleted) == (1, 0)
    assert engine.rows("things", "id", "doc") == [("one", '{"a":2,"b":"y"}')]


@pytest.mark.parametrize("extension", ["citext", "ltree"])
async def test_a_key_of_an_extensions_type_is_compared_as_text(engine: Engine, stack: Stack, extension: str) -> None:
    stack.postgres.execute(f"CREATE EXTENSION {extension}", database=database_of(engine.postgres_url))
    engine.source(f"CREATE TABLE things (id {extension} PRIMARY KEY, body text, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO things VALUES ('Abc', 'x')")
    stream = replace(THINGS, types={"id": text()})
    await engine.deliver(stream)
    engine.source("UPDATE things SET body = 'y'")
    swept = await engine.sweep(stream)
    assert swept and (swept.updated, swept.deleted) == (1, 0)
