"""From a connection to a batch: one function per kind of source, for tasks and tests alike.

What does not belong here: where the connection comes from, and what happens to the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from millrace.capture import mongo, postgres
from millrace.capture.chunk import Read
from millrace.capture.mongo_client import MongoClient
from millrace.contract.check import Limits
from millrace.extract import Extraction, Progress
from millrace.lake.batch import Batch
from millrace.lake.store import ObjectStore
from millrace.pipeline import Stream
from millrace.types import Column


@dataclass(frozen=True)
class Landing:
    """Where batches of a pipeline go, and what the warehouse behind them can hold. ``backfill``: a person chose where
    the read starts, so its batch leaves the position alone: what lies before was not read."""

    pipeline: str
    store: ObjectStore
    limits: Limits
    progress: Progress | None = None
    backfill: bool = False

    def extraction(self, stream: Stream, read: Read) -> Extraction:
        """The extraction of one read of a stream."""
        fixed = replace(read, position=None) if self.backfill else read
        return Extraction(self.pipeline, stream, fixed, self.store, self.limits, self.progress)


def extract_postgres(
    connect: postgres.Connect,
    stream: Stream,
    landing: Landing,
    known: Sequence[Column] = (),
    *,
    lower: str | None,
    upper: str | None = None,
    chunk_bytes: int = postgres.CHUNK_BYTES,
) -> Batch | None:
    """Read a window of a table into the lake; None when there was nothing. Bounds are positions, None: open.

    ``known`` are the target's columns, whose names stay.
    """
    with (
        postgres.read(connect, stream, lower=lower, upper=upper, known=known, chunk_bytes=chunk_bytes) as opened,
        landing.extraction(stream, opened.read) as extraction,
    ):
        for chunk in opened.chunks:
            extraction.add(chunk)
        return extraction.finish()


async def extract_mongo(
    client: MongoClient,
    stream: Stream,
    landing: Landing,
    known: Sequence[Column],
    *,
    lower: str | None,
    upper: str | None = None,
) -> Batch | None:
    """Read a window of a collection into the lake; ``known`` are the target's columns, whose names and types stay."""
    fixed = await mongo.begin(client, stream, lower=lower, upper=upper)
    with landing.extraction(stream, fixed) as extraction:
        async with aclosing(mongo.chunks(client, stream, known, lower=lower, upper=upper)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(extraction.add, chunk)
        return await asyncio.to_thread(extraction.finish)
