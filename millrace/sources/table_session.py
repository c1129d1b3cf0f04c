"""Read a table through a connection in its snapshot: the SQL of selections, and the rows that it gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from millrace.base.errors import RetryableError, SourceMissing
from millrace.base.types import Kind
from millrace.base.zones import earliest_wall_clock, latest_wall_clock, possible_zones
from millrace.declaration.stream import Stream
from millrace.sources.chunk import Chunk, ReadFacts, Selection, Window
from millrace.sources.cursor_columns import (
    check_cursor,
    date_bound,
    fit_window,
    is_number,
    number_of,
    overlap_of,
)
from millrace.sources.number_position import HighestNumber, next_number_position, note_restarted_numbers
from millrace.sources.position import SourceMoment, as_utc, join_notes, next_position, not_in_future
from millrace.sources.rows import SourceColumn, decode, empty_chunk
from millrace.sources.table_driver import TableDriver

WallClock = Callable[[datetime, Collection[tzinfo]], datetime]
"""Returns the times that the clocks of some time zones show at a moment, as one time."""


@dataclass(frozen=True)
class TableSession:
    """A connection in its snapshot, what the server told before it, and the columns of the table."""

    driver: TableDriver
    connection: Any
    stream: Stream
    moment: SourceMoment
    columns: tuple[SourceColumn, ...]
    chunk_bytes: int
    highest: HighestNumber | None = None
    """The greatest value of a cursor column of numbers, as an earlier snapshot showed it; None: nobody asked."""

    def facts(self, selection: Selection, note: str) -> ReadFacts:
        """Return what is fixed of a read before its first row.

        ``note`` is what an operator should know about the window.
        """
        lower, zones = (selection.lower, self.note_of_zones()) if isinstance(selection, Window) else (None, "")
        position, position_note = self._next_position(lower)
        return ReadFacts(
            self.moment.read_at,
            position,
            has_all_columns=True,
            note=join_notes(note, zones),
            position_note=position_note,
            zones=self.moment.zones,
        )

    def _next_position(self, lower: str | None) -> tuple[str | None, str]:
        if not self.has_number_cursor:
            overlap = overlap_of(self.stream, self._cursor) if self.stream.capture.cursor_column else None
            return next_position(self.moment, overlap, lower)
        return next_number_position(self.moment, self.highest, self.stream, lower)

    def fit(self, selection: Selection) -> tuple[Selection, str]:
        """Return the selection that is read, and a note: everything where the window begins at an unusable position.

        Raises ConfigurationError for a span of time that a person chose and the cursor column does not tell.
        """
        if isinstance(selection, Window) and self.stream.capture.cursor_column:
            fitted, note = fit_window(self.stream, self._cursor, selection)
            if note or self.has_number_cursor:
                return fitted, join_notes(note, note_restarted_numbers(self.stream, self.highest, fitted.lower))
        return not_in_future(selection, self.moment.read_at)

    @property
    def has_number_cursor(self) -> bool:
        """Whether the cursor column holds whole numbers."""
        return bool(self.stream.capture.cursor_column) and is_number(self._cursor)

    def find_highest(self) -> HighestNumber:
        """Return the greatest value of the cursor column in this snapshot, and a time after it; end the snapshot."""
        query = f"SELECT max({self.driver.quote(self._cursor.column.path)}) FROM {self.table}"
        with self.driver.translate_errors(self.stream.place), closing(self.connection.cursor()) as cursor:
            cursor.execute(query)
            value = cursor.fetchone()[0]
            seen_at = self.driver.read_clock(self.connection)
            self.connection.rollback()
        return HighestNumber(None if value is None else int(value), seen_at)

    def with_highest(self, highest: HighestNumber) -> TableSession:
        """Return this session with the greatest value of the cursor column."""
        return replace(self, highest=highest)

    @property
    def table(self) -> str:
        """The name of the table as SQL."""
        return self.driver.quote(self.stream.reference.schema, self.stream.reference.name)

    def condition(self, selection: Selection) -> str:
        """Return the WHERE clause of a selection; '' for everything."""
        if isinstance(selection, Window):
            return self._within(selection)
        by_name = {column.column.name: column for column in self.columns}
        chosen = [by_name[name] for name in selection.names]
        return self.driver.key_condition(self.connection, chosen, selection.rows)

    def select(self, columns: Sequence[SourceColumn], condition: str) -> str:
        """Return the SELECT of a selection, with every value in the form that ``decode`` reads."""
        return f"SELECT {self.driver.select_list(self.stream, columns)} FROM {self.table}{self._where(condition)}"

    def _where(self, condition: str = "") -> str:
        """Return the WHERE clause of a condition and of the rows that the stream declares; '' for all rows."""
        # A declared condition may end in a comment.
        conditions = [f"({part}\n)" for part in (self.stream.where, condition) if part]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def read_rows(self, columns: tuple[SourceColumn, ...], condition: str) -> Generator[Chunk, None, None]:
        """Yield the selected rows as chunks; one empty chunk if no row is selected.

        Raises RetryableError when the table was truncated or rewritten meanwhile: its rows are not in the snapshot any
        more, and would be taken for deleted.
        """
        yield from self.decode_rows(columns, self.select(columns, condition))
        with self.driver.translate_errors(self.stream.place):
            is_replaced = self.driver.has_replaced_files(self.connection, self.stream)
        if is_replaced:
            raise RetryableError(
                "the table was truncated or rewritten, or a partition left it, while it was read",
                place=self.stream.place,
                remedy="nothing was committed; run again",
            )

    def decode_rows(self, columns: tuple[SourceColumn, ...], query: str) -> Generator[Chunk, None, None]:
        """Yield the rows of a query, which renders these columns, as chunks; one empty chunk if it has no rows."""
        with (
            self.driver.translate_errors(self.stream.place),
            closing(self.driver.stream_csv(self.connection, query, self.chunk_bytes)) as blocks,
        ):
            # A block is let go when it is decoded, before the chunk is used.
            chunks = map(partial(decode, columns=columns, stream=self.stream), blocks)
            yield next(chunks, None) or empty_chunk(columns)
            yield from chunks

    def read_frames(self, names: Sequence[str], condition: str) -> Generator[pl.DataFrame, None, None]:
        """Yield the selected rows as frames of the columns with these names."""
        narrow = tuple(column for column in self.columns if column.column.name in names)
        with closing(self.read_rows(narrow, condition)) as chunks:
            for chunk in chunks:
                yield chunk.frame.select(names)

    def count(self) -> int:
        """Count the rows of the table that the stream replicates."""
        with self.driver.translate_errors(self.stream.place), closing(self.connection.cursor()) as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.table}{self._where()}")
            return int(cursor.fetchone()[0])

    def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """Count the rows of the table, and read about ``rows`` of them, chosen by chance."""
        count = self.count()
        share = min(1.0, rows / max(count, 1))
        return count, list(self.read_rows(self.columns, f"{self.driver.random_expression} < {share:.12f}"))

    def note_of_zones(self) -> str:
        """Return a note if nobody declared the zone of the cursor column and it makes a difference; '' otherwise."""
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
        name = self.driver.quote(self._cursor.column.path)
        conditions = [
            f"{name} {operator} {self._bound(position, by_clock)}"
            for operator, position, by_clock in (
                (">=", window.lower, earliest_wall_clock),
                ("<", window.upper, latest_wall_clock),
            )
            if position is not None
        ]
        bounded = " AND ".join(conditions)
        return bounded if window.upper is not None else f"{bounded} OR {name} IS NULL"

    def _bound(self, position: str, by_clock: WallClock) -> str:
        """Return a position as SQL that the cursor column is compared with."""
        if self.has_number_cursor:
            return str(number_of(position, self.stream))
        shown = self._show(as_utc(position), by_clock)
        if self._cursor.column.type.kind is Kind.DATE:
            return date_bound(shown, is_upper=by_clock is latest_wall_clock)
        return self.driver.position_literal(self._cursor, shown)

    def _show(self, position: datetime, by_clock: WallClock) -> datetime:
        """Return a moment as the cursor column shows it.

        A column without a zone shows the wall clock of the place where its values are written.
        """
        if not self._has_naive_cursor:
            return position
        declared = self.stream.stamps_in
        return by_clock(position, [ZoneInfo(declared)] if declared else [UTC, *possible_zones(self.moment.zones)])

    @property
    def _cursor(self) -> SourceColumn:
        return next(column for column in self.columns if column.column.path == self.stream.capture.cursor_column)

    @property
    def _has_naive_cursor(self) -> bool:
        kinds = {Kind.TIMESTAMP, Kind.DATE}
        return bool(self.stream.capture.cursor_column) and self._cursor.column.type.kind in kinds


def check_declared(stream: Stream, columns: tuple[SourceColumn, ...]) -> None:
    """Raise SourceMissing when the stream declares a column that the table does not have.

    Raises ConfigurationError for a column that says when a row was changed and is of a type that cannot.
    """
    by_path = {column.column.path: column for column in columns}
    time_column = stream.capture.stamp
    for path in (*stream.keys, *filter(None, [time_column])):
        if path not in by_path:
            raise SourceMissing(
                f"there is no column {path!r}", place=stream.place, remedy=f"choose from {', '.join(by_path)}"
            )
    if time_column:
        check_cursor(stream, by_path[time_column])
    names = [column.column.name for column in columns]
    contract = stream.contract.column_names() if stream.contract else []
    _refuse_unknown(stream, "types", "column", stream.types, by_path)
    _refuse_unknown(stream, "mask", "column", stream.mask, by_path)
    _refuse_unknown(stream, "rewritten", "column of the target", stream.rewritten, names)
    for option, name in (("sorted_by", stream.sorted_by), ("distributed_by", stream.distributed_by)):
        _refuse_unknown(stream, option, "column of the target", filter(None, [name]), names)
    _refuse_unknown(stream, "contract", "column of the target", contract, names)


def _refuse_unknown(stream: Stream, where: str, what: str, named: Iterable[str], allowed: Collection[str]) -> None:
    for name in named:
        if name not in allowed:
            raise SourceMissing(
                f"{where} names {name!r}, and there is no such {what}",
                place=stream.place,
                remedy=f"choose from {', '.join(allowed)}",
            )
