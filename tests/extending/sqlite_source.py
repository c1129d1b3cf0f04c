"""A worked example of docs/extending.md: SQLite as a kind of source, in about a hundred lines.

A table column is INTEGER, REAL, TEXT, BLOB or DATETIME; a DATETIME is text in UTC, ``YYYY-MM-DD HH:MM:SS`` with or
without a fraction, as CURRENT_TIMESTAMP writes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from typing_extensions import override

from millrace import Stream
from millrace.base.errors import FatalError, RetryableError, SourceMissing, UnmappableType, Unreachable
from millrace.base.naming import column_names, literal, quote
from millrace.base.rejects import HEX
from millrace.base.types import BINARY, FLOAT64, INT64, TIMESTAMP_UTC, Column, DataType, text
from millrace.declaration.source_kinds import SourceKind
from millrace.sources.position import SourceMoment
from millrace.sources.rows import SourceColumn, chosen_columns
from millrace.sources.table_driver import Connect, TableDriver
from millrace.sources.tables import TableSource

SQLITE = SourceKind("sqlite", "SQLite", "table")
TYPES: dict[str, DataType] = {
    "INTEGER": INT64,
    "REAL": FLOAT64,
    "TEXT": text(),
    "BLOB": BINARY,
    "DATETIME": TIMESTAMP_UTC,
}
STORED = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes, "DATETIME": str}
"""The types of Python that a value may have: a column of SQLite takes a value of any type."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SQLiteDriver(TableDriver):
    """SQLite, by the sqlite3 module."""

    random_expression = "abs(random() / 9223372036854775808.0)"

    @override
    @contextmanager
    def translate_errors(self, place: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            said = str(error)
            if "unable to open" in said:
                raise Unreachable("the file cannot be opened", place=place, remedy="correct its path") from None
            if "locked" in said:
                raise RetryableError("another session is writing", place=place, remedy="run again") from None
            remedy = "correct values whose type is not that of their column"
            raise FatalError(f"the read failed ({type(error).__name__})", place=place, remedy=remedy) from None

    @override
    def open_snapshot(self, connection: Any, connect: Connect, /) -> SourceMoment:
        connection.create_function("wire_text", 2, wire_text, deterministic=True)
        with closing(connect()) as other:
            # Nobody else writes while this transaction is open: whatever the snapshot does not show is written later.
            other.execute("BEGIN IMMEDIATE")
            read_at = datetime.now(UTC)
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            other.execute("ROLLBACK")
        return SourceMoment(read_at)

    @override
    def read_clock(self, connection: Any) -> datetime:
        return datetime.now(UTC)

    @override
    def describe_columns(
        self, connection: Any, stream: Stream, target_columns: Sequence[Column]
    ) -> tuple[SourceColumn, ...]:
        schema, table, place = stream.reference.schema, stream.reference.name, stream.place
        found = connection.execute("SELECT name, type FROM pragma_table_info(?, ?)", (table, schema)).fetchall()
        if not found:
            raise SourceMissing("there is no such table", place=place, remedy="create it, or correct the source")
        found = chosen_columns(stream, found)
        names = column_names((path for path, _ in found), {column.path: column.name for column in target_columns})
        return tuple(_column(stream, names[path], path, type_name, place) for path, type_name in found)

    @override
    def quote(self, *identifiers: str) -> str:
        return quote(*identifiers)

    @override
    def select_list(self, stream: Stream, columns: Sequence[SourceColumn]) -> str:
        return ", ".join(column.rendered for column in columns)

    @override
    def position_literal(self, column: SourceColumn, bound: datetime) -> str:
        # The shortest text: a stored time is greater or equal as text wherever it is as a time.
        shown = bound.replace(tzinfo=None).isoformat(" ")
        return literal(shown.rstrip("0") if "." in shown else shown)

    @override
    def key_condition(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        names = ", ".join(f"{quote(column.column.path)} COLLATE BINARY" for column in columns)
        values = (", ".join(map(_literal, columns, row)) for row in rows)
        return f"({names}) IN (VALUES {', '.join(f'({row})' for row in values)})"

    @override
    def stream_csv(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:
        lines: list[str] = []
        size_bytes = 0
        for row in connection.execute(query):
            lines.append(",".join("" if value is None else value for value in row))
            size_bytes += len(lines[-1])
            if size_bytes >= chunk_bytes:
                yield _block(lines)
                lines, size_bytes = [], 0
        if lines:
            yield _block(lines)


class SQLiteSource(TableSource):
    """A file of SQLite."""

    def __init__(self, path: str, chunk_bytes: int = 4 * 1024 * 1024) -> None:
        super().__init__(SQLiteDriver(), lambda: sqlite3.connect(f"file:{path}?mode=rw", uri=True), chunk_bytes)


def wire_text(type_name: str, value: Any) -> str | None:
    """A function for SQL: a value as ``rows.decode`` reads it. Raises TypeError, which ends the query, where the value
    has another type than its column."""
    if value is None:
        return None
    if not isinstance(value, STORED[type_name]):
        raise TypeError(type_name)
    if type_name == "DATETIME":
        with suppress(ValueError):
            return str((datetime.fromisoformat(value).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1))
    if isinstance(value, bytes):
        return value.hex()
    return '"{}"'.format(value.replace('"', '""')) if isinstance(value, str) else repr(value)


def _block(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _column(stream: Stream, name: str, path: str, type_name: str, place: str) -> SourceColumn:
    data_type = stream.types.get(path) or TYPES.get(type_name)
    if data_type is None or type_name not in TYPES:
        choices = ", ".join(TYPES)
        raise UnmappableType(
            f"column {path!r} is {type_name or 'of no type'}", place=place, remedy=f"declare one of {choices} in SQLite"
        )
    rendered = f"wire_text({literal(type_name)}, {quote(path)})"
    return SourceColumn(Column(name, path, data_type), rendered, exact=type_name != "TEXT", type_name=type_name)


def _literal(column: SourceColumn, value: Any) -> str:
    """A value of a key, or its text, as SQL; NULL, which no row has, where it is no value of the column."""
    with suppress(ValueError):
        match column.type_name:
            case "INTEGER":
                return str(int(value))
            case "REAL":
                return repr(float(value))
            case "BLOB":
                return f"X'{bytes.fromhex(value.removeprefix(HEX)).hex() if isinstance(value, str) else value.hex()}'"
            case "TEXT":
                return f"CAST(X'{str(value).encode().hex()}' AS TEXT)"
    return "NULL"
