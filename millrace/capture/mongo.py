"""Capture from MongoDB and DocumentDB: one cursor over a selection, in raw batches.

The server tells nothing about open transactions to an ordinary user, so the position is the read's own moment by
the server's clock, less an overlap as long as a transaction may live (docs/decisions/0003-position.md). There is
no snapshot either: a document that moves while it is read may come twice, which the load tells by ``_id``.
What does not belong here: decoding (mongo_values.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
from bson import Decimal128, ObjectId
from bson.binary import Binary
from bson.errors import InvalidId

from millrace.capture.chunk import Chunk, Keys, Read, Window
from millrace.capture.mongo_client import MongoClient, mongo_errors
from millrace.capture.mongo_values import DOCUMENT_KEY, Decoder
from millrace.capture.position import bounded_position, joined, not_in_future
from millrace.errors import SourceMissing
from millrace.naming import IDENTITY, column_name
from millrace.pipeline import Stream
from millrace.rejects import HEX
from millrace.types import Column

BATCH_DOCUMENTS = 20_000
DEFAULT_OVERLAP = timedelta(seconds=60)
"""transactionLifetimeLimitSeconds, unless the server is configured otherwise."""

FORMS_OF_TEXT: tuple[Callable[[str], Any], ...] = (
    ObjectId,
    lambda text: Binary.from_uuid(UUID(text)),
    datetime.fromisoformat,
    Decimal128,
    lambda text: bytes.fromhex(text.removeprefix(HEX)),
)

Query = dict[str, Any]


@dataclass(frozen=True)
class MongoSource:
    """A MongoDB server; the client is the caller's to close."""

    client: MongoClient

    @asynccontextmanager
    async def read(
        self, stream: Stream, known: Sequence[Column], selection: Window | Keys
    ) -> AsyncIterator[MongoReading]:
        """As ``Source.read``."""
        read = await _begin(self.client, stream, selection)
        selection, told = not_in_future(selection, read.read_at)
        read = replace(read, note=joined(told, read.note))
        yield MongoReading(read, self.client, stream, known, _query(stream, selection))

    async def existing(self, stream: Stream, known: Sequence[Column], keys: Keys) -> set[tuple[Any, ...]]:
        """As ``Source.existing``."""
        async with aclosing(_find(self.client, stream, known, _query(stream, keys), _only_keys(stream))) as chunks:
            return {row async for chunk in chunks for row in _rows(chunk, keys.names)}

    async def keys(self, stream: Stream, known: Sequence[Column]) -> AsyncGenerator[pl.DataFrame, None]:
        """As ``Source.keys``."""
        names = [column_name(key) for key in stream.keys]
        async with aclosing(_find(self.client, stream, known, {}, _only_keys(stream))) as chunks:
            async for chunk in chunks:
                if set(names) <= set(chunk.frame.columns):
                    yield chunk.frame.select(names)

    async def plan(self, stream: Stream, _known: Sequence[Column], window: Window, /) -> tuple[str, tuple[Column, ...]]:
        """As ``Source.plan``; documents have no columns before they are read."""
        return f"db.{stream.reference.name}.find({json.dumps(_query(stream, window), default=str)})", ()


