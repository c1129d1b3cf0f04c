"""Sessions of Postgres, as a source and as a warehouse: whatever a server, a role, the runner or a pooler does to them,
values are exact or the run is refused; and nobody is waited for, or kept waiting, without a word.

What does not belong here: values under other settings (test_exact_values.py), MySQL (test_mysql_sessions.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from engine_on_servers import Engine, engine_between

from blocks.sql import opener, postgres_connector
from local.pgbouncer import PgBouncer, PoolMode, start_pgbouncer
from local.stack import Stack
from millrace import Incremental, Merge, Snapshot, Stream, settings
from millrace.database import database_errors
from millrace.errors import ConfigurationError, RetryableError
from millrace.types import text
from millrace.warehouse import session
from tests.conftest import unique

THINGS = Stream("things", "postgres:public.things", "id", Incremental("changed"))
TEXTS = "CREATE TABLE things (id text PRIMARY KEY, body text, changed timestamptz DEFAULT now())"
NUMBERS = "CREATE TABLE things (id int PRIMARY KEY, span interval, changed timestamptz DEFAULT now())"
ROOT = Path(__file__).parents[2]

Pooled = Callable[..., AbstractContextManager[PgBouncer]]


@pytest.fixture
def pooled(tmp_path: Path) -> Pooled:
    """``pooled(url, mode)``: a PgBouncer before the database of a URL."""

    def start(url: str, mode: PoolMode, **options: Any) -> PgBouncer:
        tmp_path.chmod(0o755)
        return start_pgbouncer(tmp_path / unique("pgbouncer"), url, mode, **options)

    return start


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


# What is hidden ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [THINGS, replace(THINGS, capture=Snapshot())], ids=["sweep", "snapshot"])
async def test_rows_that_a_policy_hides_are_not_taken_for_deleted(engine: Engine, stream: Stream) -> None:
    engine.source(f"{TEXTS}; INSERT INTO things VALUES ('a'), ('b')")
    await engine.run(stream)
    engine.source("ALTER TABLE things ENABLE ROW LEVEL SECURITY; ALTER TABLE things FORCE ROW LEVEL SECURITY")
    with pytest.raises(ConfigurationError, match=r"stream things .*row-level security policy .*BYPASSRLS"):
        await (engine.sweep if isinstance(stream.capture, Incremental) else engine.run)(stream)
    assert len(engine.rows("things")) == 2


async def test_a_view_of_somebody_whom_the_policy_does_not_concern_is_read(
    engine: Engine, stack: Stack, postgres_database: str
) -> None:
    engine.source(f"{TEXTS}; INSERT INTO things VALUES ('a'), ('b')")
    owner = database_of(postgres_database)
    stack.postgres.execute(
        "ALTER TABLE things ENABLE ROW LEVEL SECURITY; ALTER TABLE things FORCE ROW LEVEL SECURITY;"
        f"ALTER TABLE things OWNER TO postgres; CREATE VIEW shown AS SELECT * FROM things; "
        f"GRANT SELECT ON shown TO {owner}",
        database=owner,
    )
    result = await engine.deliver(replace(THINGS, source="postgres:public.shown"))
    assert result and result.inserted == 2


async def test_rows_that_a_policy_hides_in_the_warehouse_are_not_put_in_again(postgres_engine: Engine) -> None:
    postgres_engine.source(f"{TEXTS}; INSERT INTO things VALUES ('a'), ('b')")
    await postgres_engine.deliver(THINGS)
    for verb in ("ENABLE", "FORCE"):
        run(postgres_engine.connect_warehouse, f"ALTER TABLE engine.things {verb} ROW LEVEL SECURITY")
    with pytest.raises(ConfigurationError, match="would be affected by row-level security policy"):
        await postgres_engine.sweep(THINGS)


# Poolers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_values_are_exact_through_a_pooler(
    engine: Engine, stack: Stack, pooled: Pooled, mode: PoolMode, postgres_database: str
) -> None:
    for setting in ("intervalstyle = 'postgres'", "extra_float_digits = 0", "timezone = 'Asia/Kathmandu'"):
        stack.postgres.execute(f'ALTER DATABASE "{database_of(postgres_database)}" SET {setting}')
    engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1, '1 year 2 days')")
    with pooled(postgres_database, mode, round_robin=True) as pooler:
        others = [psycopg2.connect(pooler.url) for _ in range(2)]
        for other in others:
            with other.cursor() as cursor:
                cursor.execute("SELECT 1")
        engine.postgres_url = pooler.url
        if mode == "transaction":
            others.pop().close()
        await engine.deliver(THINGS)
        swept = await engine.sweep(THINGS)
        for other in others:
            other.close()
    assert engine.rows("things", "span") == [("P1Y2D",)]
    assert swept and (swept.updated, swept.unchanged) == (0, 1)


async def test_a_read_leaves_no_setting_in_a_session_that_a_pooler_lends(
    engine: Engine, pooled: Pooled, postgres_database: str
) -> None:
    engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    with pooled(postgres_database, "transaction", pool_size=1) as pooler:
        engine.postgres_url = pooler.url
        await engine.deliver(THINGS)
        left = engine.source("SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'")
    assert left == []


async def test_statement_pooling_is_refused_by_name(engine: Engine, pooled: Pooled, postgres_database: str) -> None:
    engine.source(NUMBERS)
    with pooled(postgres_database, "statement") as pooler:
        engine.postgres_url = pooler.url
        with pytest.raises(ConfigurationError, match=r"statement pooling.* Remedy: use transaction or session pooling"):
            await engine.deliver(THINGS)


@pytest.mark.parametrize("round_robin", [False, True])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_warehouse_behind_a_pooler_that_lends_sessions_is_refused_by_name(
    stack: Stack, postgres_engine: Engine, pooled: Pooled, mode: PoolMode, *, round_robin: bool
) -> None:
    postgres_engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    with pooled(warehouse_url(stack, postgres_engine), mode, round_robin=round_robin) as pooler:
        # Two sessions of the server, so that there is a choice.
        with closing(psycopg2.connect(pooler.url)) as one, closing(psycopg2.connect(pooler.url)) as other:
            for connection in (one, other):
                connection.autocommit = mode == "statement"
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
        behind = engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, pooler.url)
        with pytest.raises(ConfigurationError, match=r"transaction pooling.* Remedy: use the warehouse's own address"):
            await behind.deliver(THINGS)


async def test_a_warehouse_behind_a_pooler_that_gives_sessions_is_loaded(
    stack: Stack, postgres_engine: Engine, pooled: Pooled
) -> None:
    postgres_engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    with pooled(warehouse_url(stack, postgres_engine), "session", pool_size=20) as pooler:
        behind = engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, pooler.url)
        result = await behind.deliver(THINGS)
        assert result and result.inserted == 1


def test_a_pooler_takes_what_is_sent_when_a_connection_is_made(pooled: Pooled, postgres_database: str) -> None:
    with (
        pooled(postgres_database, "transaction") as pooler,
        closing(opener(postgres_connector(pooler.url, place="test"))()) as connection,
    ):
        settings.begin_reading(connection, "REPEATABLE READ")
        assert connection.encoding == "UTF8"


def test_an_option_that_a_pooler_refuses_is_named(pooled: Pooled, postgres_database: str) -> None:
    with pooled(postgres_database, "transaction") as pooler:
        connect = opener(postgres_connector(f"{pooler.url}?options=-c%20statement_timeout%3D1", place="test"))
        refused = pytest.raises(ConfigurationError, match=r"startup parameter.* Remedy: leave it out of the URL")
        with refused, database_errors("test"):
            connect()


# Encodings -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["database LATIN1", "database WIN1252", "role", "PGCLIENTENCODING"])
def encoded(
    request: pytest.FixtureRequest, stack: Stack, postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An engine whose warehouse, loader or runner is not on UTF-8."""
    kind, _, encoding = request.param.partition(" ")
    name = unique("encoded")
    url = database_in(stack, name, encoding) if kind == "database" else stack.postgres.create_database(name)
    if kind == "role":
        stack.postgres.execute(f"ALTER ROLE {name} SET client_encoding = 'WIN1252'")
    if kind == "PGCLIENTENCODING":
        monkeypatch.setenv(kind, "LATIN1")
    yield engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, url)
    monkeypatch.delenv("PGCLIENTENCODING", raising=False)
    stack.postgres.drop_database(name)


