"""Capture of a queue: read the objects of the lake into which consumers collected its messages, in order of time.

The ledger records each object that was applied, because consumers that work side by side finish out of order. An object
that appears later than OVERLAP behind another is found by a read of everything (docs/decisions/0011-queues.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from typing_extensions import override

from millrace.base.background import read_ahead
from millrace.base.errors import FatalError
from millrace.base.naming import MESSAGE_ADDRESS, ROW_ID
from millrace.base.types import Column
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.store import ObjectStore
from millrace.queues.decoding import MessageDecoder
from millrace.queues.objects import SENT, collected_prefix, first_name, get_messages, list_names, object_of, time_of
from millrace.sources.chunk import Chunk, Keys, ReadFacts, Selection, Source, Window

OVERLAP = timedelta(days=1)
CHUNK_MESSAGES = 20_000
REMEMBERED_CHUNKS = 50
"""How many chunks of messages are remembered, to drop messages that were delivered twice.

A second delivery comes within minutes, or hours at most.
"""
OBJECTS_AT_ONCE = 8
"""How many objects are fetched side by side and held in memory. Each has as many messages as one consumer collected."""
REPORT = "report it with the stream's declaration"

Applied = Callable[[Pipeline, Stream, str], Collection[str]]
"""Returns which objects of a stream were applied, among those with this name or a later one."""


@dataclass(frozen=True)
class CollectedSource(Source):
    """The landing zone of a pipeline, as the source of its streams from queues."""

    store: ObjectStore
    pipeline: Pipeline
    applied: Applied

    @asynccontextmanager
    @override
    async def read(
        self, stream: Stream, target_columns: Sequence[Column], selection: Selection
    ) -> AsyncIterator[CollectedReading]:
        # A window without an end leaves out what was applied.
        prefix = collected_prefix(self.pipeline.name, stream.name)
        if isinstance(selection, Keys):
            addresses = frozenset(str(row[0]) for row in selection.rows)
            objects: list[str] = sorted(set(map(object_of, addresses)))
        else:
            addresses = None
            objects = await asyncio.to_thread(self._list_objects, stream, prefix, selection)
        yield CollectedReading(
            _facts(objects, selection), self.store, prefix, stream, target_columns, objects, addresses
        )

    @override
    async def find_existing(
        self, stream: Stream, _target_columns: Sequence[Column], _keys: Keys, /
    ) -> set[tuple[Any, ...]]:
        raise FatalError(
            "what was collected of a queue has no keys to ask for", place=f"stream {stream.name}", remedy=REPORT
        )

    @override
    async def find_in_all_rows(
        self, stream: Stream, _target_columns: Sequence[Column], _keys: Keys, /
    ) -> list[set[int]]:
        raise FatalError(
            "what was collected of a queue has no keys to look for", place=f"stream {stream.name}", remedy=REPORT
        )

    @override
    async def plan(
        self, stream: Stream, _target_columns: Sequence[Column], window: Window, /
    ) -> tuple[str, tuple[Column, ...]]:
        prefix = collected_prefix(self.pipeline.name, stream.name)
        objects = await asyncio.to_thread(self._list_objects, stream, prefix, window)
        return f"{len(objects)} objects of {self.store.uri(prefix)}", ()

    def _list_objects(self, stream: Stream, prefix: str, window: Window) -> list[str]:
        start, end = (
            datetime.fromisoformat(position) if position else None for position in (window.lower, window.upper)
        )
        if start is None or end is not None:
            return list(list_names(self.store, prefix, start, end))
        since = start - OVERLAP
        applied = self.applied(self.pipeline, stream, first_name(since))
        return [name for name in list_names(self.store, prefix, since) if name not in applied]


@dataclass(frozen=True)
class CollectedReading:
    """A read that has begun; ``addresses`` are the addresses of the only messages that are asked for (None: all)."""

    facts: ReadFacts
    _store: ObjectStore
    _prefix: str
    _stream: Stream
    _target_columns: Sequence[Column]
    _objects: Sequence[str]
    _addresses: frozenset[str] | None

    async def read_chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the messages in the order of their objects, each once, decoded some thousands at a time."""
        decoder, waiting, seen = MessageDecoder(self._stream, self._target_columns), pl.DataFrame(), _Seen()
        async with aclosing(read_ahead(self._fetch_blocks())) as blocks:
            async for block in blocks:
                waiting = pl.concat([waiting, *block])
                whole = waiting.height - waiting.height % CHUNK_MESSAGES
                for frame in waiting.head(whole).iter_slices(CHUNK_MESSAGES):
                    yield await asyncio.to_thread(decoder.decode, seen.drop_repeated(frame))
                waiting = waiting.tail(waiting.height - whole)
        if waiting.height:
            yield await asyncio.to_thread(decoder.decode, seen.drop_repeated(waiting))

    async def count(self) -> None:
        """Return None: the objects are known before the read, and none of them is read in part."""

    async def sample(self, _rows: int, /) -> tuple[int, list[Chunk]]:
        """Raise FatalError: a stream of messages has no sweep."""
        raise FatalError(
            "what was collected of a queue is not sampled", place=f"stream {self._stream.name}", remedy=REPORT
        )

    async def _fetch_blocks(self) -> AsyncGenerator[list[pl.DataFrame], None]:
        """Yield the messages of some objects at a time."""
        for start in range(0, len(self._objects), OBJECTS_AT_ONCE):
            yield await self._fetch_block(start)

    async def _fetch_block(self, start: int) -> list[pl.DataFrame]:
        names = self._objects[start : start + OBJECTS_AT_ONCE]
        return await asyncio.gather(*(asyncio.to_thread(self._fetch, name) for name in names))

    def _fetch(self, name: str) -> pl.DataFrame:
        messages = get_messages(self._store, self._prefix, name)
        return (
            messages
            if self._addresses is None
            else messages.filter(pl.col(MESSAGE_ADDRESS).is_in(list(self._addresses)))
        )


class _Seen:
    """Remembers which messages were read lately.

    A message whose consumer died after it stored it is stored again by another consumer.
    """

    def __init__(self) -> None:
        self._lately: deque[pl.Series] = deque(maxlen=REMEMBERED_CHUNKS)

    def drop_repeated(self, messages: pl.DataFrame) -> pl.DataFrame:
        """Return the messages that were not read before."""
        fresh = messages.unique(SENT, keep="first", maintain_order=True)
        for seen in self._lately:
            fresh = fresh.filter(~pl.col(SENT).hash().is_in(seen.implode()))
        self._lately.append(fresh[SENT].hash())
        return fresh


def _facts(objects: Sequence[str], selection: Selection) -> ReadFacts:
    """Return what is fixed of a read; its next position is the time of the newest object.

    An object with an earlier name that appears later is found by the overlap.
    """
    lower, collected = (selection.lower, tuple(objects)) if isinstance(selection, Window) else (None, ())
    position = time_of(objects[-1]).isoformat() if objects else lower
    return ReadFacts(
        datetime.now(UTC), position, row_id_column=ROW_ID, location_columns=(MESSAGE_ADDRESS,), collected=collected
    )