@dataclass(frozen=True)
class MongoReading:
    """A read that has begun; its chunks come from one cursor."""

    read: Read
    _client: MongoClient
    _stream: Stream
    _known: Sequence[Column]
    _query: Query

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The selected documents, in the order of the index."""
        return _find(self._client, self._stream, self._known, self._query)

    async def count(self) -> int:
        """Counted after the read, not in its snapshot: there is none."""
        with mongo_errors(_place(self._stream)):
            collection = self._client[self._stream.reference.schema][self._stream.reference.name]
            found: int = await collection.count_documents({})
            return found

    async def sample(self, rows: int) -> tuple[int, list[Chunk]]:
        """Counted and drawn after the read, not in its snapshot: there is none."""
        decoder = Decoder(self._stream, self._known)
        with mongo_errors(_place(self._stream)):
            collection = self._client[self._stream.reference.schema][self._stream.reference.name]
            count = await collection.count_documents({})
            drawn = collection.aggregate_raw_batches([{"$sample": {"size": rows}}])
            return count, [decoder.decode(raw) async for raw in drawn]


async def _begin(client: MongoClient, stream: Stream, selection: Window | Keys) -> Read:
    source, place = stream.reference, _place(stream)
    with mongo_errors(place):
        if not await client[source.schema].list_collection_names(filter={"name": source.name}):
            raise SourceMissing(
                "there is no such collection", place=place, remedy="create it, or correct the stream's source"
            )
        hello: dict[str, Any] = await client.admin.command("hello")
    read_at: datetime = hello["localTime"].replace(tzinfo=UTC)
    overlap = max(DEFAULT_OVERLAP, stream.capture.overlap or DEFAULT_OVERLAP)
    moves = isinstance(selection, Window) and selection.upper is None
    position, note = bounded_position(read_at, overlap) if moves else (None, "")
    return Read(read_at, position, identity=IDENTITY, coordinates=(column_name(DOCUMENT_KEY),), note=note)


async def _find(
    client: MongoClient, stream: Stream, known: Sequence[Column], query: Query, projection: Query | None = None
) -> AsyncGenerator[Chunk, None]:
    """Decoding runs in a thread while the next batch is on its way."""
    source = stream.reference
    decoder = Decoder(stream, known)
    with mongo_errors(_place(stream)):
        cursor = client[source.schema][source.name].find_raw_batches(query, projection, batch_size=BATCH_DOCUMENTS)
        try:
            async for raw in _ahead(cursor):
                yield await asyncio.to_thread(decoder.decode, raw)
        finally:
            await cursor.close()


def _query(stream: Stream, selection: Window | Keys) -> Query:
    return _among(stream, selection) if isinstance(selection, Keys) else _within(stream, selection)


def _only_keys(stream: Stream) -> Query:
    """A projection."""
    return {DOCUMENT_KEY: 0} | dict.fromkeys(stream.keys, 1)


def _within(stream: Stream, window: Window) -> Query:
    """Documents that were never stamped are in every window but a backfill's."""
    name = stream.capture.cursor
    bounds = {
        operator: datetime.fromisoformat(bound)
        for operator, bound in (("$gte", window.lower), ("$lt", window.upper))
        if bound is not None
    }
    if window.upper is not None:
        return {name: bounds}
    return {"$or": [{name: bounds}, {name: None}]} if bounds else {}


def _among(stream: Stream, keys: Keys) -> Query:
    paths = {column_name(path): path for path in (DOCUMENT_KEY, *stream.keys)}
    chosen = [paths[name] for name in keys.names]
    if len(chosen) == 1:
        return {chosen[0]: {"$in": [form for (value,) in keys.rows for form in _forms(value)]}}
    rows = ({path: {"$in": _forms(value)} for path, value in zip(chosen, row, strict=True)} for row in keys.rows)
    return {"$or": list(rows)}


def _forms(value: Any) -> list[Any]:
    """What a column's value, or its text in a reject's coordinates, may have been in the document."""
    if not isinstance(value, str):
        return [Decimal128(value) if isinstance(value, Decimal) else value]
    forms: list[Any] = [value]
    for form in FORMS_OF_TEXT:
        with suppress(ValueError, ArithmeticError, InvalidId):
            forms.append(form(value))
    return forms


def _rows(chunk: Chunk, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return chunk.frame.select(names).rows() if set(names) <= set(chunk.frame.columns) else []


async def _ahead(cursor: Any) -> AsyncGenerator[bytes, None]:
    """Each batch, with the request for the one after it already sent."""
    batches = aiter(cursor)
    upcoming = asyncio.ensure_future(anext(batches, None))
    try:
        while (raw := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(batches, None))
            yield raw
    finally:
        upcoming.cancel()


def _place(stream: Stream) -> str:
    return f"stream {stream.name} ({stream.source})"
