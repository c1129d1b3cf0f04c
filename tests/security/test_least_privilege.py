"""Every role of the product may do what it needs and is refused what it does not: on the very grants of sql/totesys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from local.demos import totesys_source
from local.stack import Stack
from local.warehouse import ANALYST, LOADER
from millrace import Incremental, Stream
from millrace.blocks.store import BucketStore
from millrace.drivers.psycopg_errors import statement
from millrace.seed_data.totesys.simulation import install
from tests.conftest import unique
from tests.support.engine import bucket_store, engine_between

REFUSED = "42501"
READ_ONLY = "25006"


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """The rows of the last statement; each is committed by itself."""
    with closing(psycopg2.connect(url.replace("redshift+psycopg2", "postgresql"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for text in statements:
                cursor.execute(text)
            return cursor.fetchall() if cursor.description else []


def refusal(url: str, *statements: str) -> str | None:
    """SQLSTATE of the last statement's error; the others succeed."""
    with closing(psycopg2.connect(url.replace("redshift+psycopg2", "postgresql"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for text in statements[:-1]:
                cursor.execute(text)
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute(statements[-1])
    return caught.value.pgcode


@pytest.fixture
def writer(stack: Stack) -> Iterator[str]:
    """The back office's URL of a database of its own; its tables and the simulated clock are there."""
    database = unique("totesys")
    totesys_source.install(stack.postgres, database)
    url = stack.postgres.url(database, user=totesys_source.WRITER)
    with closing(psycopg2.connect(url)) as connection:
        install(connection)
    # Again: the grants may also come after the tables.
    totesys_source.install(stack.postgres, database)
    yield url
    stack.postgres.drop_database(database)


@pytest.fixture
def reader(stack: Stack, writer: str) -> str:
    """The pipeline's URL of the same database."""
    return stack.postgres.url(writer.rpartition("/")[2], user=totesys_source.READER)


@pytest.fixture
def analyst(stack: Stack, warehouse_url: str) -> str:
    """The analyst's URL of the empty warehouse."""
    return stack.warehouse.url_of(ANALYST)


def test_no_role_of_the_product_stands_above_the_others(stack: Stack) -> None:
    urls = [url for name, url in stack.environment().items() if "POSTGRES" in name or name == "WAREHOUSE_URL"]
    users = {urlsplit(url).username for url in urls}
    assert users == {"bank", totesys_source.WRITER, totesys_source.READER, LOADER}
    mighty = stack.postgres.execute(
        "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    )
    assert ("postgres",) in mighty
    assert not users & {name for (name,) in mighty}


def test_what_each_role_inherits(stack: Stack) -> None:
    inherited = stack.postgres.execute(
        "SELECT member::regrole::text, roleid::regrole::text FROM pg_auth_members "
        f"WHERE member::regrole::text IN ('{totesys_source.READER}', '{LOADER}', '{ANALYST}')"
    )
    assert inherited == [(totesys_source.READER, "pg_read_all_stats")]


def test_no_password_stands_on_a_command_line(stack: Stack) -> None:
    known = {
        stack.postgres.password_of(role)
        for role in ("postgres", "bank", totesys_source.READER, totesys_source.WRITER, LOADER)
    }
    for service in stack.services():
        command = Path(f"/proc/{service.process.process_id}/cmdline").read_text()
        assert not [password for password in known if password in command], service.name


class TestReader:
    def test_it_reads_every_table_also_a_later_one(self, writer: str, reader: str) -> None:
        assert run(reader, "SELECT count(*) FROM public.sales_order") == [(0,)]
        run(writer, "CREATE TABLE public.later AS SELECT 1 AS a")
        assert run(reader, "SELECT a FROM public.later") == [(1,)]

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO public.currency VALUES (9, 'XXX', now(), now())",
            "UPDATE public.currency SET currency_code = 'XXX'",
            "DELETE FROM public.currency",
            "TRUNCATE public.currency",
            "DROP TABLE public.currency",
            "CREATE TABLE public.mine (a int)",
            "CREATE TEMPORARY TABLE mine (a int)",
            "CREATE SCHEMA mine",
            "CREATE ROLE mine",
        ],
    )
    def test_it_cannot_write(self, reader: str, statement: str) -> None:
        assert refusal(reader, statement) == READ_ONLY
        assert refusal(reader, "SET default_transaction_read_only = off", statement) == REFUSED

    def test_it_sees_when_other_sessions_began(self, writer: str, reader: str) -> None:
        with closing(psycopg2.connect(writer)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.now()")
            (began,) = cursor.fetchone()
            ((_, oldest, _, why_blind, *_),) = run(reader, statement("postgres_open_transactions"))
        assert (oldest, why_blind) == (began, "")

    def test_of_the_simulation_it_sees_the_time_only(self, reader: str) -> None:
        assert run(reader, "SELECT now() = simulation.now() OR now() < clock_timestamp()") == [(True,)]
        for table in ("clock", "origin", "history"):
            assert refusal(reader, f"SELECT * FROM simulation.{table}") == REFUSED

    def test_it_connects_to_no_other_source(self, stack: Stack) -> None:
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(stack.postgres.url("bank", user=totesys_source.READER))


class TestLoader:
    def test_it_reads_no_schema_of_others(self, stack: Stack, warehouse_url: str) -> None:
        run(stack.warehouse.backend_url, "CREATE SCHEMA finance", "CREATE TABLE finance.salaries AS SELECT 1 AS a")
        for text in ("SELECT * FROM finance.salaries", "CREATE TABLE finance.mine (a INT)", "DROP SCHEMA finance"):
            assert refusal(warehouse_url, text) == REFUSED

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE USER mine PASSWORD 'Secret123'",
            "ALTER USER analyst PASSWORD 'Secret123'",
            "GRANT analyst TO millrace_loader",
        ],
    )
    def test_it_makes_no_users(self, warehouse_url: str, statement: str) -> None:
        assert refusal(warehouse_url, statement) == REFUSED

    def test_it_makes_no_database(self, stack: Stack) -> None:
        assert refusal(stack.postgres.url("warehouse", user=LOADER), "CREATE DATABASE mine") == REFUSED


class TestAnalyst:
    def test_it_reads_the_star_also_what_is_added_later(self, warehouse_url: str, analyst: str) -> None:
        run(warehouse_url, "CREATE SCHEMA IF NOT EXISTS totesys", "CREATE TABLE totesys.fact AS SELECT 1 AS a")
        run(warehouse_url, "CREATE VIEW totesys.facts AS SELECT a FROM totesys.fact")
        assert run(analyst, "SELECT fact.a + facts.a FROM totesys.fact, totesys.facts") == [(2,)]

    def test_it_reads_neither_replica_nor_ledger(self, warehouse_url: str, analyst: str) -> None:
        for schema in ("totesys_source", "millrace"):
            run(warehouse_url, f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.t AS SELECT 1 AS a")
            assert refusal(analyst, f"SELECT * FROM {schema}.t") == REFUSED

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO totesys.fact VALUES (2)",
            "DELETE FROM totesys.fact",
            "DROP TABLE totesys.fact",
            "CREATE TABLE totesys.mine (a INT)",
            "CREATE SCHEMA mine",
        ],
    )
    def test_it_cannot_write(self, warehouse_url: str, analyst: str, statement: str) -> None:
        run(warehouse_url, "CREATE TABLE totesys.fact AS SELECT 1 AS a")
        assert refusal(analyst, statement) == REFUSED


async def test_the_engine_needs_no_more(
    stack: Stack, writer: str, reader: str, warehouse_url: str, bucket: str
) -> None:
    """A first load, a change, a sweep that finds a silent edit: as the reader in the source, as the loader there."""
    run(writer, "INSERT INTO public.currency VALUES (1, 'GBP', now(), now()), (2, 'USD', now(), now())")
    store: BucketStore = bucket_store(stack, bucket)
    engine = engine_between(stack, store, reader, warehouse_url)
    stream = Stream(
        "currency", source="postgres:public.currency", key="currency_id", capture=Incremental("last_updated")
    )
    await engine.deliver(stream)
    run(writer, "INSERT INTO public.currency VALUES (3, 'EUR', now(), now())")
    await engine.deliver(stream)
    run(writer, "UPDATE public.currency SET currency_code = 'CHF' WHERE currency_id = 2")
    result = await engine.sweep(stream)
    assert (result.updated, result.inserted) == (1, 0)
    assert engine.rows("currency", "currency_code", order="currency_id") == [("GBP",), ("CHF",), ("EUR",)]
