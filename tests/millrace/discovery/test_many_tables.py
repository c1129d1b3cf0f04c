"""`millrace init` on a database of 300 tables: a number of statements that does not grow with them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

import psycopg2
import pymysql

from local.mysql import connect as connect_mysql
from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.propose import propose_streams
from millrace.discovery.write_file import write_file
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource
from tests.support.engine import Engine

TABLES = 300
STATEMENTS = 20
"""The most that a session may send, with those that set it up."""
SECONDS = 20.0


class Counting(psycopg2.extensions.cursor):
    """A cursor that counts the statements of all cursors."""

    sent: ClassVar[list[str]] = []

    def execute(self, query: Any, vars: Any = None) -> Any:  # noqa: A002 - psycopg2 calls it so
        self.sent.append(str(query))
        return super().execute(query, vars)


async def test_300_tables_are_proposed_with_few_statements(engine: Engine) -> None:
    names = [f"table_{number:03}" for number in range(TABLES)]
    columns = "id int PRIMARY KEY, " + ", ".join(f"c{number} text" for number in range(20)) + ", updated_at timestamptz"
    engine.source("; ".join(f"CREATE TABLE {name} ({columns})" for name in names))

    def connect() -> Any:
        return psycopg2.connect(engine.postgres_url, cursor_factory=Counting)

    Counting.sent.clear()
    begun = time.monotonic()
    tables = await PostgresSource(connect).find_tables("public", 1)
    streams = propose_streams(SourceReference.parse("postgres:public.*"), tables)
    text = write_file("shop", "millrace init", [SourceReference.parse("postgres:public.*")], streams)
    assert time.monotonic() - begun < SECONDS
    assert len(Counting.sent) <= STATEMENTS
    assert [stream.name for stream in streams] == names
    assert {len(table.columns) for table in tables} == {22}
    assert [column.name for column in tables[7].columns][:2] == ["id", "c0"]
    assert text.count("Incremental(") == TABLES
    assert '    schedule="*/20 * * * *",' in text


class CountingMySQL(pymysql.cursors.Cursor):
    """A cursor that counts the statements of all cursors."""

    sent: ClassVar[list[str]] = []

    def execute(self, query: Any, args: Any = None) -> Any:
        self.sent.append(str(query))
        return super().execute(query, args)


async def test_300_tables_of_mysql_are_read_with_few_statements(mysql_database: str) -> None:
    columns = "id int AUTO_INCREMENT PRIMARY KEY, " + ", ".join(f"c{number} text" for number in range(20))
    with closing(connect_mysql(mysql_database)) as connection, connection.cursor() as cursor:
        for number in range(TABLES):
            cursor.execute(f"CREATE TABLE table_{number:03} ({columns}, v JSON, `v``` JSON)")

    def connect() -> Any:
        connection = connect_mysql(mysql_database)
        connection.cursorclass = CountingMySQL
        return connection

    CountingMySQL.sent.clear()
    begun = time.monotonic()
    tables = await MySQLSource(connect).find_tables(mysql_database.rpartition("/")[2], 1)
    assert time.monotonic() - begun < SECONDS
    assert len(CountingMySQL.sent) <= STATEMENTS
    assert len(tables) == TABLES
    assert {len(table.columns) for table in tables} == {23}
    first, *_, last = tables[7].columns
    assert (first.name, first.is_growing, tables[7].primary_key) == ("id", True, ("id",))
    assert (last.type_name, tables[7].columns[1].type_name) == ("json", "text")


async def test_a_large_table_may_lose_a_smaller_share(engine: Engine) -> None:
    engine.source("CREATE TABLE orders (id int PRIMARY KEY, updated_at timestamptz)")
    (small,) = await PostgresSource(engine.connect_source).find_tables("public", 1)
    reference = SourceReference.parse("postgres:public.*")
    written = [
        write_file("shop", "millrace init", [reference], propose_streams(reference, [table]))
        for table in (small, replace(small, rows=6_000_000))
    ]
    assert ["max_delete_share=0.1" in text for text in written] == [False, True]
