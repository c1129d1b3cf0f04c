"""Pipelines with the streams that their wildcards stand for, as the ledger recorded them at the last run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prefect import task

from millrace import Pipeline
from millrace.base.errors import ConfigurationError
from millrace.declaration.find import find_pipeline
from millrace.discovery.resolve import resolve_as_recorded
from millrace.tasks.connections import open_warehouse
from millrace.tasks.policy import TASK_OPTIONS
from millrace.warehouse.ledger.recorded_streams import RecordedStream


async def load_pipeline(name: str) -> Pipeline:
    """Return the pipeline of that name; its wildcards stand for the streams of the last run.

    No source is asked, and no warehouse if there are no wildcards. Raises ConfigurationError if there is no such
    pipeline, or if it has only wildcards and did not run yet.
    """
    declared = find_pipeline(name)
    if not declared.wildcards:
        return declared
    streams = resolve_as_recorded(declared, await _find_recorded(declared))
    if not streams and not declared.streams:
        raise ConfigurationError(
            "it has only wildcards, and no run has found their tables yet",
            place=f"pipeline {declared.name}",
            remedy=f"run `millrace run {declared.cli_name}`",
        )
    return declared.with_found(streams)


@task(name="find-recorded", task_run_name="find what wildcards of {pipeline} stood for", **TASK_OPTIONS)
async def find_recorded(pipeline: str) -> list[RecordedStream]:
    """Return the streams that the wildcards of a pipeline stood for at the last run."""
    return await _find_recorded(find_pipeline(pipeline))


@task(name="record-found", task_run_name="record what wildcards of {pipeline} stand for", **TASK_OPTIONS)
async def record_found(pipeline: str, records: Sequence[RecordedStream]) -> None:
    """Record in the ledger what the wildcards of a pipeline stand for."""
    declared = find_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    await asyncio.to_thread(warehouse.record_streams, declared, records)


async def _find_recorded(pipeline: Pipeline) -> list[RecordedStream]:
    warehouse = await open_warehouse(pipeline)
    return await asyncio.to_thread(warehouse.find_recorded_streams, pipeline)
