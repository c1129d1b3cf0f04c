"""Extract one stream into one batch: a task per kind of source, for the extract flows to run side by side.

A task hands on the key of the batch's manifest and counts, never data.
What does not belong here: reading and writing (millrace/), which streams run (flows/).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from prefect import task
from prefect.logging import get_run_logger

from blocks.load import load_landing, load_source_mongo, load_source_postgres
from blocks.sql import opener
from millrace import Pipeline, Stream
from millrace.extract import Progress
from millrace.lake.batch import Batch
from millrace.sources import Landing, extract_mongo, extract_postgres
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
    declared, warehouse = find(pipeline), await open_warehouse()
    source, landing = declared.stream(stream), await _landing(declared, warehouse, stream, bounds)
    connect = opener(await load_source_postgres(source.reference.connection))
    lower = await asyncio.to_thread(lower_bound, warehouse, declared, source, bounds)
    known = await asyncio.to_thread(warehouse.known_columns, declared, source)
    batch = await asyncio.to_thread(extract_postgres, connect, source, landing, known, lower=lower, upper=bounds.end)
    return _extracted(stream, batch, begun)


@task(name="extract-mongo-stream", task_run_name="extract {stream}", **STEP)
async def extract_mongo_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read a window of a MongoDB collection into the lake."""
    begun = time.monotonic()
    declared, warehouse = find(pipeline), await open_warehouse()
    source, landing = declared.stream(stream), await _landing(declared, warehouse, stream, bounds)
    lower = await asyncio.to_thread(lower_bound, warehouse, declared, source, bounds)
    known = await asyncio.to_thread(warehouse.known_columns, declared, source)
    client = (await load_source_mongo(source.reference.connection)).get_client()
    try:
        batch = await extract_mongo(client, source, landing, known, lower=lower, upper=bounds.end)
    finally:
        client.close()
    return _extracted(stream, batch, begun)


async def _landing(pipeline: Pipeline, warehouse: Warehouse, stream: str, bounds: Bounds) -> Landing:
    store, progress = await load_landing(), _reporter(stream)
    return Landing(pipeline.name, store, warehouse.dialect.limits, progress, backfill=bounds.start is not None)


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
