"""Capture from MongoDB and DocumentDB: one cursor over a window of an indexed date, in raw batches.

The server tells nothing about open transactions to an ordinary user, so the position is the read's own moment by
the server's clock, less an overlap as long as a transaction may live (docs/decisions/0003-position.md). There is
no snapshot either: a document that moves while it is read may come twice, which the load tells by ``_id``.
What does not belong here: decoding (mongo_values.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.capture.chunk import Chunk, Read
from millrace.capture.mongo_client import MongoClient, mongo_errors
from millrace.capture.mongo_values import DOCUMENT_KEY, Decoder
from millrace.errors import SourceMissing
from millrace.naming import column_name
from millrace.pipeline import Stream
from millrace.types import Column

BATCH_DOCUMENTS = 20_000
DEFAULT_OVERLAP = timedelta(seconds=60)
"""transactionLifetimeLimitSeconds, unless the server is configured otherwise."""


async def begin(client: MongoClient, stream: Stream, *, lower: str | None, upper: str | None = None) -> Read:
    """Fix the moment and the position. Raises SourceMissing, Unreachable, ConfigurationError, naming the stream."""
    source, place = stream.reference, _place(stream)
    with mongo_errors(place):
        if not await client[source.schema].list_collection_names(filter={"name": source.name}):
            raise SourceMissing(
                "there is no such collection", place=place, remedy="create it, or correct the stream's source"
            )
        hello: dict[str, Any] = await client.admin.command("hello")
    read_at: datetime = hello["localTime"].replace(tzinfo=UTC)
    overlap = DEFAULT_OVERLAP if stream.capture.overlap is None else stream.capture.overlap
    position = None if upper is not None else (read_at - overlap).isoformat()
    return Read(read_at, lower, position, identity=column_name(DOCUMENT_KEY))


async def chunks(
    client: MongoClient, stream: Stream, known: Sequence[Column], *, lower: str | None, upper: str | None = None
) -> AsyncGenerator[Chunk, None]:
    """The window's documents. ``known`` are the target's columns: a field keeps its column from run to run.

    Decoding runs in a thread while the next batch is on its way.
    """
    source = stream.reference
    decoder = Decoder(stream, known)
    with mongo_errors(_place(stream)):
        cursor = client[source.schema][source.name].find_raw_batches(
            window(stream, lower, upper), batch_size=BATCH_DOCUMENTS
        )
        try:
            async for raw in _ahead(cursor):
                yield await asyncio.to_thread(decoder.decode, raw)
        finally:
            await cursor.close()


def window(stream: Stream, lower: str | None, upper: str | None) -> dict[str, Any]:
    """The query of one window; documents that were never stamped are in every window but a backfill's."""
    name = stream.capture.cursor
    bounds = {
        operator: datetime.fromisoformat(bound)
        for operator, bound in (("$gte", lower), ("$lt", upper))
        if bound is not None
    }
    if upper is not None:
        return {name: bounds}
    return {"$or": [{name: bounds}, {name: None}]} if bounds else {}


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
