"""What every source gives and is asked: a selection of rows in, typed chunks out.

A kind of source is one class that has ``Source``'s two methods; all that the engine does with sources is written on
top of them (docs/decisions/0007-sweep-lease-replay.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from millrace.base.rejects import no_rejects
from millrace.base.types import Column
from millrace.declaration.stream import Stream

BLOCK_ROWS, BLOCK_BYTES = 20_000, 2 * 1024 * 1024
"""Of keys that are asked for at once; MongoDB takes a query of 16 MB."""


@dataclass(frozen=True)
class Window:
    """Rows whose cursor is at or after ``lower`` and before ``upper``, and, where ``upper`` is open, those that were
    never stamped. Bounds are positions; None: open. ``is_chosen``: a person chose them."""

    lower: str | None = None
    upper: str | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class Keys:
    """Rows by key: ``names`` are columns (of the stream's key, or the one that identifies a row in its source),
    ``rows`` their values as a warehouse's driver gives them."""

    names: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


def blocks(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of keys in blocks that a source takes as one question."""
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
class Read:
    """What is fixed before the first row is read.

    ``read_at`` is the moment of the read by the source's clock; ``position`` what the next read starts from once
    this one is applied (None: it must not move); ``identity`` names the column of frames by which two rows of one key
    are told to be the same row read twice, where the source gives no snapshot ('' where it does: then a repeated key
    is an error), ``coordinates`` those that tell where a row is, if it is not the key; ``is_whole`` says that the
    columns of its chunks are all the source has. ``note`` says what an operator should know about the bound.
    ``collected`` are the objects of the lake that it reads, where those are its source. ``zones`` are the time zones
    other than UTC that the source gives to sessions, in one of which its stamps without zone may be.
    """

    read_at: datetime
    position: str | None
    identity: str = ""
    coordinates: tuple[str, ...] = ()
    is_whole: bool = False
    note: str = ""
    collected: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """A bounded number of rows: accepted so far in ``frame`` (columns named and typed by ``columns``), and those
    that could not even be decoded in ``rejected`` (REJECT_SCHEMA). ``omitted`` are the paths that the stream omits and
    that the rows had."""

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    rejected: pl.DataFrame = field(default_factory=no_rejects)
    omitted: frozenset[str] = frozenset()


class Reading(Protocol):
    """A read that has begun."""

    @property
    def read(self) -> Read:
        """What is fixed."""
        ...

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The rows, read as they are asked for; once."""
        ...

    async def count(self) -> int | None:
        """How many rows the source holds as this read sees it, whatever it selects; to be asked when the chunks are
        read. None where the source cannot tell."""
        ...

    async def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """How many rows the source holds as this read sees it, and about ``rows`` of them chosen by chance; to be
        asked when the chunks are read."""
        ...


class Source(Protocol):
    """A database that rows are read from. Errors name the stream: ConfigurationError, SourceMissing, UnmappableType,
    Unreachable."""

    def read(
        self, stream: Stream, known: Sequence[Column], selection: Window | Keys
    ) -> AbstractAsyncContextManager[Reading]:
        """Begin to read a selection of a stream; ``known`` are the target's columns, whose names (and, where the
        source has no types of its own, types) stay."""
        ...

    async def existing(self, stream: Stream, known: Sequence[Column], keys: Keys) -> set[tuple[Any, ...]]:
        """Which of these keys the source holds now. Only the key is read, so that rows whose other values cannot be
        decoded count as well."""
        ...

    async def seen(self, stream: Stream, known: Sequence[Column], keys: Keys, /) -> list[set[int]]:
        """The rows with one of these keys that a pass over all rows sees, whatever a look-up by key finds: of each the
        indexes of the keys it has, as one key may be spelled in several ways. A key that cannot be compared counts as
        the key of a row."""
        ...

    async def plan(self, stream: Stream, known: Sequence[Column], window: Window, /) -> tuple[str, tuple[Column, ...]]:
        """The query that would read a window, and its columns (none where only documents tell them). Reads no row."""
        ...