def database_in(stack: Stack, name: str, encoding: str) -> str:
    """The owner's URL of a new database in this encoding."""
    stack.postgres.create_role(name)
    stack.postgres.execute(
        f"CREATE DATABASE {name} OWNER {name} ENCODING '{encoding}' "
        "LOCALE_PROVIDER 'libc' LOCALE 'C' TEMPLATE template0"
    )
    return stack.postgres.url(name, user=name)


async def test_texts_are_exact_whatever_encoding_the_warehouse_is_on(encoded: Engine, stack: Stack) -> None:
    encoded.source(f"{TEXTS}; INSERT INTO things VALUES ('Zo' || chr(235), chr(233)), ('b', 'plain')")
    await encoded.deliver(THINGS)
    encoded.source("UPDATE things SET body = chr(223), changed = now()")
    await encoded.deliver(THINGS)
    await encoded.sweep(THINGS)
    found = encoded.query("SELECT convert_to(id, 'UTF8'), convert_to(body, 'UTF8') FROM engine.things ORDER BY id")
    texts = [tuple(bytes(value).decode() for value in row) for row in found]
    assert texts == [("Zoë", "ß"), ("b", "ß")]


async def test_a_character_that_the_warehouse_cannot_hold_is_refused_without_its_value(
    stack: Stack, postgres_engine: Engine
) -> None:
    name = unique("latin")
    url = database_in(stack, name, "LATIN1")
    latin = engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, url)
    latin.source(f"{TEXTS}; INSERT INTO things VALUES ('a', '5 ' || chr(8364))")
    with pytest.raises(
        ConfigurationError, match=r"stream .*things.*a character that the database's encoding lacks"
    ) as told:
        await latin.deliver(THINGS)
    assert "€" not in str(told.value)
    assert "0xe2" not in str(told.value)
    stack.postgres.drop_database(name)


