"""Load one batch into the warehouse. Safe to repeat: a batch that was applied is recognised.

What does not belong here: how (millrace/warehouse/).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from prefect import task

from blocks.load import load_landing
from millrace.lake.batch import Batch
from millrace.warehouse.ledger import LoadResult
from pipelines import find
from tasks.connections import open_warehouse
from tasks.lease import leased
from tasks.policy import STEP


@dataclass(frozen=True)
class Loaded:
    """What a load did, and how long it took."""

    result: LoadResult
    seconds: float


@task(name="load", task_run_name="load {stream}", **STEP)
async def load_batch(pipeline: str, stream: str, manifest: str) -> Loaded:
    """Stage and apply the batch whose manifest has this key."""
    begun = time.monotonic()
    declared, warehouse, store = find(pipeline), await open_warehouse(), await load_landing()
    source = declared.stream(stream)
    batch = await asyncio.to_thread(Batch.load, store, manifest)
    async with leased(warehouse, declared, source, batch.token):
        result = await asyncio.to_thread(warehouse.load, declared, source, batch)
    return Loaded(result, time.monotonic() - begun)
