"""Extract one stream into one batch: a task per kind of source, for the extract flows to run side by side.

A task hands on the key of the batch's manifest and counts, never data.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from prefect import task
from prefect.logging import get_run_logger

from millrace.declaration.find import find_pipeline
from millrace.lake.batch import Batch
from millrace.runs.choose import Bounds, read
from millrace.runs.destination import Progress
from millrace.runs.reads import Route
from millrace.tasks.connections import open_landing, open_source, open_warehouse
from millrace.tasks.lease import leased
from millrace.tasks.policy import STEP

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Extracted:
    """What a read gave. ``manifest`` is the key of the batch; None when there was nothing to read."""

    stream: str
    manifest: str | None
    kind: str
    read: int
    rejected: int
    seconds: float


@task(name="extract-postgres-stream", task_run_name="extract {stream}", **STEP)
async def extract_postgres_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read a Postgres table, or what of it is asked for, into the lake."""
    return await _extract(pipeline, stream, bounds)


@task(name="extract-mysql-stream", task_run_name="extract {stream}", **STEP)
async def extract_mysql_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read a MySQL table, or what of it is asked for, into the lake."""
    return await _extract(pipeline, stream, bounds)


@task(name="extract-mongo-stream", task_run_name="extract {stream}", **STEP)
async def extract_mongo_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read a MongoDB collection, or what of it is asked for, into the lake."""
    return await _extract(pipeline, stream, bounds)


@task(name="extract-sqs-stream", task_run_name="extract {stream}", **STEP)
async def extract_sqs_stream(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    """Read what was collected of a queue since the last run, or what of it is asked for, into a batch."""
    return await _extract(pipeline, stream, bounds)


async def _extract(pipeline: str, stream: str, bounds: Bounds) -> Extracted:
    begun = time.monotonic()
    declared = find_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    own, landing = declared.stream(stream), await open_landing(declared, warehouse, _reporter(stream))
    async with open_source(declared, own, warehouse) as source, leased(warehouse, declared, own) as lease:
        landing = replace(landing, token=lease.token)
        batch = await read(Route(source, landing, warehouse, declared, own), bounds)
        if batch is not None:
            lease.hand_on()
    return _extracted(stream, batch, begun)


def _extracted(stream: str, batch: Batch | None, begun: float) -> Extracted:
    seconds = time.monotonic() - begun
    if batch is None:
        return Extracted(stream, None, "", 0, 0, seconds)
    return Extracted(stream, batch.manifest_key, batch.kind, batch.counts.read, batch.counts.rejected, seconds)


def _reporter(stream: str) -> Progress:
    """Logs the rows read so far, every few seconds, from whichever thread reads."""
    logger, said = get_run_logger(), time.monotonic()

    def report(rows: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            logger.info("%s: %s rows read", stream, f"{rows:,}")

    return report
