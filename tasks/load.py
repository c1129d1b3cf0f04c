"""Load batches into the warehouse, in one commit. Safe to repeat: a batch that was applied is recognised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from prefect import task

from millrace.blocks.load import load_landing, load_processed
from millrace.lake.manifest import read_manifest
from millrace.runs.gathered import find_due, load_landed
from millrace.tasks.connections import open_warehouse
from millrace.tasks.lease import lease_stream, renew_then_release
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS
from millrace.warehouse.ledger.load_result import LoadResult


@task(name="load", task_run_name="load {pipeline}", **TASK_OPTIONS)
async def load_batches(pipeline: str, manifests: Sequence[str]) -> list[LoadResult]:
    """Stage and apply the batches with these manifests; return the results in their order.

    The manifests are in the zone that the pipeline loads from.
    """
    begun, declared = time.monotonic(), await load_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    store = await load_processed() if declared.is_transformed else await load_landing()
    batches = await asyncio.to_thread(lambda: [read_manifest(store, manifest) for manifest in manifests])
    async with renew_then_release(warehouse, declared, batches):
        results = await asyncio.to_thread(warehouse.load, declared, batches, store)
    return [replace(result, seconds=time.monotonic() - begun) for result in results]


@task(name="load-gathered", task_run_name="load what waits of {stream}", **TASK_OPTIONS)
async def load_gathered(pipeline: str, stream: str, *, only_due: bool = False) -> list[LoadResult]:
    """Load the batches of a stream that wait in the lake, in order. Return the results.

    With ``only_due`` nothing is loaded before it is time.
    """
    begun, declared = time.monotonic(), await load_pipeline(pipeline)
    warehouse, store, declared_stream = await open_warehouse(declared), await load_landing(), declared.stream(stream)
    due_at = await asyncio.to_thread(find_due, warehouse, declared, declared_stream) if only_due else None
    if only_due and (due_at is None or datetime.now(UTC) < due_at):
        return []
    async with lease_stream(warehouse, declared, declared_stream) as lease:
        results = await asyncio.to_thread(load_landed, warehouse, store, declared, declared_stream, lease.token)
    return [replace(result, seconds=time.monotonic() - begun) for result in results]