async def test_bytes_that_are_no_text_are_refused_without_their_value(stack: Stack, engine: Engine) -> None:
    name = unique("ascii")
    engine.postgres_url = database_in(stack, name, "SQL_ASCII")
    engine.source(f"{TEXTS}; INSERT INTO things VALUES ('a', E'caf\\xe9')")
    with pytest.raises(Exception, match=r"stream things .*bytes that are none in the encoding") as told:
        await engine.deliver(THINGS)
    assert "0xe9" not in str(told.value)
    stack.postgres.drop_database(name)


# Names that take the place of the server's own ------------------------------------------------------------

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
    assert batch and batch.position and batch.position < "2090"
    assert engine.load(THINGS, batch).inserted == 2
    engine.source("UPDATE things SET bytes = '' WHERE id OPERATOR(pg_catalog.=) 'a'")
    swept = await engine.sweep(THINGS)
    assert swept and (swept.updated, swept.unchanged, swept.deleted) == (1, 1, 0)
    assert [str(at) for (at,) in engine.rows("things", "at")] == ["2024-02-29 12:00:00.000001", "None"]


async def test_nothing_in_public_takes_the_place_of_what_a_warehouse_is_loaded_with(
    postgres_engine: Engine, stack: Stack
) -> None:
    shadow(stack, warehouse_url(stack, postgres_engine))
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


ODD = {
    "search_path": "public", "DateStyle": "'SQL, DMY'", "IntervalStyle": "'sql_standard'", "TimeZone": "'Asia/Tokyo'",
    "extra_float_digits": "-3", "bytea_output": "'escape'", "xmlbinary": "'hex'", "xmloption": "'document'",
    "standard_conforming_strings": "off", "backslash_quote": "'on'", "array_nulls": "off",
    "transform_null_equals": "on", "quote_all_identifiers": "on", "gin_fuzzy_search_limit": "1", "row_security": "on",
    "statement_timeout": "'9h'", "lock_timeout": "'9h'", "idle_in_transaction_session_timeout": "'9h'",
    "idle_session_timeout": "'9h'", "transaction_timeout": "'9h'", "tcp_user_timeout": "'9h'",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["SOURCE", "POSTGRES_WAREHOUSE"])
def test_a_session_has_its_own_settings_whatever_the_database_has(
    stack: Stack, postgres_database: str, kind: str
) -> None:
    wanted = getattr(settings, kind)
    assert wanted.keys() <= ODD.keys()
    for name, value in ODD.items():
        stack.postgres.execute(f'ALTER DATABASE "{database_of(postgres_database)}" SET {name} = {value}')
    with closing(psycopg2.connect(postgres_database)) as connection, connection.cursor() as cursor:
        if kind == "SOURCE":
            settings.begin_reading(connection, "READ COMMITTED")
        else:
            settings.settle_session(connection)
            connection.rollback()
        cursor.execute("SELECT lower(name), setting, source FROM pg_settings")
        found = {name: (value.replace('"', ""), source) for name, value, source in cursor.fetchall()}
    assert {name: found[name.lower()] for name in wanted} == {
        name: (value.strip("'"), "session") for name, value in wanted.items()
    }


