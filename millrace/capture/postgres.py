"""Capture from Postgres: one streaming COPY of a selection, inside one snapshot, in bounded chunks.

The position of an incremental read is the start of the oldest transaction that was open when the read began, or
the read's own moment if none was: whatever becomes visible later was stamped at or after it. The rule and its
limits are in docs/decisions/0003-position.md. A reader thread fills a short queue with CSV cut at row ends, so
that the server sends while the caller decodes (postgres_copy.py).
What does not belong here: how a value is rendered and decoded (postgres_values.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.capture.chunk import Chunk, Keys, Read, Window
from millrace.capture.postgres_copy import CHUNK_BYTES, copied
from millrace.capture.postgres_values import SourceColumn, decode, describe, nothing
from millrace.database import database_errors, statement
from millrace.errors import ConfigurationError, SourceMissing
from millrace.naming import literal, quote
from millrace.pipeline import Stream
from millrace.types import Column, Kind
from millrace.worker import Worker

DEFAULT_OVERLAP = timedelta(seconds=1)
"""Covers the moment between a transaction's start and its appearance in pg_stat_activity."""
BLIND_OVERLAP = timedelta(minutes=15)
"""Where open transactions cannot be seen (no pg_read_all_stats, a replica, prepared transactions)."""
OLDEST_SERVER = 140_000
CURSOR_KINDS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})

Connect = Callable[[], Any]
"""Opens a psycopg2 connection of one's own."""


