"""The change logs that sources keep for a pipeline, for `millrace logs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from millrace import Pipeline, Stream
from millrace.base.errors import ConfigurationError
from millrace.change_logs.reading import KeptLog, LogEntry, SourceLog
from millrace.runs.changes import streams_of_log
from millrace.tasks.connections import open_log, open_source, open_warehouse
from millrace.tasks.pipelines import load_pipeline


async def list_logs(pipeline: str) -> list[KeptLog]:
    """Return the logs that are kept for Millrace in every database of which the pipeline reads the change log."""
    declared, found = await load_pipeline(pipeline), list[KeptLog]()
    for stream in _first_streams(declared):
        async with _open(declared, stream) as (log, entries):
            found += await asyncio.to_thread(log.list_kept, entries)
    return found


async def drop_log(pipeline: str, slot: str) -> None:
    """Drop a slot in a database of which the pipeline reads the change log. Raises ConfigurationError without one."""
    declared = await load_pipeline(pipeline)
    for stream in _first_streams(declared):
        async with _open(declared, stream) as (log, entries):
            found = await asyncio.to_thread(log.list_kept, entries)
            for kept in (kept for kept in found if kept.slot == slot):
                return await asyncio.to_thread(log.drop_kept, kept)
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
async def _open(pipeline: Pipeline, stream: Stream) -> AsyncIterator[tuple[SourceLog, Mapping[str, LogEntry]]]:
    """Open the log of a stream, with the entries of the ledger of all its streams."""
    warehouse = await open_warehouse(pipeline)
    states = {
        other.name: await asyncio.to_thread(warehouse.find_state, pipeline, other)
        for other in streams_of_log(pipeline, stream)
    }
    entries = {name: state.log for name, state in states.items() if state.log is not None}
    async with open_source(pipeline, stream, warehouse) as source:
        yield open_log(pipeline, stream.reference, source, states[stream.name].ledger), entries
