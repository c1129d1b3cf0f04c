"""MySQL and MariaDB as a source: CSV that the server renders, open transactions from innodb_trx, and their SQL."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from ctypes import c_float
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pymysql
from pymysql.constants import ER
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.naming import literal, quote_in_backticks
from millrace.base.rejects import HEX
from millrace.base.types import Column, Kind
from millrace.base.zones import zones_other_than_utc
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES, Pipe, read_in_thread
from millrace.drivers.psycopg_errors import statement
from millrace.drivers.pymysql_errors import code_of, mysql_errors
from millrace.sources.found import FoundTable
from millrace.sources.mysql_packets import read_rows
from millrace.sources.mysql_replica import find_following
from millrace.sources.mysql_tables import find_tables
from millrace.sources.mysql_values import UTF8, describe_table, is_collated
from millrace.sources.position import SourceMoment, join_notes
from millrace.sources.rows import TOO_LARGE, SourceColumn
from millrace.sources.table_driver import Connect, TableDriver
from millrace.sources.tables import TableSource

IDLE_SECONDS = 900
"""How long the server keeps the snapshot of a run that neither queries nor takes rows.

A paused read goes on after minutes, a frozen one does not hold its table for ever.
"""
LOCK_SECONDS = 60
"""How long a read waits for a table that somebody is altering."""
NO_LIMIT = 18_446_744_073_709_551_615
SETTINGS = (
    f"SET NAMES {UTF8}",
    "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00', sql_auto_is_null = 0, lc_messages = 'en_US', "
    # The first of these three changes the second. DEFAULT would be what the server sets for everybody.
    f"max_join_size = {NO_LIMIT}, sql_big_selects = 1, sql_select_limit = {NO_LIMIT}, "
    f"group_concat_max_len = {2**32 - 1}, lock_wait_timeout = {LOCK_SECONDS}, "
    f"net_write_timeout = {IDLE_SECONDS}, wait_timeout = {IDLE_SECONDS}"
    f" /*M!100302 , idle_transaction_timeout = {IDLE_SECONDS}, idle_readonly_transaction_timeout = {IDLE_SECONDS} */"
    f" /*M!100202 , max_recursive_iterations = {2**32 - 1} */"
    " /*M!100304 , system_versioning_asof = DEFAULT */"
    " /*M!100303 , in_predicate_conversion_threshold = 0 */",
)
"""Settings on which values and the number of rows depend, and how long the server waits.

See docs/decisions/0014-sessions.md.

MariaDB would turn long lists of keys into tables, whose collations do not mix with the columns'.
"""
SNAPSHOT = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
LOOKS, BETWEEN_LOOKS_SECONDS = 15, 0.2
NOT_GRANTED = "grant PROCESS"
STALE = "another session reads information_schema.innodb_trx without a pause, so that it is not renewed"
NUMBERS = frozenset({Kind.BOOLEAN, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL})


class MySQLSource(TableSource):
    """A MySQL or MariaDB database, by PyMySQL connections."""

    def __init__(self, connect: Connect, chunk_bytes: int = CHUNK_BYTES) -> None:
        super().__init__(MySQLDriver(), connect, chunk_bytes)


class MySQLDriver(TableDriver):
    """MySQL and MariaDB, by PyMySQL."""

    random_expression = "RAND()"

    @override
    def translate_errors(self, place: str) -> AbstractContextManager[None]:
        return mysql_errors(place)

    @override
    def open_snapshot(self, connection: Any, _connect: Connect, /) -> SourceMoment:
        connection.autocommit(True)
        (given_zone,) = _fetch_row(connection, "SELECT @@SESSION.time_zone")
        _run(connection, *SETTINGS)
        moment = _look(connection, given_zone)
        # Once more: a proxy may have chosen another connection to the server for the transaction.
        _run(connection, *SNAPSHOT, *SETTINGS)
        return moment

    @override
    def read_clock(self, connection: Any) -> datetime:
        return _read_clock(connection)

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


def _run(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement_text in statements:
            cursor.execute(statement_text)


def _fetch_row(connection: Any, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()


def _read_clock(connection: Any) -> datetime:
    moment: datetime = _fetch_row(connection, "SELECT UTC_TIMESTAMP(6)")[0]
    return moment.replace(tzinfo=UTC)


def _look(connection: Any, given_zone: str) -> SourceMoment:
    """Look at the server before the snapshot is taken.

    It looks at the clock, then at running statements, then at the server that this one follows, then at open
    transactions. ``given_zone`` is the time zone that the session had before it was set to UTC.
    """
    read_at = _read_clock(connection)
    running, has_appliers = _fetch_row(connection, statement("mysql_running_statements"))
    with connection.cursor() as cursor:
        cursor.execute(statement("mysql_server"))
        variables = {name.lower(): value for name, value in cursor.fetchall()}
    server = find_following(connection, variables, has_appliers=bool(has_appliers))
    oldest, oldest_writer, blind = _find_oldest_transactions(connection)
    return SourceMoment(
        read_at,
        min((start.replace(tzinfo=UTC) for start in (oldest, running) if start is not None), default=None),
        oldest_writer.replace(tzinfo=UTC) if oldest_writer else None,
        unseen_because=join_notes(server.unseen_because, blind),
        replayed_until=None if server.behind is None else read_at - server.behind,
        halted_because=server.halted_because,
        zones=_zones_of(variables, given_zone),
    )


def _find_oldest_transactions(connection: Any) -> tuple[datetime | None, datetime | None, str]:
    """Return when the oldest open transaction began, and the oldest that may write; and the reason if neither is seen.

    InnoDB renews its list of transactions only when nobody has asked for 0.1 s. A transaction of our own, which the
    next look replaces, is the marker: when the list has it, the list is current. It stays open between looks, so that
    one renewal serves all reads that wait for it.
    """
    _run(connection, *SNAPSHOT)
    try:
        for _ in range(LOOKS):
            is_fresh, oldest, oldest_writer = _fetch_row(connection, statement("mysql_open_transactions"))
            if is_fresh:
                return oldest, oldest_writer, ""
            # All who wait look at the same moments, so that the list has the pauses that it needs.
            time.sleep(BETWEEN_LOOKS_SECONDS - time.time() % BETWEEN_LOOKS_SECONDS)
    except pymysql.MySQLError as error:
        if code_of(error) != ER.SPECIFIC_ACCESS_DENIED_ERROR:
            raise
        return None, None, NOT_GRANTED
    return None, None, STALE


def _zones_of(variables: Mapping[str, str], given: str) -> tuple[str, ...]:
    """Return the time zones other than UTC that the server gives to sessions, by default and by its init_connect."""
    names = {variables["time_zone"], given}
    return zones_other_than_utc({variables["system_time_zone"] if name == "SYSTEM" else name for name in names})


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
