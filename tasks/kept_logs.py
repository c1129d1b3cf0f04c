"""The change logs that sources keep for a pipeline, for `millrace logs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millrace import Pipeline, Stream
from millrace.base.errors import ConfigurationError
from millrace.change_logs.kept_logs import KeptLog, drop_kept_log, list_kept_logs
from millrace.change_logs.postgres_log import PostgresLog
from millrace.declaration.find import find_pipeline
from millrace.tasks.connections import open_log, open_source, open_warehouse


async def list_logs(pipeline: str) -> list[KeptLog]:
    """Return the slots of Millrace in every database of which the pipeline reads the change log."""
    declared, found = find_pipeline(pipeline), []
    for stream in _first_streams(declared):
        async with _open(declared, stream) as log:
            found += await asyncio.to_thread(list_kept_logs, log.connect, log.name, log.place)
    return found


async def drop_log(pipeline: str, slot: str) -> None:
    """Drop a slot in a database of which the pipeline reads the change log. Raises ConfigurationError without one."""
    declared = find_pipeline(pipeline)
    for stream in _first_streams(declared):
        async with _open(declared, stream) as log:
            found = await asyncio.to_thread(list_kept_logs, log.connect, log.name, log.place)
            for kept in (kept for kept in found if kept.slot == slot):
                return await asyncio.to_thread(drop_kept_log, log.connect, kept)
    raise ConfigurationError(
        f"there is no replication slot {slot} of Millrace",
        place=f"pipeline {declared.name}",
        remedy=f"choose one that `millrace logs {declared.cli_name}` shows",
    )


def _first_streams(pipeline: Pipeline) -> list[Stream]:
    """Return a stream of each change log that the pipeline reads. Raises ConfigurationError if it reads none."""
    by_log = {stream.change_log: stream for stream in pipeline.streams if stream.change_log}
    if not by_log:
        raise ConfigurationError(
            "no stream of it is read by a change log",
            place=f"pipeline {pipeline.name}",
            remedy="name a pipeline with a stream that declares capture=ChangeLog()",
        )
    return list(by_log.values())


@asynccontextmanager
async def _open(pipeline: Pipeline, stream: Stream) -> AsyncIterator[PostgresLog]:
    warehouse = await open_warehouse(pipeline)
    state = await asyncio.to_thread(warehouse.find_state, pipeline, stream)
    async with open_source(pipeline, stream, warehouse) as source:
        yield open_log(pipeline, stream.reference, source, state.ledger)
