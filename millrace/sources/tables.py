"""Capture from tables: one streaming SELECT of a selection, inside one snapshot, in bounded chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import polars as pl

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.base.types import Column, Kind
from millrace.base.zones import earliest_wall_clock, latest_wall_clock, possible_zones
from millrace.declaration.stream import Stream
from millrace.drivers.worker import Worker
from millrace.sources.chunk import Chunk, Keys, Read, Selection, Source, Window
from millrace.sources.passes import seen_in
from millrace.sources.position import Moment, as_utc, joined, next_position, not_in_future
from millrace.sources.rows import SourceColumn, decode, nothing

CURSOR_KINDS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})

Connect = Callable[[], Any]
"""Opens a connection of the driver's, one's own."""
WallClock = Callable[[datetime, Collection[tzinfo]], datetime]
"""What clocks in zones show about an instant."""


class Dialect(Protocol):
    """What one kind of database does in its own way."""

    random: str
    """An expression that is drawn from 0 to 1 for each row."""

    def errors(self, place: str) -> AbstractContextManager[None]:
        """Within it, the driver's errors become the engine's, naming ``place``."""
        ...

    def begin(self, connection: Any, connect: Connect) -> Moment:
        """Settle how values are written, look at open transactions, then take the snapshot of all that follows.
        ``connect`` opens another connection, by which a pooler in between shows itself."""
        ...

    def describe(self, connection: Any, stream: Stream, known: Sequence[Column]) -> tuple[SourceColumn, ...]:
        """The table's columns with the stream's ``types`` applied; ``known`` are the target's."""
        ...

    def quote(self, *identifiers: str) -> str:
        """The identifiers as SQL."""
        ...

    def line(self, stream: Stream, columns: Sequence[SourceColumn]) -> str:
        """What is selected of each row."""
        ...

    def moment(self, column: SourceColumn, bound: datetime) -> str:
        """A bound (in UTC; without zone where the column has none) as what the column is compared with."""
        ...

    def among(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        """A condition that these columns are, byte for byte, one of the rows; one that the columns' index serves."""
        ...

    def sent(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:
        """The rows of a query as CSV, in blocks of about ``chunk_bytes``; raises what the driver raises."""
        ...


class TableSource(Source):
    """A database; every read has a connection of its own. ``chunk_bytes`` bounds what is decoded at once."""

    def __init__(self, dialect: Dialect, connect: Connect, chunk_bytes: int) -> None:
        self._dialect, self._connect, self._chunk_bytes = dialect, connect, chunk_bytes

    @asynccontextmanager
    async def read(self, stream: Stream, known: Sequence[Column], selection: Selection) -> AsyncIterator[TableReading]:
        """As ``Source.read``."""
        with Worker(f"read-{stream.name}") as worker:
            async with worker.within(self._session(stream, known)) as session:
                selection, note = not_in_future(selection, session.moment.read_at)
                yield TableReading(session.facts(selection, note), session, selection, worker)

    async def existing(self, stream: Stream, known: Sequence[Column], keys: Keys) -> set[tuple[Any, ...]]:
        """As ``Source.existing``."""

        def ask() -> set[tuple[Any, ...]]:
            with self._session(stream, known) as session:
                frames = session.frames(keys.names, session.condition(keys))
                return {row for frame in frames for row in frame.rows()}

        with Worker(f"ask-{stream.name}") as worker:
            return await worker.run(ask)

    async def seen(self, stream: Stream, known: Sequence[Column], keys: Keys, /) -> list[set[int]]:
        """As ``Source.seen``."""

        def look() -> list[set[int]]:
            with self._session(stream, known) as session:
                return seen_in(session.frames(keys.names, ""), keys)

        with Worker(f"keys-{stream.name}") as worker:
            return await worker.run(look)

    async def plan(self, stream: Stream, known: Sequence[Column], window: Window, /) -> tuple[str, tuple[Column, ...]]:
        """As ``Source.plan``."""

        def describe_only() -> tuple[str, tuple[Column, ...]]:
            with self._session(stream, known) as session:
                query = session.select(session.columns, session.condition(window))
                return query, tuple(column.column for column in session.columns)

        with Worker(f"plan-{stream.name}") as worker:
            return await worker.run(describe_only)

    @contextmanager
    def _session(self, stream: Stream, known: Sequence[Column]) -> Iterator[_Session]:
        dialect, place = self._dialect, place_of(stream)
        with dialect.errors(place):
            connection = self._connect()
        try:
            with dialect.errors(place):
                moment = dialect.begin(connection, self._connect)
                columns = dialect.describe(connection, stream, known)
                _check_declared(stream, columns)
                yield _Session(dialect, connection, stream, moment, columns, self._chunk_bytes)
        finally:
            connection.close()


@dataclass(frozen=True)
class TableReading:
    """A read inside one snapshot, on one connection."""

    read: Read
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
    """A connection in its snapshot, what was known before it was taken, and the table's columns."""

    dialect: Dialect
    connection: Any
    stream: Stream
    moment: Moment
    columns: tuple[SourceColumn, ...]
    chunk_bytes: int

    def facts(self, selection: Selection, note: str) -> Read:
        """What is known of a read before its first row; ``note`` is what an operator should know about its bounds."""
        lower, zones = (selection.lower, self.note_of_zones()) if isinstance(selection, Window) else (None, "")
        position, position_note = next_position(self.moment, self.stream, lower)
        return Read(
            self.moment.read_at,
            position,
            is_whole=True,
            note=joined(note, zones),
            position_note=position_note,
            zones=self.moment.zones,
        )

    @property
    def table(self) -> str:
        return self.dialect.quote(self.stream.reference.schema, self.stream.reference.name)

    def condition(self, selection: Selection) -> str:
        """The WHERE of a selection; '' for everything."""
        if isinstance(selection, Window):
            return self._within(selection)
        by_name = {column.column.name: column for column in self.columns}
        chosen = [by_name[name] for name in selection.names]
        return self.dialect.among(self.connection, chosen, selection.rows)

    def select(self, columns: Sequence[SourceColumn], condition: str) -> str:
        """The SELECT of a selection, every value in the form that ``decode`` reads."""
        where = f" WHERE {condition}" if condition else ""
        return f"SELECT {self.dialect.line(self.stream, columns)} FROM {self.table}{where}"

    def rows(self, columns: tuple[SourceColumn, ...], condition: str) -> Generator[Chunk, None, None]:
        """The selected rows; one empty chunk where there is none."""
        query = self.select(columns, condition)
        with (
            self.dialect.errors(place_of(self.stream)),
            closing(self.dialect.sent(self.connection, query, self.chunk_bytes)) as blocks,
        ):
            # A block is let go when it is decoded, before the chunk is used.
            chunks = map(partial(decode, columns=columns, stream=self.stream), blocks)
            yield next(chunks, None) or nothing(columns)
            yield from chunks

    def frames(self, names: Sequence[str], condition: str) -> Generator[pl.DataFrame, None, None]:
        """Of the selected rows only the columns of these names."""
        narrow = tuple(column for column in self.columns if column.column.name in names)
        with closing(self.rows(narrow, condition)) as chunks:
            for chunk in chunks:
                yield chunk.frame.select(names)

    def count(self) -> int:
        """How many rows there are."""
        with self.dialect.errors(place_of(self.stream)), self.connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.table}")
            return int(cursor.fetchone()[0])

    def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """How many rows there are, and about ``rows`` of them."""
        count = self.count()
        share = min(1.0, rows / max(count, 1))
        return count, list(self.rows(self.columns, f"{self.dialect.random} < {share:.12f}"))

    def note_of_zones(self) -> str:
        """That nobody said in which zone the stamps are, if it makes a difference; '' otherwise."""
        if self.stream.stamps_in or not self.moment.zones or not self._has_naive_cursor:
            return ""
        return (
            f"stamps of {self.stream.capture.cursor_column} have no time zone and the server gives sessions "
            f"{', '.join(self.moment.zones)}: they are read as if in that zone and as if in UTC; "
            "declare stamps_in with the zone in which they are written"
        )

    def _within(self, window: Window) -> str:
        if window.lower is None and window.upper is None:
            return ""
        name = self.dialect.quote(self._cursor.column.path)
        bounds = [
            f"{name} {operator} {self.dialect.moment(self._cursor, self._shown(as_utc(bound), by_clock))}"
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
        return by_clock(bound, [ZoneInfo(declared)] if declared else [UTC, *possible_zones(self.moment.zones)])

    @property
    def _cursor(self) -> SourceColumn:
        return next(column for column in self.columns if column.column.path == self.stream.capture.cursor_column)

    @property
    def _has_naive_cursor(self) -> bool:
        return bool(self.stream.capture.cursor_column) and self._cursor.column.type.kind is Kind.TIMESTAMP


def place_of(stream: Stream) -> str:
    """Where an error is."""
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
