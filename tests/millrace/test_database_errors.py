"""Drivers' errors as ours: no value of a row is in them."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from millrace.database import database_errors
from millrace.errors import FatalError, SourceMissing, Unreachable
from millrace.warehouse.session import session


def run(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor, database_errors("somewhere"):
        cursor.execute(statement)


def test_a_data_error_does_not_quote_the_value(postgres_database: str) -> None:
    with pytest.raises(FatalError, match="invalid input syntax") as failure:
        run(postgres_database, "SELECT 'John \"Jack\" Smith, born 1970'::int")
    assert "Smith" not in str(failure.value)
    assert "Jack" not in str(failure.value)


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
