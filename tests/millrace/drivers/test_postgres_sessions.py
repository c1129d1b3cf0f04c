"""Sessions of Postgres, as a source and as a warehouse: whatever a server, a role or the runner sets for them, values
are exact or the run is refused. Rows that a policy hides, settings, encodings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg2
import pytest

from local.stack import Stack
from millrace import Incremental, Snapshot, Stream
from millrace.base.errors import ConfigurationError, FatalError
from millrace.drivers import session_settings
from millrace.warehouse import session
from tests.conftest import unique
from tests.support.engine import Engine, database_of, engine_between
from tests.support.postgres_things import TEXTS, THINGS


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
        postgres_engine.query(f"ALTER TABLE engine.things {verb} ROW LEVEL SECURITY")
    with pytest.raises(ConfigurationError, match="would be affected by row-level security policy"):
        await postgres_engine.sweep(THINGS)


@pytest.fixture(params=["database LATIN1", "database WIN1252", "role", "PGCLIENTENCODING"])
def encoded(
    request: pytest.FixtureRequest, stack: Stack, postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An engine whose warehouse, loader or runner is not on UTF-8."""
    kind, _, encoding = request.param.partition(" ")
    with database_in(stack, encoding or "UTF8") as url:
        if kind == "role":
            stack.postgres.execute(f"ALTER ROLE {database_of(url)} SET client_encoding = 'WIN1252'")
        if kind == "PGCLIENTENCODING":
            monkeypatch.setenv(kind, "LATIN1")
        yield engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, url)
        monkeypatch.delenv("PGCLIENTENCODING", raising=False)


@contextmanager
def database_in(stack: Stack, encoding: str) -> Iterator[str]:
    """The owner's URL of a new database in this encoding, which is dropped afterwards."""
    name = unique("encoded")
    stack.postgres.create_role(name)
    stack.postgres.execute(
        f"CREATE DATABASE {name} OWNER {name} ENCODING '{encoding}' "
        "LOCALE_PROVIDER 'libc' LOCALE 'C' TEMPLATE template0"
    )
    try:
        yield stack.postgres.url(name, user=name)
    finally:
        stack.postgres.drop_database(name)


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
    refusal = r"stream .*things.*a character that the database's encoding lacks"
    postgres_engine.source(f"{TEXTS}; INSERT INTO things VALUES ('a', '5 ' || chr(8364))")
    with database_in(stack, "LATIN1") as url, pytest.raises(ConfigurationError, match=refusal) as refused:
        latin = engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, url)
        await latin.deliver(THINGS)
    assert "€" not in str(refused.value)
    assert "0xe2" not in str(refused.value)


async def test_bytes_that_are_no_text_are_refused_without_their_value(stack: Stack, engine: Engine) -> None:
    with database_in(stack, "SQL_ASCII") as engine.postgres_url:
        engine.source(f"{TEXTS}; INSERT INTO things VALUES ('a', E'caf\\xe9')")
        with pytest.raises(FatalError, match=r"stream things .*bytes that are none in the encoding") as refused:
            await engine.deliver(THINGS)
    assert "0xe9" not in str(refused.value)


ODD = {
    "search_path": "public", "DateStyle": "'SQL, DMY'", "IntervalStyle": "'sql_standard'", "TimeZone": "'Asia/Tokyo'",
    "extra_float_digits": "-3", "bytea_output": "'escape'", "xmlbinary": "'hex'", "xmloption": "'document'",
    "standard_conforming_strings": "off", "backslash_quote": "'on'", "array_nulls": "off",
    "transform_null_equals": "on", "quote_all_identifiers": "on", "gin_fuzzy_search_limit": "1", "row_security": "on",
    "statement_timeout": "'9h'", "lock_timeout": "'9h'", "idle_in_transaction_session_timeout": "'9h'",
    "idle_session_timeout": "'9h'", "transaction_timeout": "'9h'", "tcp_user_timeout": "'9h'",
    "application_name": "'x'",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["SOURCE", "POSTGRES_WAREHOUSE"])
def test_a_session_has_its_own_settings_whatever_the_database_has(
    stack: Stack, postgres_database: str, kind: str
) -> None:
    wanted = getattr(session_settings, kind)
    assert wanted.keys() <= ODD.keys()
    for name, value in ODD.items():
        stack.postgres.execute(f'ALTER DATABASE "{database_of(postgres_database)}" SET {name} = {value}')
    with closing(psycopg2.connect(postgres_database)) as connection, connection.cursor() as cursor:
        if kind == "SOURCE":
            session_settings.begin_reading(connection, "READ COMMITTED")
        else:
            session_settings.settle_session(connection)
            connection.rollback()
        cursor.execute("SELECT lower(name), setting, source FROM pg_settings")
        found = {name: (value.replace('"', ""), source) for name, value, source in cursor.fetchall()}
    assert {name: found[name.lower()] for name in wanted} == {
        name: (value.strip("'"), "session") for name, value in wanted.items()
    }


def test_redshift_is_asked_for_settings_that_it_has(engine: Engine) -> None:
    with session.open_session(engine.connect_warehouse, "test") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path')")
        assert cursor.fetchone() == (session_settings.NOTHING_ELSE,)
        for name in ("bytea_output", "row_security", "lock_timeout", "idle_in_transaction_session_timeout"):
            with pytest.raises(psycopg2.Error, match=f'unrecognized configuration parameter "{name}"'):
                cursor.execute(f"SET {name} = 0")
            connection.rollback()
