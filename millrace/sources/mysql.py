"""MySQL and MariaDB as a source: CSV that the server renders, open transactions from innodb_trx, and their SQL."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, suppress
from ctypes import c_float
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.naming import literal, quote_in_backticks
from millrace.base.rejects import HEX
from millrace.base.types import Column, Kind
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES, Pipe, read_in_thread
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.drivers.worker import Worker
from millrace.sources.found import FoundTable
from millrace.sources.log_source import LogSource
from millrace.sources.mysql_held import HeldSnapshot, render_keys
from millrace.sources.mysql_moment import look_at_server, read_clock
from millrace.sources.mysql_packets import read_rows
from millrace.sources.mysql_sessions import SETTINGS, SNAPSHOT, fetch_row, run
from millrace.sources.mysql_tables import find_tables
from millrace.sources.mysql_values import UTF8, describe_table, is_collated
from millrace.sources.position import SourceMoment
from millrace.sources.rows import TOO_LARGE, SourceColumn, decode
from millrace.sources.table_driver import Connect, TableDriver
from millrace.sources.tables import TableSource

NUMBERS = frozenset({Kind.BOOLEAN, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL})


class MySQLSource(TableSource, LogSource):
    """A MySQL or MariaDB database, by PyMySQL connections."""

    def __init__(self, connect: Connect, chunk_bytes: int = CHUNK_BYTES, snapshot: HeldSnapshot | None = None) -> None:
        super().__init__(MySQLDriver(snapshot), connect, chunk_bytes)

    @override
    def within(self, snapshot: HeldSnapshot) -> MySQLSource:
        """Every read uses the one connection that has the snapshot: no second one can see it."""
        return MySQLSource(snapshot.lend, self._chunk_bytes, snapshot)

    @override
    async def type_keys(
        self, stream: Stream, target_columns: Sequence[Column], keys: pl.DataFrame
    ) -> tuple[pl.DataFrame, bool]:
        def convert() -> tuple[pl.DataFrame, bool]:
            with self._open_session(stream, target_columns) as session:
                by_path = {column.column.path: column for column in session.columns}
                columns = tuple(by_path[key] for key in stream.keys)
            chunk = decode(render_keys(columns, keys), columns, stream)
            return chunk.frame, not chunk.rejected.height

        with Worker(f"type-{stream.name}") as worker:
            return await worker.run(convert)


class MySQLDriver(TableDriver):
    """MySQL and MariaDB, by PyMySQL. With ``snapshot`` every read is in that one, else each has one of its own."""

    random_expression = "RAND()"

    def __init__(self, snapshot: HeldSnapshot | None = None) -> None:
        self._snapshot = snapshot

    @override
    def translate_errors(self, place: str) -> AbstractContextManager[None]:
        return mysql_errors(place)

    @override
    def open_snapshot(self, connection: Any, _connect: Connect, /) -> SourceMoment:
        if self._snapshot is not None:
            return self._snapshot.moment
        connection.autocommit(True)
        (given_zone,) = fetch_row(connection, "SELECT @@SESSION.time_zone")
        run(connection, *SETTINGS)
        moment = look_at_server(connection, given_zone)
        # Once more: a proxy may have chosen another connection to the server for the transaction.
        run(connection, *SNAPSHOT, *SETTINGS)
        return moment

    @override
    def read_clock(self, connection: Any) -> datetime:
        return read_clock(connection)

    @override
    def describe_columns(
        self, connection: Any, stream: Stream, target_columns: Sequence[Column]
    ) -> tuple[SourceColumn, ...]:
        return describe_table(connection, stream, target_columns)

    @override
    def find_tables(self, connection: Any, schema: str) -> list[FoundTable]:
        return find_tables(connection, schema)

    @override
    def quote(self, *identifiers: str) -> str:
        return quote_in_backticks(*identifiers)

    @override
    def select_list(self, stream: Stream, columns: Sequence[SourceColumn]) -> str:
        """Select a row as one value; if it is larger than max_allowed_packet, its key alone and a mark."""
        whole = _join_fields([column.rendered for column in columns])
        key = [column.rendered if column.column.path in stream.keys else "''" for column in columns]
        return f"IFNULL({whole}, {_join_fields([*key, literal(TOO_LARGE)])})"

    @override
    def position_literal(self, column: SourceColumn, position: datetime) -> str:
        """Cut the position to the precision of the column, as the times in the column were cut."""
        digits = re.search(r"\d", column.type_name)
        unit = 10 ** (6 - int(digits[0] if digits else 0))
        cut = position.replace(tzinfo=None, microsecond=position.microsecond // unit * unit)
        return f"'{cut.isoformat(' ')}'"

    @override
    def key_condition(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        """Compare the first column by its index, then all columns by their bytes where it is necessary.

        It is necessary if a collation may take another key for this one, or if there are several columns.
        """
        literals = [
            tuple(_literal(connection, column, value) for column, value in zip(columns, row, strict=True))
            for row in rows
        ]
        first = ", ".join(dict.fromkeys(row[0] for row in literals))
        by_index = f"{quote_in_backticks(columns[0].column.path)} IN ({first})"
        if len(columns) == 1 and not is_collated(columns[0].type_name):
            return by_index
        exact, tuples = ", ".join(map(_as_bytes, columns)), ", ".join(f"({', '.join(row)})" for row in literals)
        return f"{by_index} AND ({exact}) IN ({tuples})"

    @override
    def stream_csv(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:

        def send(pipe: Pipe) -> None:
            try:
                for block in read_rows(connection, query, chunk_bytes):
                    pipe.write(block)
            except ValueError:
                raise ConfigurationError(
                    "the key of a row is larger than the server's max_allowed_packet",
                    place="source",
                    remedy="raise it on the server",
                ) from None

        # The driver does not show its socket otherwise.
        return read_in_thread(send, lambda: connection._sock.fileno() if connection.open else None, chunk_bytes)


def _join_fields(fields: Sequence[str]) -> str:
    """Return the SQL of one row as CSV."""
    return "CONCAT(" + ", ',', ".join(fields) + ", CHAR(10))"


def _as_bytes(column: SourceColumn) -> str:
    name = quote_in_backticks(column.column.path)
    return f"CAST(CONVERT({name} USING {UTF8}) AS BINARY)" if is_collated(column.type_name) else name


def _literal(connection: Any, column: SourceColumn, value: Any) -> str:
    """Return the value of a key as SQL of the type of its column, so that its index is used.

    A text that is no value of that type becomes NULL: no row has it.
    """
    kind = column.column.type.kind
    with suppress(ValueError, InvalidOperation):
        if kind in NUMBERS:
            return f"{Decimal(str(int(value) if isinstance(value, bool) else value)):f}"
        if kind in {Kind.FLOAT32, Kind.FLOAT64}:
            return repr(c_float(float(value)).value if kind is Kind.FLOAT32 else float(value))
        if kind is Kind.BINARY:
            return f"X'{(bytes.fromhex(value.removeprefix(HEX)) if isinstance(value, str) else bytes(value)).hex()}'"
        if isinstance(value, datetime):
            value = (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None).isoformat(" ")
        return str(connection.escape(str(value)))
    return "NULL"
