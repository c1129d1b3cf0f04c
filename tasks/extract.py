"""Extract one stream into one batch: a task per kind of source, for the extract flows to run side by side.

A task hands on the key of the batch's manifest and counts, never data.
What does not belong here: reading and writing (millrace/), which streams run (flows/).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass

from prefect import task
from prefect.logging import get_run_logger

from blocks.load import load_landing, load_source_mongo, load_source_postgres
from blocks.sql import opener
from millrace import Pipeline, Stream
from millrace.capture import mongo, postgres
from millrace.extract import Extraction, Progress
from millrace.lake.batch import Batch
from millrace.warehouse.loader import Warehouse
from pipelines import find
from tasks.connections import open_warehouse
from tasks.policy import STEP

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Bounds:
    """What part of a stream is read: from its position (default), everything (``full``), or a window of times."""

    full: bool = False
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True)
class Extracted:
    """What a read gave. ``manifest`` is the key of the batch; None when there was nothing to read."""

    stream: str
    manifest: str | None
    read: int
    rejected: int
    seconds: float
    note: str = ""


@task(name="extract-postgres-stream", task_run_name="extract {stream}", **STEP)
async def extract_postgres_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read a window of a Postgres table into the lake."""
    begun = time.monotonic()
    declared, warehouse, store = find(pipeline), await open_warehouse(), await load_landing()
    source = declared.stream(stream)
    connector = await load_source_postgres(source.reference.connection)
    progress = _reporter(stream)
    lower = await asyncio.to_thread(lower_bound, warehouse, declared, source, bounds)

    def extract() -> Batch | None:
        with (
            postgres.read(opener(connector), source, lower=lower, upper=bounds.end) as (fixed, _, chunks),
            Extraction(declared.name, source, fixed, store, warehouse.dialect.limits, progress) as extraction,
        ):
            for chunk in chunks:
                extraction.add(chunk)
            return extraction.finish()

    return _extracted(stream, await asyncio.to_thread(extract), begun)


@task(name="extract-mongo-stream", task_run_name="extract {stream}", **STEP)
async def extract_mongo_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read a window of a MongoDB collection into the lake."""
    begun = time.monotonic()
    declared, warehouse, store = find(pipeline), await open_warehouse(), await load_landing()
    source = declared.stream(stream)
    lower = await asyncio.to_thread(lower_bound, warehouse, declared, source, bounds)
    known = await asyncio.to_thread(warehouse.known_columns, declared, source)
    client = (await load_source_mongo(source.reference.connection)).get_client()
    try:
        fixed = await mongo.begin(client, source, lower=lower, upper=bounds.end)
        with Extraction(declared.name, source, fixed, store, warehouse.dialect.limits, _reporter(stream)) as extraction:
            async with aclosing(mongo.chunks(client, source, known, lower=lower, upper=bounds.end)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(extraction.add, chunk)
            return _extracted(stream, await asyncio.to_thread(extraction.finish), begun)
    finally:
        client.close()


def lower_bound(warehouse: Warehouse, pipeline: Pipeline, stream: Stream, bounds: Bounds) -> str | None:
    """Where this read starts; None from the beginning."""
    if bounds.full or bounds.start is not None:
        return bounds.start
    return warehouse.position(pipeline.name, stream.name)


def _extracted(stream: str, batch: Batch | None, begun: float) -> Extracted:
    seconds = time.monotonic() - begun
    if batch is None:
        return Extracted(stream, None, 0, 0, seconds)
    return Extracted(stream, batch.manifest_key, batch.read, batch.rejected, seconds, batch.note)


def _reporter(stream: str) -> Progress:
    """Logs the rows read so far, every few seconds, from whichever thread reads."""
    logger, said = get_run_logger(), time.monotonic()

    def report(rows: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            logger.info("%s: %s rows read", stream, f"{rows:,}")

    return report
