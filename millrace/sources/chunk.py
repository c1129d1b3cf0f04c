"""What every source is asked for and gives: it takes a selection of rows and gives typed chunks.

A kind of source is one class that inherits from ``Source``; all that the engine does with sources is written on top of
its methods (docs/extending.md, docs/decisions/0007-sweep-lease-replay.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeAlias

import orjson
import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name
from millrace.base.rejects import no_rejects
from millrace.base.types import Column
from millrace.declaration.stream import Stream
from millrace.lake.batch import LogProgress
from millrace.sources.found import FoundTable

CANNOT_LIST, DECLARE_BY_HAND = "this kind of source cannot list its tables", "declare streams by hand"
BLOCK_ROWS, BLOCK_BYTES = 20_000, 2 * 1024 * 1024
"""The most keys, and bytes of text in them, that are asked for at once; MongoDB takes a query of 16 MB."""


@dataclass(frozen=True)
class Window:
    """Rows whose cursor value is at or after ``lower`` and before ``upper``.

    A window without ``upper`` also holds the rows that have no cursor value. ``Window()`` selects everything.
    """

    lower: str | None = None
    """The position at which the window begins; None: it has no beginning."""
    upper: str | None = None
    """The position before which the window ends; None: it has no end."""
    is_chosen: bool = False
    """Whether a person chose the bounds."""

    @property
    def advances(self) -> bool:
        """Whether the position of the stream advances when a batch of this window is applied.

        It does not where rows may lie before the window, because a person chose its bounds, or after its end.
        """
        return self.upper is None and not self.is_chosen


@dataclass(frozen=True)
class Keys:
    """Rows that have one of these keys."""

    names: tuple[str, ...]
    """The columns that the keys are made of: those of the key of the stream, or the row location."""
    rows: Sequence[tuple[Any, ...]]
    """The values of each key in these columns, as the driver of a warehouse gives them, or as text."""
    advances: ClassVar[bool] = False
    """The position of the stream never advances when rows were read by key: other rows were not read."""


Selection: TypeAlias = Window | Keys
"""Which rows a read asks for."""


def batches_of_keys(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the keys in batches that a source takes in one query."""
    block: list[tuple[Any, ...]] = []
    size_bytes = 0
    for row in rows:
        block.append(row)
        size_bytes += sum(len(value) for value in row if isinstance(value, str))
        if len(block) == BLOCK_ROWS or size_bytes >= BLOCK_BYTES:
            yield block
            block, size_bytes = [], 0
    if block:
        yield block


@dataclass(frozen=True)
class ReadFacts:
    """What is fixed of a read before its first row comes."""

    read_at: datetime
    """The moment of the read by the clock of the source."""
    next_position: str | None
    """Where a window begins that goes on after this read.

    None: no window was read before, and there is nothing to go on after. A source always tells it; the selection tells
    whether the position of the stream advances.
    """
    row_id_column: str = ""
    """The column that identifies a physical row; '': the source has snapshots, and every repeated key is an error.

    A source without snapshots may give a row twice: rows of one key with one id are a repeat, rows of one key with
    different ids are an error.
    """
    location_columns: tuple[str, ...] = ()
    """The columns that make up the row location; (): those of the key."""
    has_all_columns: bool = False
    """Whether the columns of the chunks are all columns that the source has."""
    note: str = ""
    """What an operator should know about the read."""
    position_note: str = ""
    """What an operator should know about the next position."""
    collected: tuple[str, ...] = ()
    """The objects of the lake that are read, where the source is a queue whose messages were collected."""
    log: LogProgress | None = None
    """How far the read brings the stream in the change log of the source; None: it is not read by one."""
    zones: tuple[str, ...] = ()
    """The time zones other than UTC that the server gives to sessions: timestamps that name no zone may be in them."""


@dataclass(frozen=True)
class Chunk:
    """A bounded number of rows.

    ``frame`` holds the rows that were accepted until now, with columns named and typed by ``columns``; ``rejected``
    those that could not even be decoded (REJECT_SCHEMA). ``omitted`` are the paths that the stream omits and that the
    rows had.
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    rejected: pl.DataFrame = field(default_factory=no_rejects)
    omitted: frozenset[str] = frozenset()


class Reading(Protocol):
    """A read that has begun."""

    @property
    def facts(self) -> ReadFacts:
        """What is fixed of the read."""
        ...

    def read_chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the rows, which are read as they are asked for. It is called once."""
        ...

    async def count(self) -> int | None:
        """Count all rows that the source holds as this read sees it, whatever it selects.

        It is called after the chunks were read. None: the source cannot tell.
        """
        ...

    async def sample(self, rows: int, /) -> tuple[int, list[Chunk]]:
        """Count all rows that the source holds as this read sees it, and read about ``rows`` of them, chosen by chance.

        It is called after the chunks were read.
        """
        ...


class Source(ABC):
    """A database that rows are read from.

    Its errors name the stream: ConfigurationError, SourceMissing, UnmappableType, Unreachable.
    """

    @abstractmethod
    def read(
        self, stream: Stream, target_columns: Sequence[Column], selection: Selection
    ) -> AbstractAsyncContextManager[Reading]:
        """Begin to read a selection of a stream.

        Columns keep the names that ``target_columns`` give them, and their types where the source has no types of its
        own.
        """

    @abstractmethod
    async def find_existing(
        self, stream: Stream, target_columns: Sequence[Column], keys: Keys, /
    ) -> set[tuple[Any, ...]]:
        """Return which of these keys the source holds now.

        Only the key is read, so that rows whose other values cannot be decoded count as well.
        """

    @abstractmethod
    async def find_in_all_rows(self, stream: Stream, target_columns: Sequence[Column], keys: Keys, /) -> list[set[int]]:
        """Read all rows, and return for each row with one of these keys the indexes of the keys that it has.

        A row may have several of them, because one key may be spelled in several ways. A key that cannot be compared
        counts as the key of a row. The answer of a look-up by key is checked with this.
        """

    @abstractmethod
    async def plan(
        self, stream: Stream, target_columns: Sequence[Column], window: Window, /
    ) -> tuple[str, tuple[Column, ...]]:
        """Return the query that would read a window, and its columns; read no row.

        There are no columns where only documents tell them.
        """

    async def find_tables(
        self, schema: str, _sample_documents: int, _unsampled: Collection[str] = (), /
    ) -> list[FoundTable]:
        """Return the tables and views of a schema, or the collections of a database by a sample of their documents.

        No document is read of collections that are ``unsampled``; they have no columns here.

        Raises ConfigurationError where the kind of source cannot list them.
        """
        raise ConfigurationError(CANNOT_LIST, place=schema, remedy=DECLARE_BY_HAND)

    def parse_location(self, location: str) -> dict[str, Any]:
        """Return the value of each field of a row location, in the form in which ``read`` takes it in ``Keys``.

        By default it is text: ``5`` and ``"5"`` are one key, because a row that is rejected before it is decoded has
        only the text of its key.
        """
        return {name: str(value) for name, value in orjson.loads(location).items()}

    def keys_of(self, locations: Iterable[str]) -> Iterator[Keys]:
        """Yield the keys by which the rows at these locations are read again, each once.

        Keys of one block name the same fields.
        """
        by_names: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for location in dict.fromkeys(locations):
            fields = self.parse_location(location)
            by_names.setdefault(tuple(map(column_name, fields)), []).append(tuple(fields.values()))
        by_names.pop((), None)
        for names, rows in by_names.items():
            yield from (Keys(names, block) for block in batches_of_keys({repr(row): row for row in rows}.values()))
