"""A source of tables: one streaming SELECT of a selection, inside one snapshot, in bounded chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from typing_extensions import override

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.base.types import Column, Kind
from millrace.base.zones import earliest_wall_clock, latest_wall_clock, possible_zones
from millrace.declaration.stream import Stream
from millrace.drivers.worker import Worker
from millrace.sources.chunk import Chunk, Keys, ReadFacts, Selection, Source, Window
from millrace.sources.passes import seen_in
from millrace.sources.position import SnapshotBound, as_utc, join_notes, next_position, not_in_future
from millrace.sources.rows import SourceColumn, decode, empty_chunk

CURSOR_KINDS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})

Connect = Callable[[], Any]
"""Opens a new connection of the driver."""
WallClock = Callable[[datetime, Collection[tzinfo]], datetime]
"""Returns what clocks in some time zones show at a moment."""


class TableDriver(ABC):
    """What one kind of database with tables does in its own way; ``TableSource`` does the rest."""

    random_expression: str
    """SQL that is drawn from 0 to 1 for each row."""

    @abstractmethod
    def translate_errors(self, place: str) -> AbstractContextManager[None]:
        """Return a context in which the errors of the driver become those of Millrace, naming ``place``."""

    @abstractmethod
    def open_snapshot(self, connection: Any, connect: Connect) -> SnapshotBound:
        """Set how values are written, look at the clock and at open transactions, then take the snapshot that all
        queries on this connection see. ``connect`` opens another connection, by which a pooler shows itself."""

    @abstractmethod
    def describe_columns(
        self, connection: Any, stream: Stream, target_columns: Sequence[Column]
    ) -> tuple[SourceColumn, ...]:
        """Return the columns of the table, with the ``types`` of the stream applied and the names that the target
        gives them already."""

    @abstractmethod
    def quote(self, *identifiers: str) -> str:
        """Return the identifiers as SQL, with dots between them."""

    @abstractmethod
    def select_list(self, stream: Stream, columns: Sequence[SourceColumn]) -> str:
        """Return what stands between SELECT and FROM, so that ``stream_csv`` gives rows that ``rows.decode`` reads."""

    @abstractmethod
    def position_literal(self, column: SourceColumn, bound: datetime) -> str:
        """Return a bound as SQL that the cursor column is compared with. It is in UTC, or without zone where the column
        has none."""

    @abstractmethod
    def key_condition(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        """Return a condition that these columns are, byte for byte, one of the rows, and that the index of the columns
        serves."""

    @abstractmethod
    def stream_csv(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:
        """Give the rows of a query as CSV, in blocks of about ``chunk_bytes`` that end with a row. Raises the errors of
        the driver."""


class TableSource(Source):
    """A database with tables. Every read has a connection of its own."""

    def __init__(self, driver: TableDriver, connect: Connect, chunk_bytes: int) -> None:
        """``chunk_bytes`` bounds what is decoded at once."""
        self._driver, self._connect, self._chunk_bytes = driver, connect, chunk_bytes

    @asynccontextmanager
    @override
    async def read(
        self, stream: Stream, target_columns: Sequence[Column], selection: Selection
    ) -> AsyncIterator[TableReading]:
        with Worker(f"read-{stream.name}") as worker:
            async with worker.within(self._session(stream, target_columns)) as session:
                selection, note = not_in_future(selection, session.bound.read_at)
                yield TableReading(session.facts(selection, note), session, selection, worker)

    @override
    async def existing(self, stream: Stream, target_columns: Sequence[Column], keys: Keys) -> set[tuple[Any, ...]]:
        def ask() -> set[tuple[Any, ...]]:
            with self._session(stream, target_columns) as session:
                frames = session.frames(keys.names, session.condition(keys))
                return {row for frame in frames for row in frame.rows()}

        with Worker(f"ask-{stream.name}") as worker:
            return await worker.run(ask)

    @override
    async def seen(self, stream: Stream, target_columns: Sequence[Column], keys: Keys, /) -> list[set[int]]:
        def look() -> list[set[int]]:
            with self._session(stream, target_columns) as session:
                return seen_in(session.frames(keys.names, ""), keys)

        with Worker(f"keys-{stream.name}") as worker:
            return await worker.run(look)

    @override
    async def plan(
        self, stream: Stream, target_columns: Sequence[Column], window: Window, /
    ) -> tuple[str, tuple[Column, ...]]:
        def describe_only() -> tuple[str, tuple[Column, ...]]:
            with self._session(stream, target_columns) as session:
                query = session.select(session.columns, session.condition(window))
                return query, tuple(column.column for column in session.columns)

        with Worker(f"plan-{stream.name}") as worker:
            return await worker.run(describe_only)

    @contextmanager
    def _session(self, stream: Stream, target_columns: Sequence[Column]) -> Iterator[_Session]:
        driver, place = self._driver, place_of(stream)
        with driver.translate_errors(place):
            connection = self._connect()
        try:
            with driver.translate_errors(place):
                bound = driver.open_snapshot(connection, self._connect)
                columns = driver.describe_columns(connection, stream, target_columns)
                _check_declared(stream, columns)
                yield _Session(driver, connection, stream, bound, columns, self._chunk_bytes)
        finally:
            connection.close()


@dataclass(frozen=True)
class TableReading:
    """A read inside one snapshot, on one connection."""

    facts: ReadFacts
    _session: _Session
    _selection: Selection
    _worker: Worker

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The selected rows."""
        session = self._session
        return self._worker.each(session.rows(session.columns, session.condition(self._selection)))

    async def count(self) -> int:
        """Counted in the snapshot of the read."""
        return await self._worker.run(self._session.count)

    async def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """Counted and drawn in the snapshot of the read."""
        return await self._worker.run(lambda: self._session.sample(rows))


