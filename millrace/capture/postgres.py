"""Capture from Postgres: one streaming COPY of a window, inside one snapshot, in bounded chunks.

The position of an incremental read is the start of the oldest transaction that was open when the read began, or
the read's own moment if none was: whatever becomes visible later was stamped at or after it. The rule and its
limits are in docs/decisions/0003-position.md. A reader thread fills a short queue with CSV cut at row ends, so
that the server sends while the caller decodes.
What does not belong here: how a value is rendered and decoded (postgres_values.py).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.capture.chunk import Chunk, Read
from millrace.capture.postgres_values import SourceColumn, decode, describe
from millrace.database import database_errors, statement
from millrace.errors import ConfigurationError, SourceMissing
from millrace.naming import literal, quote
from millrace.pipeline import Stream
from millrace.types import Column, Kind

CHUNK_BYTES = 8 * 1024 * 1024
QUEUE_CHUNKS = 2
DEFAULT_OVERLAP = timedelta(seconds=1)
"""Covers the moment between a transaction's start and its appearance in pg_stat_activity."""
BLIND_OVERLAP = timedelta(minutes=15)
"""Where open transactions cannot be seen (no pg_read_all_stats, a replica, prepared transactions)."""
OLDEST_SERVER = 140_000
CURSOR_KINDS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})

Connect = Callable[[], Any]
"""Opens a psycopg2 connection of one's own."""


@dataclass(frozen=True)
class Opened:
    """A read that has begun: what is fixed, the columns, and the chunks, which are read as they are asked for."""

    read: Read
    columns: tuple[SourceColumn, ...]
    chunks: Iterator[Chunk]


@contextmanager
def read(
    connect: Connect,
    stream: Stream,
    *,
    lower: str | None,
    upper: str | None = None,
    known: Sequence[Column] = (),
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Opened]:
    """Open a read of ``stream`` from ``lower`` (a position) on: what is fixed, the columns, the chunks.

    ``upper`` bounds a backfill; such a read has no position. ``known`` are the target's columns, which keep their
    names. Raises ConfigurationError, SourceMissing, UnmappableType, Unreachable, each naming the stream.
    """
    place = f"stream {stream.name} ({stream.source})"
    with database_errors(place):
        connection = connect()
    try:
        with database_errors(place):
            _session(connection)
            fixed = _fix(connection, stream, lower, upper)
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
            columns = describe(connection, stream, known)
            _check_declared(stream, columns)
        copy = f"COPY ({select(stream, columns, lower, upper)}) TO STDOUT (FORMAT csv)"
        yield Opened(fixed, columns, _chunks(connection, copy, stream, columns, chunk_bytes))
    finally:
        connection.close()


def select(stream: Stream, columns: tuple[SourceColumn, ...], lower: str | None, upper: str | None) -> str:
    """The SELECT of one window, every value in the form that ``decode`` reads."""
    source = stream.reference
    rendered = ", ".join(column.rendered for column in columns)
    return f"SELECT {rendered} FROM {quote(source.schema, source.name)}{_where(stream, columns, lower, upper)}"


def _where(stream: Stream, columns: tuple[SourceColumn, ...], lower: str | None, upper: str | None) -> str:
    if lower is None and upper is None:
        return ""
    name = quote(stream.capture.cursor)
    zone = next(column.column.type.kind for column in columns if column.column.path == stream.capture.cursor)
    cast = "timestamptz" if zone is Kind.TIMESTAMP_UTC else "timestamp"
    bounds = [
        f"{name} {operator} {literal(bound if cast == 'timestamptz' else bound.removesuffix('+00:00'))}::{cast}"
        for operator, bound in ((">=", lower), ("<", upper))
        if bound is not None
    ]
    window = " AND ".join(bounds)
    return f" WHERE {window}" if upper is not None else f" WHERE {window} OR {name} IS NULL"


def _session(connection: Any) -> None:
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


def _fix(connection: Any, stream: Stream, lower: str | None, upper: str | None) -> Read:
    with connection.cursor() as cursor:
        cursor.execute(statement("postgres_open_transactions"))
        read_at, oldest, reliable = cursor.fetchone()
    read_at = read_at.astimezone(UTC)
    if upper is not None:
        return Read(read_at, lower, None)
    overlap = stream.capture.overlap
    if reliable:
        bound: datetime = min(read_at, oldest or read_at).astimezone(UTC)
        return Read(read_at, lower, (bound - (DEFAULT_OVERLAP if overlap is None else overlap)).isoformat())
    note = (
        "open transactions cannot be seen (grant pg_read_all_stats; a replica or prepared transactions hide them "
        f"too): the next read overlaps this one by {overlap or BLIND_OVERLAP}"
    )
    return Read(read_at, lower, (read_at - (overlap or BLIND_OVERLAP)).isoformat(), note=note)


def _check_declared(stream: Stream, columns: tuple[SourceColumn, ...]) -> None:
    by_path = {column.column.path: column.column for column in columns}
    place = f"stream {stream.name} ({stream.source})"
    for path in (*stream.keys, stream.capture.cursor):
        if path not in by_path:
            raise SourceMissing(f"there is no column {path!r}", place=place, remedy=f"choose from {', '.join(by_path)}")
    kind = by_path[stream.capture.cursor].type.kind
    if kind not in CURSOR_KINDS:
        raise ConfigurationError(
            f"cursor {stream.capture.cursor!r} is of type {kind}",
            place=place,
            remedy="use a timestamp that every insert and update sets",
        )


def _chunks(
    connection: Any, copy: str, stream: Stream, columns: tuple[SourceColumn, ...], chunk_bytes: int
) -> Iterator[Chunk]:
    place = f"stream {stream.name} ({stream.source})"
    pipe = _Pipe(chunk_bytes)
    reader = threading.Thread(target=pipe.fill, args=(connection, copy), name=f"copy-{stream.name}", daemon=True)
    reader.start()
    try:
        with database_errors(place):
            for data in pipe:
                yield decode(data, columns, stream)
    finally:
        pipe.abandon(connection)
        reader.join()


class _Pipe:
    """The file that COPY writes into and the iterator of chunks that comes out of it."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(QUEUE_CHUNKS)
        self._rows: list[bytes] = []
        self._size_bytes = 0
        self._abandoned = False

    def write(self, row: bytes) -> int:
        """Called by psycopg2, once per row."""
        self._rows.append(row)
        self._size_bytes += len(row)
        if self._size_bytes >= self._chunk_bytes:
            self._flush()
        return len(row)

    def fill(self, connection: Any, copy: str) -> None:
        """Run the COPY; its failure travels through the queue to the caller's thread."""
        try:
            with connection.cursor() as cursor:
                cursor.copy_expert(copy, self)
            self._flush()
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def abandon(self, connection: Any) -> None:
        """Stop a COPY whose caller has gone; harmless when it has ended."""
        self._abandoned = True
        if not connection.closed:
            connection.cancel()
        while not self._queue.empty():
            self._queue.get_nowait()

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _flush(self) -> None:
        if self._rows and not self._abandoned:
            self._queue.put(b"".join(self._rows))
        self._rows, self._size_bytes = [], 0