def test_redshift_is_asked_for_settings_that_it_has(engine: Engine) -> None:
    with session.session(engine.connect_warehouse, "test") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path')")
        assert cursor.fetchone() == (settings.NOTHING_ELSE,)
        for name in ("bytea_output", "row_security", "lock_timeout", "idle_in_transaction_session_timeout"):
            with pytest.raises(psycopg2.Error, match=f'unrecognized configuration parameter "{name}"'):
                cursor.execute(f"SET {name} = 0")
            connection.rollback()


# Waiting -------------------------------------------------------------------------------------------------------------


def shortened(monkeypatch: pytest.MonkeyPatch, which: str, **milliseconds: int) -> None:
    monkeypatch.setattr(settings, which, {**getattr(settings, which), **milliseconds})


async def test_who_holds_a_table_of_the_source_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shortened(monkeypatch, "SOURCE", lock_timeout=100)
    engine.source(NUMBERS)
    with closing(psycopg2.connect(engine.postgres_url, application_name="migration")) as other:
        with other.cursor() as cursor:
            cursor.execute("ALTER TABLE things ADD COLUMN more int")
        user, process = database_of(engine.postgres_url), other.info.backend_pid
        told = rf"process {process} \(user {user}, application migration, since 2.* UTC\) .* on public\.things"
        with pytest.raises(RetryableError, match=rf"stream things .*lock timeout; {told}.*run again"):
            await engine.deliver(THINGS)


@pytest.mark.parametrize("table", ["millrace.batches", "millrace.leases", "engine.things"])
async def test_who_holds_a_table_of_the_warehouse_is_named(
    postgres_engine: Engine, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    await postgres_engine.deliver(THINGS)
    shortened(monkeypatch, "POSTGRES_WAREHOUSE", lock_timeout=100)
    postgres_engine.source("ALTER TABLE things ADD COLUMN more int DEFAULT 1; UPDATE things SET changed = now()")
    with closing(postgres_engine.connect_warehouse()) as analyst:
        with analyst.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
        process = analyst.info.backend_pid
        with pytest.raises(RetryableError, match=rf"lock timeout; process {process} .*AccessShareLock on {table}"):
            await postgres_engine.deliver(THINGS)
    result = await postgres_engine.deliver(THINGS)
    assert result and result.updated == 1


def test_a_frozen_run_does_not_hold_the_ledger_for_ever(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCKED_IDLE_MILLISECONDS", 100)
    run(postgres_engine.connect_warehouse, "CREATE SCHEMA millrace; CREATE TABLE millrace.batches (n int)")
    with session.session(postgres_engine.connect_warehouse, "test") as frozen:
        session.lock(frozen, "millrace.batches")
        run(postgres_engine.connect_warehouse, "SET lock_timeout = '20s'; LOCK TABLE millrace.batches")


FROZEN = """
import asyncio, os, signal, sys
import psycopg2
from millrace import Incremental, Stream, settings
from millrace.capture.chunk import Window
from millrace.capture.postgres import PostgresSource

settings.SOURCE = {**settings.SOURCE, sys.argv[2]: "500"}

async def read():
    stream = Stream("things", "postgres:public.things", "id", Incremental("changed"))
    source = PostgresSource(lambda: psycopg2.connect(sys.argv[1]), 1024)
    async with source.read(stream, (), Window()) as reading:
        chunks = reading.chunks()
        await anext(chunks)
        if sys.argv[2] != "tcp_user_timeout":
            async for _ in chunks:
                pass
        os.kill(os.getpid(), signal.SIGSTOP)

asyncio.run(read())
"""


@pytest.mark.parametrize("setting", ["tcp_user_timeout", "idle_in_transaction_session_timeout"])
def test_a_frozen_run_does_not_hold_its_table_for_ever(engine: Engine, setting: str) -> None:
    """Stopped while rows are on their way, and between two statements."""
    engine.source(
        "CREATE TABLE things AS SELECT i AS id, now() AS changed, repeat('x', 1000) AS body "
        "FROM generate_series(1, 20000) AS i"
    )
    frozen = subprocess.Popen([sys.executable, "-c", FROZEN, engine.postgres_url, setting], cwd=ROOT)
    try:
        _, status = os.waitpid(frozen.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        engine.source("SET lock_timeout = '20s'; ALTER TABLE things ADD COLUMN more int")
    finally:
        frozen.send_signal(signal.SIGKILL)
        frozen.wait()


def run(connect: Callable[[], Any], sql: str) -> None:
    with closing(connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def warehouse_url(stack: Stack, engine: Engine) -> str:
    """The loader's URL of a Postgres warehouse."""
    with closing(engine.connect_warehouse()) as connection:
        return stack.postgres.url(connection.info.dbname, user=connection.info.user)
