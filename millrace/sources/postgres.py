"""Postgres as a source: rows by COPY, open transactions from pg_stat_activity, and its SQL."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import polars as pl
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.naming import literal, quote
from millrace.base.types import Column, Kind
from millrace.base.zones import zones_other_than_utc
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES, read_in_thread
from millrace.drivers.poolers import begin_transaction
from millrace.drivers.psycopg_errors import database_errors, statement
from millrace.drivers.session_settings import ENCODING, begin_reading
from millrace.drivers.worker import Worker
from millrace.sources.found import FoundTable
from millrace.sources.log_source import LogSource
from millrace.sources.position import SourceMoment
from millrace.sources.postgres_tables import find_tables
from millrace.sources.postgres_values import describe_table
from millrace.sources.rows import SourceColumn
from millrace.sources.table_driver import Connect, SharedSnapshot, TableDriver
from millrace.sources.tables import TableSource

OLDEST_SERVER = 140_000
BLIND = {
    "": "",
    "replica": "this server is a replica, and hides those of the primary",
    "prepared": "there are prepared transactions, which do not say when they began: end them",
    "not granted": "grant pg_read_all_stats",
    "not tracked": "a session does not say when its transaction began, as with track_activities = off",
    "subscriber": (
        "this database subscribes to another server, hides those of that one and does not say how far behind it is; "
        "read from that server, or declare an overlap longer than the lag"
    ),
}
"""Why open transactions cannot be seen, by the answer of the server."""


class PostgresSource(TableSource, LogSource):
    """A Postgres database, by psycopg2 connections."""

    def __init__(
        self, connect: Connect, chunk_bytes: int = CHUNK_BYTES, snapshot: SharedSnapshot | None = None
    ) -> None:
        super().__init__(PostgresDriver(snapshot), connect, chunk_bytes)

    @override
    def within(self, snapshot: SharedSnapshot) -> PostgresSource:
        return PostgresSource(self._connect, self._chunk_bytes, snapshot)

    @override
    async def type_keys(
        self, stream: Stream, target_columns: Sequence[Column], keys: pl.DataFrame
    ) -> tuple[pl.DataFrame, bool]:
        def convert() -> tuple[pl.DataFrame, bool]:
            with self._open_session(stream, target_columns) as session:
                by_path = {column.column.path: column for column in session.columns}
                columns = tuple(by_path[key] for key in stream.keys)
                query = typed_keys_query(session.connection, columns, keys.rows())
                chunks = list(session.decode_rows(columns, query))
                return pl.concat(chunk.frame for chunk in chunks), not any(chunk.rejected.height for chunk in chunks)

        with Worker(f"type-{stream.name}") as worker:
            return await worker.run(convert)


class PostgresDriver(TableDriver):
    """Postgres, by psycopg2. With ``snapshot`` every read sees that one, else each has a snapshot of its own."""

    random_expression = "random()"

    def __init__(self, snapshot: SharedSnapshot | None = None) -> None:
        self._snapshot = snapshot

    @override
    def translate_errors(self, place: str) -> AbstractContextManager[None]:
        return database_errors(place)

    @override
    def open_snapshot(self, connection: Any, connect: Connect, /) -> SourceMoment:
        _refuse_old(connection)
        if self._snapshot is not None:
            begin_reading(connection, "REPEATABLE READ", self._snapshot.name)
            return self._snapshot.moment
        with begin_transaction(connection, connect):
            begin_reading(connection, "READ COMMITTED")
        with connection.cursor() as cursor:
            clock = _read_row_clock(cursor)
            # The server then tells as well who chose the zone that this session was given.
            cursor.execute("SET LOCAL TimeZone TO DEFAULT")
            cursor.execute(statement("postgres_open_transactions"))
            read_at, oldest_start, oldest_writer_start, why_blind, replayed_until, zones = cursor.fetchone()
            if replayed_until is not None:
                replayed_until = _find_replayed_until(cursor, replayed_until)
        begin_reading(connection, "REPEATABLE READ")
        zones = zones_other_than_utc(zones)
        return SourceMoment(
            (clock or read_at).astimezone(UTC),
            oldest_start,
            oldest_writer_start,
            BLIND[why_blind],
            replayed_until,
            zones=zones,
        )

    @override
    def read_clock(self, connection: Any) -> datetime:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            moment: datetime = cursor.fetchone()[0]
        return moment.astimezone(UTC)

    @override
    def describe_columns(
        self, connection: Any, stream: Stream, target_columns: Sequence[Column]
    ) -> tuple[SourceColumn, ...]:
        return describe_table(connection, stream, target_columns)

    @override
    def has_replaced_files(self, connection: Any, stream: Stream, /) -> bool:
        relation = quote(stream.reference.schema, stream.reference.name)
        with connection.cursor() as cursor:
            cursor.execute(statement("postgres_replaced_files"), {"relation": relation})
            return bool(cursor.fetchone()[0])

    @override
    def find_tables(self, connection: Any, schema: str) -> list[FoundTable]:
        return find_tables(connection, schema)

    @override
    def quote(self, *identifiers: str) -> str:
        return quote(*identifiers)

    @override
    def select_list(self, _stream: Stream, columns: Sequence[SourceColumn]) -> str:
        return ", ".join(column.rendered for column in columns)

    @override
    def position_literal(self, column: SourceColumn, position: datetime) -> str:
        type_name = "timestamptz" if column.column.type.kind is Kind.TIMESTAMP_UTC else "timestamp"
        return f"{literal(position.isoformat())}::{type_name}"

    @override
    def key_condition(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        """Send the values as literals of the type of the column, so that its index is used.

        Values of the type of an extension are compared as text: citext finds ``abc`` for ``Abc``, which are two keys to
        the warehouse.
        """
        key_columns = ", ".join(f"{quote(column.column.path)}::{column.type_name}" for column in columns)
        return f"({key_columns}) IN (SELECT * FROM {_unnest(connection, columns, rows)})"

    @override
    def stream_csv(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:

        def copy(pipe: Any) -> None:
            with connection.cursor() as cursor:
                cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, ENCODING '{ENCODING}')", pipe)

        return read_in_thread(copy, lambda: None if connection.closed else connection.fileno(), chunk_bytes)


def typed_keys_query(connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
    """Return the query that renders keys, given as text, as a read of the table renders them."""
    names = ", ".join(quote(column.column.path) for column in columns)
    rendered = ", ".join(column.rendered for column in columns)
    return f"SELECT {rendered} FROM {_unnest(connection, columns, rows)} AS changed ({names})"


def _unnest(connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
    with connection.cursor() as cursor:
        values = [
            cursor.mogrify("%s", (list(of_column),)).decode() + f"::{column.type_name}[]"
            for of_column, column in zip(zip(*rows, strict=True), columns, strict=True)
        ]
    return f"unnest({', '.join(values)})"


def _refuse_old(connection: Any) -> None:
    if connection.server_version < OLDEST_SERVER:
        raise ConfigurationError(
            f"PostgreSQL {connection.server_version // 10_000} is too old",
            place="source",
            remedy="14 is the oldest whose extract(epoch) is exact to the microsecond",
        )


def _find_replayed_until(cursor: Any, replayed_until: datetime) -> datetime:
    """Return up to when a replica has the commits of its primary.

    An Aurora reader replays no log: its lag tells the time.
    """
    cursor.execute("SELECT to_regproc('pg_catalog.aurora_replica_status') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return replayed_until
    cursor.execute(statement("postgres_aurora_reader"))
    (found,) = cursor.fetchone()
    return replayed_until if found is None else found


def _read_row_clock(cursor: Any) -> datetime | None:
    """Return the time by the clock from which rows take their times; None: it is the clock of the server.

    A role or database names another clock in the setting ``millrace.clock``, as ``schema.function``.
    """
    cursor.execute("SELECT current_setting('millrace.clock', true)")
    (name,) = cursor.fetchone()
    if not name:
        return None
    cursor.execute(f"SELECT {quote(*name.split('.'))}()")
    moment: datetime = cursor.fetchone()[0]
    return moment
