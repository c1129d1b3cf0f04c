"""Tasks that compute a model again, from applied batches or from a new read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task
from prefect.logging import get_run_logger

from millrace import Model, Pipeline
from millrace.blocks.load import load_landing, load_processed
from millrace.lake.manifest import read_manifest
from millrace.runs.reload import BatchGroup, ReloadResult, ReportGroups, find_applied_groups, reload_model
from millrace.tasks.connections import open_warehouse
from millrace.tasks.lease import lease_streams, renew_then_release
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS
from millrace.warehouse.warehouse import Warehouse

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class ReloadPlan:
    """What a reload from the landing zone would compute a model from."""

    model: str
    """Name of the model."""
    groups: int
    """Number of groups of batches that belong together."""
    rows: int
    """Number of rows in these batches."""


@task(name="plan-reload", task_run_name="plan reload of {model}", **TASK_OPTIONS)
async def plan_reload(pipeline: str, model: str) -> ReloadPlan:
    """Return how much a reload would read. Changes nothing."""
    declared = await load_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    groups = await asyncio.to_thread(find_applied_groups, warehouse, declared, declared.model(model))
    return ReloadPlan(model, len(groups), sum(group.rows for group in groups))


@task(name="reload", task_run_name="reload {model}", **TASK_OPTIONS)
async def reload_applied(pipeline: str, model: str) -> ReloadResult:
    """Compute a model again from every batch that was applied, while this run holds the leases of its streams."""
    declared = await load_pipeline(pipeline)
    reloaded, warehouse = declared.model(model), await open_warehouse(declared)
    roots = [declared.stream(name) for name in sorted(declared.roots.of(reloaded))]
    async with lease_streams(warehouse, declared, roots):
        groups = await asyncio.to_thread(find_applied_groups, warehouse, declared, reloaded)
        return await _reload(declared, reloaded, groups, warehouse)


@task(name="reload", task_run_name="reload {model} from its source", **TASK_OPTIONS)
async def reload_landed(pipeline: str, model: str, manifests: Sequence[str]) -> ReloadResult:
    """Compute a model again from the batches of one full read, and release their leases.

    The batches themselves are not loaded.
    """
    declared, landing = await load_pipeline(pipeline), await load_landing()
    warehouse = await open_warehouse(declared)
    batches = await asyncio.to_thread(lambda: [read_manifest(landing, manifest) for manifest in manifests])
    group = BatchGroup(tuple(manifests), sum(batch.counts.read for batch in batches))
    async with renew_then_release(warehouse, declared, batches):
        return await _reload(declared, declared.model(model), [group], warehouse)


async def _reload(declared: Pipeline, model: Model, groups: Sequence[BatchGroup], warehouse: Warehouse) -> ReloadResult:
    landing, processed = await load_landing(), await load_processed()
    return await asyncio.to_thread(
        reload_model, declared, model, groups, landing, processed, warehouse, _reporter(model.name)
    )


def _reporter(model: str) -> ReportGroups:
    """Return a function that logs the progress every few seconds."""
    logger, logged_at = get_run_logger(), time.monotonic()

    def report(done: int, groups: int) -> None:
        nonlocal logged_at
        if time.monotonic() - logged_at >= PROGRESS_SECONDS:
            logged_at = time.monotonic()
            logger.info("%s: %s of %s groups of batches (%.0f %%)", model, done, groups, 100 * done / groups)

    return report
