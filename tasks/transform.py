"""The task that transforms the landed batches of a run into the processed zone: streams and models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prefect import task

from millrace.blocks.load import load_landing, load_processed
from millrace.lake.manifest import read_manifest
from millrace.models.transform import transform
from millrace.tasks.connections import open_warehouse
from millrace.tasks.lease import renew_leases
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS


@task(name="transform", task_run_name="transform {pipeline}", **TASK_OPTIONS)
async def transform_batches(pipeline: str, manifests: Sequence[str]) -> list[str]:
    """Transform landed batches, and return the keys of the manifests in the processed zone.

    It may be repeated: a second try makes batches with the same ids.
    """
    declared, landing, processed = await load_pipeline(pipeline), await load_landing(), await load_processed()
    warehouse = await open_warehouse(declared)
    batches = await asyncio.to_thread(lambda: [read_manifest(landing, manifest) for manifest in manifests])
    async with renew_leases(warehouse, declared, batches):
        made = await asyncio.to_thread(transform, declared, batches, landing, processed, warehouse.dialect.limits)
    return [batch.manifest_key for batch in made]