@dataclass(frozen=True)
class _Session:
    """A connection in its snapshot, what was known before the snapshot was taken, and the columns of the table."""

    driver: TableDriver
    connection: Any
    stream: Stream
    bound: SnapshotBound
    columns: tuple[SourceColumn, ...]
    chunk_bytes: int

    def facts(self, selection: Selection, note: str) -> ReadFacts:
        """What is known of a read before its first row; ``note`` is what an operator should know about its bounds."""
        lower, zones = (selection.lower, self.note_of_zones()) if isinstance(selection, Window) else (None, "")
        position, position_note = next_position(self.bound, self.stream, lower)
        return ReadFacts(
            self.bound.read_at,
            position,
            has_all_columns=True,
            note=join_notes(note, zones),
            position_note=position_note,
            zones=self.bound.zones,
        )

    @property
    def table(self) -> str:
        return self.driver.quote(self.stream.reference.schema, self.stream.reference.name)

    def condition(self, selection: Selection) -> str:
        """The WHERE of a selection; '' for everything."""
        if isinstance(selection, Window):
            return self._within(selection)
        by_name = {column.column.name: column for column in self.columns}
        chosen = [by_name[name] for name in selection.names]
        return self.driver.key_condition(self.connection, chosen, selection.rows)

    def select(self, columns: Sequence[SourceColumn], condition: str) -> str:
        """The SELECT of a selection, every value in the form that ``decode`` reads."""
        where = f" WHERE {condition}" if condition else ""
        return f"SELECT {self.driver.select_list(self.stream, columns)} FROM {self.table}{where}"

    def rows(self, columns: tuple[SourceColumn, ...], condition: str) -> Generator[Chunk, None, None]:
        """The selected rows; one empty chunk where there is none."""
        query = self.select(columns, condition)
        with (
            self.driver.translate_errors(place_of(self.stream)),
            closing(self.driver.stream_csv(self.connection, query, self.chunk_bytes)) as blocks,
        ):
            # A block is let go when it is decoded, before the chunk is used.
            chunks = map(partial(decode, columns=columns, stream=self.stream), blocks)
            yield next(chunks, None) or empty_chunk(columns)
            yield from chunks

    def frames(self, names: Sequence[str], condition: str) -> Generator[pl.DataFrame, None, None]:
        """Give the columns of these names of the selected rows."""
        narrow = tuple(column for column in self.columns if column.column.name in names)
        with closing(self.rows(narrow, condition)) as chunks:
            for chunk in chunks:
                yield chunk.frame.select(names)

    def count(self) -> int:
        """Count the rows of the table."""
        with self.driver.translate_errors(place_of(self.stream)), closing(self.connection.cursor()) as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.table}")
            return int(cursor.fetchone()[0])

    def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """Count the rows of the table, and read about ``rows`` of them, chosen by chance."""
        count = self.count()
        share = min(1.0, rows / max(count, 1))
        return count, list(self.rows(self.columns, f"{self.driver.random_expression} < {share:.12f}"))

    def note_of_zones(self) -> str:
        """That nobody said in which zone the stamps are, if it makes a difference; '' otherwise."""
        if self.stream.stamps_in or not self.bound.zones or not self._has_naive_cursor:
            return ""
        return (
            f"stamps of {self.stream.capture.cursor_column} have no time zone and the server gives sessions "
            f"{', '.join(self.bound.zones)}: they are read as if in that zone and as if in UTC; "
            "declare stamps_in with the zone in which they are written"
        )

    def _within(self, window: Window) -> str:
        if window.lower is None and window.upper is None:
            return ""
        name = self.driver.quote(self._cursor.column.path)
        bounds = [
            f"{name} {operator} {self.driver.position_literal(self._cursor, self._shown(as_utc(bound), by_clock))}"
            for operator, bound, by_clock in (
                (">=", window.lower, earliest_wall_clock),
                ("<", window.upper, latest_wall_clock),
            )
            if bound is not None
        ]
        bounded = " AND ".join(bounds)
        return bounded if window.upper is not None else f"{bounded} OR {name} IS NULL"

    def _shown(self, bound: datetime, by_clock: WallClock) -> datetime:
        """A bound as the cursor's stamps show it: of those without zone the wall clock of wherever they are written."""
        if not self._has_naive_cursor:
            return bound
        declared = self.stream.stamps_in
        return by_clock(bound, [ZoneInfo(declared)] if declared else [UTC, *possible_zones(self.bound.zones)])

    @property
    def _cursor(self) -> SourceColumn:
        return next(column for column in self.columns if column.column.path == self.stream.capture.cursor_column)

    @property
    def _has_naive_cursor(self) -> bool:
        return bool(self.stream.capture.cursor_column) and self._cursor.column.type.kind is Kind.TIMESTAMP


