"""What the change log of MySQL and MariaDB can tell of the tables of streams, and what to do where it cannot."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import ER

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.base.naming import quote_in_backticks
from millrace.change_logs.binlog_changes import TableKey
from millrace.change_logs.binlog_keys import find_key_column
from millrace.change_logs.binlog_rows import LoggedKeyColumn
from millrace.change_logs.mysql_server import MySQLLogServer
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import statement
from millrace.drivers.pymysql_errors import code_of
from millrace.sources.mysql_replica import DENIED
from millrace.sources.mysql_tables import PRIMARY, find_unique_keys

ENGINE, MINIMAL = "InnoDB", "MINIMAL"
TABLE_NUMBERS = (
    "SELECT group_concat(table_id ORDER BY table_id) FROM information_schema.innodb_{}tables "
    "WHERE name = %(file)s OR left(name, char_length(%(file)s) + 1) = concat(%(file)s, '#')"
)
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
_SILENT_FOREIGN_KEY = re.compile(
    r"^\s+CONSTRAINT .* FOREIGN KEY .* ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT)", re.MULTILINE
)


@dataclass(frozen=True)
class FollowedTable:
    """The table of a stream as the catalog has it."""

    key: TableKey
    fingerprint: str
    """It changes with the definition of the table, and when the table is made again."""


def find_followed(connection: Any, streams: Sequence[Stream], server: MySQLLogServer) -> list[FollowedTable]:
    """Return the tables of streams, in their order.

    Raises SourceMissing for a table that does not exist, and ConfigurationError, with what to do, where the log does
    not tell the changed keys of one.
    """
    with connection.cursor() as cursor:
        return [_find(cursor, stream, server) for stream in streams]


def hold_tables(connection: Any, streams: Sequence[Stream]) -> None:
    """Read from each table, so that its definition stays as it is until the transaction ends.

    Raises the error of the driver if it was altered since the snapshot of the transaction.
    """
    with connection.cursor() as cursor:
        for stream in streams:
            name = quote_in_backticks(stream.reference.schema, stream.reference.name)
            cursor.execute(f"SELECT 1 FROM {name} LIMIT 1")
            cursor.fetchall()


def _find(cursor: Any, stream: Stream, server: MySQLLogServer) -> FollowedTable:
    reference, names = stream.reference, {"schema": stream.reference.schema, "name": stream.reference.name}
    cursor.execute(statement("mysql_log_table"), names)
    row = cursor.fetchone()
    if row is None:
        raise SourceMissing(
            "there is no such table, or this user may not read it",
            place=stream.place,
            remedy="grant SELECT on it, or correct the declaration",
        )
    table_type, engine, created_at = row
    _refuse_table(stream, server, table_type, engine)
    keys = find_unique_keys(cursor, reference.schema).get(reference.name, {})
    _refuse_key(stream, server, {index for index, columns in keys.items() if set(columns) == set(stream.keys)})
    cursor.execute(statement("mysql_log_columns"), names)
    columns = {name: rest for name, *rest in cursor.fetchall()}
    key = [_find_key_column(stream, name, *columns[name]) for name in stream.keys]
    cursor.execute(f"SHOW CREATE TABLE {quote_in_backticks(reference.schema, reference.name)}")
    definition = _COUNTER.sub("", cursor.fetchone()[1])
    _refuse_silent_changes(stream, definition)
    parts = (definition, str(created_at), _find_numbers(cursor, stream, server))
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return FollowedTable(TableKey(reference.schema, reference.name, key), fingerprint)


def _refuse_table(stream: Stream, server: MySQLLogServer, table_type: str, engine: str | None) -> None:
    if table_type == "VIEW" or (engine or "").upper() != ENGINE.upper():
        raise ConfigurationError(
            "it is a view" if table_type == "VIEW" else f"it is a table of {engine}, which has no snapshots",
            place=stream.place,
            remedy=f"declare a table of {ENGINE}, or another capture",
        )
    if not server.logs(stream.reference.schema):
        raise ConfigurationError(
            "the server does not log changes of this database (binlog_do_db, binlog_ignore_db)",
            place=stream.place,
            remedy="change that in its configuration and restart it, or declare another capture",
        )


def _refuse_key(stream: Stream, server: MySQLLogServer, indexes: set[str]) -> None:
    if not indexes:
        raise ConfigurationError(
            f"its key ({', '.join(stream.keys)}) is neither the primary key of the table nor a unique key without NULL",
            place=stream.place,
            remedy="declare the primary key of the table as the key of the stream, or create a unique key of these "
            "columns, NOT NULL and without prefixes",
        )
    if server.row_image == MINIMAL and PRIMARY not in indexes:
        raise ConfigurationError(
            "binlog_row_image is MINIMAL, and the key of the stream is not the primary key: the log does not have it",
            place=stream.place,
            remedy="declare the primary key, or SET GLOBAL binlog_row_image = 'FULL' and set it in the configuration",
        )


def _find_key_column(
    stream: Stream, name: str, position: int, column_type: str, charset: str | None
) -> LoggedKeyColumn:
    found = find_key_column(int(position), column_type, charset)
    if found is None:
        shown = f"{column_type} in {charset}" if charset else column_type
        raise ConfigurationError(
            f"column {name} of its key is {shown}, which cannot be read exactly in the change log",
            place=stream.place,
            remedy="declare a unique key of whole numbers, decimals, dates, datetimes, bytes, or texts in utf8mb4, "
            "utf8mb3, ascii or latin1; or another capture",
        )
    return found


def _refuse_silent_changes(stream: Stream, definition: str) -> None:
    if not stream.sweep and _SILENT_FOREIGN_KEY.search(definition):
        raise ConfigurationError(
            "a foreign key deletes or changes its rows with those of another table (CASCADE, SET NULL), and the change "
            "log does not tell that",
            place=stream.place,
            remedy='declare a sweep beside the change log, sweep="daily", which finds these changes',
        )


def _find_numbers(cursor: Any, stream: Stream, server: MySQLLogServer) -> str:
    """Return the numbers of the table and its partitions, which a table that was made again does not keep.

    Return '' where the user may not see them: what the log tells of definitions is enough then.
    """
    file = f"{stream.reference.schema}/{stream.reference.name}"
    try:
        cursor.execute(TABLE_NUMBERS.format("sys_" if server.is_mariadb else ""), {"file": file})
        return str(cursor.fetchone()[0] or "")
    except pymysql.MySQLError as error:
        if code_of(error) not in DENIED | {ER.UNKNOWN_TABLE}:
            raise
        return ""
