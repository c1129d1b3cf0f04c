"""Compute a model again, from applied batches or from those of a new read, as a task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prefect import task
from prefect.logging import get_run_logger

from millrace import Model, Pipeline
from millrace.blocks.load import load_landing, load_processed
from millrace.declaration.find import find_pipeline
from millrace.lake.manifest import read_manifest
from millrace.runs.reload import BatchGroup, ReloadResult, ReportGroups, find_applied_groups, reload_model
from millrace.tasks.connections import open_warehouse
from millrace.tasks.lease import held, leased
from millrace.tasks.policy import STEP
from millrace.warehouse.warehouse import Warehouse

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class ReloadPlan:
    """What a reload from the landing zone would compute from: how many groups of batches, and the rows in them."""

    model: str
    groups: int
    rows: int


@task(name="plan-reload", task_run_name="plan reload of {model}", **STEP)
async def plan_reload(pipeline: str, model: str) -> ReloadPlan:
    """What it costs. Changes nothing."""
    declared = find_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    groups = await asyncio.to_thread(find_applied_groups, warehouse, declared, declared.model(model))
    return ReloadPlan(model, len(groups), sum(group.rows for group in groups))


@task(name="reload", task_run_name="reload {model}", **STEP)
async def reload_applied(pipeline: str, model: str) -> ReloadResult:
    """From every batch that was applied. Meanwhile the streams that it is computed from are this run's."""
    declared = find_pipeline(pipeline)
    own, warehouse = declared.model(model), await open_warehouse(declared)
    async with AsyncExitStack() as stack:
        for name in sorted(declared.roots.of(own)):
            await stack.enter_async_context(leased(warehouse, declared, declared.stream(name)))
        groups = await asyncio.to_thread(find_applied_groups, warehouse, declared, own)
        return await _reload(declared, own, groups, warehouse)


@task(name="reload", task_run_name="reload {model} from its source", **STEP)
async def reload_landed(pipeline: str, model: str, manifests: Sequence[str]) -> ReloadResult:
    """From the batches of one read of everything, which are not loaded themselves. Their leases are given back."""
    declared, landing = find_pipeline(pipeline), await load_landing()
    warehouse = await open_warehouse(declared)
    batches = await asyncio.to_thread(lambda: [read_manifest(landing, manifest) for manifest in manifests])
    group = BatchGroup(tuple(manifests), sum(batch.counts.read for batch in batches))
    async with held(warehouse, declared, batches):
        return await _reload(declared, declared.model(model), [group], warehouse)


async def _reload(declared: Pipeline, model: Model, groups: Sequence[BatchGroup], warehouse: Warehouse) -> ReloadResult:
    landing, processed = await load_landing(), await load_processed()
    return await asyncio.to_thread(
        reload_model, declared, model, groups, landing, processed, warehouse, _reporter(model.name)
    )


def _reporter(model: str) -> ReportGroups:
    """Logs how far it is, every few seconds."""
    logger, said = get_run_logger(), time.monotonic()

    def report(done: int, groups: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            logger.info("%s: %s of %s groups of batches (%.0f %%)", model, done, groups, 100 * done / groups)

    return report
