"""Drivers' errors as ours: no value of a row is in them."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import cast

import psycopg2
import pytest
from engine_on_servers import database_of
from pymongo import errors

from local.stack import Stack
from millrace.capture import mongo_client
from millrace.database import database_errors, translate
from millrace.errors import ConfigurationError, Conflict, FatalError, RetryableError, SourceMissing, Unreachable
from millrace.warehouse.session import session


def run(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor, database_errors("somewhere"):
        cursor.execute(statement)


def test_a_data_error_does_not_quote_the_value(postgres_database: str) -> None:
    with pytest.raises(FatalError, match="invalid input syntax") as failure:
        run(postgres_database, "SELECT 'John \"Jack\" Smith, born 1970'::int")
    assert "Smith" not in str(failure.value)
    assert "Jack" not in str(failure.value)


def test_the_text_of_an_exception_that_a_function_raised_is_not_passed_on(postgres_database: str) -> None:
    with pytest.raises(FatalError, match=r"a function in the database raised an exception.*by hand") as failure:
        run(postgres_database, "DO $$ BEGIN RAISE EXCEPTION 'no such customer: Smith'; END $$")
    assert "Smith" not in str(failure.value)


@pytest.mark.parametrize("quoted", ['"Smith"', "»Smith«", "«Smith»", "„Smith“", "“Smith”"])
def test_a_data_error_in_another_language_does_not_quote_the_value(quoted: str) -> None:
    error = SimpleNamespace(pgcode="22P02", diag=SimpleNamespace(message_primary=f"ungültig: {quoted}"))
    assert "Smith" not in str(translate(cast("Exception", error), "somewhere"))


@pytest.mark.parametrize("code", ["25P03", "25P04", "57P05", "55P03", "57P01", "40001", "57014"])
def test_what_passes_by_itself_is_tried_again(code: str) -> None:
    error = SimpleNamespace(pgcode=code, diag=SimpleNamespace(message_primary="it ended"))
    assert isinstance(translate(cast("Exception", error), "somewhere"), RetryableError)


@pytest.mark.parametrize("code", [43, 50, 91, 133, 136, 175, 189, 237, 262, 11600, 11601])
def test_what_passes_by_itself_in_mongodb_is_tried_again(code: int) -> None:
    kind = errors.CursorNotFound if code == 43 else errors.OperationFailure
    assert isinstance(mongo_client.translate(kind("it ended", code), "somewhere"), RetryableError)


@pytest.mark.parametrize("text", ["could not complete because of conflict with concurrent transaction", "1023"])
def test_a_conflict_of_redshift_is_repeated(text: str) -> None:
    error = SimpleNamespace(pgcode="XX000", diag=SimpleNamespace(message_primary=text))
    assert isinstance(translate(cast("Exception", error), "somewhere"), Conflict)


def test_a_type_of_the_tables_name_is_a_conflict_that_says_what_to_do_if_it_stays(postgres_database: str) -> None:
    """Two sessions that make one table meet as well at the type of its rows."""
    with pytest.raises(
        Conflict, match=r"already exists\. Remedy: run again.*If it stays: a type of this name is there"
    ):
        run(postgres_database, "CREATE TYPE notes AS ENUM ('a'); CREATE TABLE notes (id int)")


def test_who_may_not_connect_is_told_so(stack: Stack, postgres_database: str) -> None:
    name = database_of(postgres_database)
    stack.postgres.execute(
        f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC; ALTER DATABASE "{name}" OWNER TO postgres'
    )
    with pytest.raises(ConfigurationError, match=r"permission denied for database.*grant it"), database_errors("there"):
        psycopg2.connect(postgres_database)


def test_a_missing_table_is_still_named(postgres_database: str) -> None:
    with pytest.raises(SourceMissing, match='relation "absent" does not exist'):
        run(postgres_database, "SELECT * FROM absent")


def test_a_warehouse_that_is_lost_is_named(postgres_database: str) -> None:
    """The place of a stream names its source, which is well."""
    place = "stream shop.notes (postgres:public.notes)"
    with (
        pytest.raises(Unreachable) as lost,
        session(lambda: psycopg2.connect(postgres_database), place) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert lost.value.place == f"warehouse, {place}"