class PostgresSource:
    """A Postgres database; every read has a connection of its own. ``chunk_bytes`` bounds what is decoded at once."""

    def __init__(self, connect: Connect, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._connect, self._chunk_bytes = connect, chunk_bytes

    @asynccontextmanager
    async def read(
        self, stream: Stream, known: Sequence[Column], selection: Window | Keys
    ) -> AsyncIterator[PostgresReading]:
        """As ``Source.read``."""
        with Worker(f"read-{stream.name}") as worker:
            async with worker.within(_session(self._connect, stream, known)) as session:
                read = _fix(session, stream, selection)
                yield PostgresReading(read, session, stream, selection, worker, self._chunk_bytes)

    async def existing(self, stream: Stream, known: Sequence[Column], keys: Keys) -> set[tuple[Any, ...]]:
        """As ``Source.existing``."""

        def ask() -> set[tuple[Any, ...]]:
            with _session(self._connect, stream, known) as session:
                narrow = tuple(column for column in session.columns if column.column.name in keys.names)
                condition = session.condition(stream, keys)
                query = select(stream, narrow, condition)
                with closing(copied(session.connection, query, self._chunk_bytes)) as blocks:
                    frames = [decode(data, narrow, stream).frame for data in blocks]
                return {row for frame in frames for row in frame.select(keys.names).rows()}

        with Worker(f"ask-{stream.name}") as worker:
            return await worker.run(ask)

    async def plan(self, stream: Stream, known: Sequence[Column], window: Window, /) -> tuple[str, tuple[Column, ...]]:
        """As ``Source.plan``."""

        def describe_only() -> tuple[str, tuple[Column, ...]]:
            with _session(self._connect, stream, known) as session:
                query = select(stream, session.columns, session.condition(stream, window))
                return query, tuple(column.column for column in session.columns)

        with Worker(f"plan-{stream.name}") as worker:
            return await worker.run(describe_only)


@dataclass(frozen=True)
class PostgresReading:
    """A read inside one snapshot, on one connection."""

    read: Read
    _session: _Session
    _stream: Stream
    _selection: Window | Keys
    _worker: Worker
    _chunk_bytes: int

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The selected rows."""
        return self._worker.each(self._rows(self._session.condition(self._stream, self._selection)))

    async def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """Counted and drawn in the snapshot of the read."""

        def draw() -> tuple[int, list[Chunk]]:
            with self._session.connection.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM {_table(self._stream)}")
                count = int(cursor.fetchone()[0])
            share = min(1.0, rows / max(count, 1))
            return count, list(self._rows(f"random() < {share:.12f}"))

        return await self._worker.run(draw)

    def _rows(self, condition: str) -> Generator[Chunk, None, None]:
        columns = self._session.columns
        query = select(self._stream, columns, condition)
        with (
            database_errors(_place(self._stream)),
            closing(copied(self._session.connection, query, self._chunk_bytes)) as blocks,
        ):
            is_empty = True
            for data in blocks:
                is_empty = False
                yield decode(data, columns, self._stream)
            if is_empty:
                yield nothing(columns)


@dataclass(frozen=True)
class _Session:
    """A connection in its snapshot, what was known before it was taken, and the table's columns."""

    connection: Any
    read_at: datetime
    oldest_start: datetime | None
    is_reliable: bool
    columns: tuple[SourceColumn, ...]

    def condition(self, stream: Stream, selection: Window | Keys) -> str:
        """The WHERE of a selection; '' for everything."""
        if isinstance(selection, Keys):
            return _among(self.connection, self.columns, selection)
        return _within(stream, self.columns, selection)


@contextmanager
def _session(connect: Connect, stream: Stream, known: Sequence[Column]) -> Iterator[_Session]:
    place = _place(stream)
    with database_errors(place):
        connection = connect()
    try:
        with database_errors(place):
            _prepare(connection)
            with connection.cursor() as cursor:
                cursor.execute(statement("postgres_open_transactions"))
                read_at, oldest_start, is_reliable = cursor.fetchone()
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
            columns = describe(connection, stream, known)
            _check_declared(stream, columns)
            yield _Session(connection, read_at.astimezone(UTC), oldest_start, is_reliable, columns)
    finally:
        connection.close()


def _prepare(connection: Any) -> None:
    if connection.server_version < OLDEST_SERVER:
        raise ConfigurationError(
            f"PostgreSQL {connection.server_version // 10_000} is too old",
            place="source",
            remedy="14 is the oldest whose extract(epoch) is exact to the microsecond",
        )
    connection.autocommit = True
    connection.set_client_encoding("UTF8")
    with connection.cursor() as cursor:
        cursor.execute(
            "SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'UTC'; "
            "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET idle_in_transaction_session_timeout = 0"
        )


def _fix(session: _Session, stream: Stream, selection: Window | Keys) -> Read:
    if isinstance(selection, Keys) or selection.upper is not None:
        return Read(session.read_at, None, is_whole=True)
    overlap = stream.capture.overlap
    if session.is_reliable:
        bound = min(session.read_at, session.oldest_start or session.read_at).astimezone(UTC)
        position = (bound - (DEFAULT_OVERLAP if overlap is None else overlap)).isoformat()
        return Read(session.read_at, position, is_whole=True)
    note = (
        "open transactions cannot be seen (grant pg_read_all_stats; a replica or prepared transactions hide them "
        f"too): the next read overlaps this one by {overlap or BLIND_OVERLAP}"
    )
    position = (session.read_at - (overlap or BLIND_OVERLAP)).isoformat()
    return Read(session.read_at, position, is_whole=True, note=note)


def _check_declared(stream: Stream, columns: tuple[SourceColumn, ...]) -> None:
    by_path = {column.column.path: column.column for column in columns}
    stamp = stream.capture.stamp
    for path in (*stream.keys, *filter(None, [stamp])):
        if path not in by_path:
            raise SourceMissing(
                f"there is no column {path!r}", place=_place(stream), remedy=f"choose from {', '.join(by_path)}"
            )
    if stamp and (kind := by_path[stamp].type.kind) not in CURSOR_KINDS:
        raise ConfigurationError(
            f"cursor {stamp!r} is of type {kind}",
            place=_place(stream),
            remedy="use a timestamp that every insert and update sets",
        )


def select(stream: Stream, columns: Sequence[SourceColumn], condition: str) -> str:
    """The SELECT of a selection, every value in the form that ``decode`` reads."""
    rendered = ", ".join(column.rendered for column in columns)
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT {rendered} FROM {_table(stream)}{where}"


def _within(stream: Stream, columns: tuple[SourceColumn, ...], window: Window) -> str:
    if window.lower is None and window.upper is None:
        return ""
    name = quote(stream.capture.cursor)
    zone = next(column.column.type.kind for column in columns if column.column.path == stream.capture.cursor)
    cast = "timestamptz" if zone is Kind.TIMESTAMP_UTC else "timestamp"
    bounds = [
        f"{name} {operator} {literal(bound if cast == 'timestamptz' else bound.removesuffix('+00:00'))}::{cast}"
        for operator, bound in ((">=", window.lower), ("<", window.upper))
        if bound is not None
    ]
    bounded = " AND ".join(bounds)
    return bounded if window.upper is not None else f"{bounded} OR {name} IS NULL"


def _among(connection: Any, columns: tuple[SourceColumn, ...], keys: Keys) -> str:
    """The values are sent as literals that the source reads in the column's type, so that its index serves."""
    by_name = {column.column.name: column for column in columns}
    chosen = [by_name[name] for name in keys.names]
    with connection.cursor() as cursor:
        values = [
            cursor.mogrify("%s", (list(of_column),)).decode() + f"::{_compared_as(column)}[]"
            for of_column, column in zip(zip(*keys.rows, strict=True), chosen, strict=True)
        ]
    own = ", ".join(f"{quote(column.column.path)}::{_compared_as(column)}" for column in chosen)
    return f"({own}) IN (SELECT * FROM unnest({', '.join(values)}))"


def _compared_as(column: SourceColumn) -> str:
    """The column's own type, a cast to which costs nothing; but citext finds ``abc`` for ``Abc``, which are two keys
    to the warehouse."""
    return "text" if column.type_name.endswith("citext") else column.type_name


def _table(stream: Stream) -> str:
    return quote(stream.reference.schema, stream.reference.name)


def _place(stream: Stream) -> str:
    return f"stream {stream.name} ({stream.source})"