def place_of(stream: Stream) -> str:
    """Return the place that errors of a stream name."""
    return f"stream {stream.name} ({stream.source})"


def _check_declared(stream: Stream, columns: tuple[SourceColumn, ...]) -> None:
    by_path = {column.column.path: column.column for column in columns}
    stamp = stream.capture.stamp
    for path in (*stream.keys, *filter(None, [stamp])):
        if path not in by_path:
            raise SourceMissing(
                f"there is no column {path!r}", place=place_of(stream), remedy=f"choose from {', '.join(by_path)}"
            )
    if stamp and (kind := by_path[stamp].type.kind) not in CURSOR_KINDS:
        raise ConfigurationError(
            f"cursor {stamp!r} is of type {kind}",
            place=place_of(stream),
            remedy="use a timestamp that every insert and update sets",
        )
    names = [column.column.name for column in columns]
    contract = stream.contract.column_names() if stream.contract else []
    _refuse_unknown(stream, "types", "column", stream.types, by_path)
    _refuse_unknown(stream, "rewritten", "column of the target", stream.rewritten, names)
    _refuse_unknown(stream, "sorted_by", "column of the target", filter(None, [stream.sorted_by]), names)
    _refuse_unknown(stream, "contract", "column of the target", contract, names)


def _refuse_unknown(stream: Stream, where: str, what: str, named: Iterable[str], known: Collection[str]) -> None:
    for name in named:
        if name not in known:
            raise SourceMissing(
                f"{where} names {name!r}, and there is no such {what}",
                place=place_of(stream),
                remedy=f"choose from {', '.join(known)}",
            )
