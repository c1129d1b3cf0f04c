"""Read the change log of a source, and what changed in its tables, for all streams of a pipeline that it serves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from prefect import task

from millrace.runs.changes import read_changes
from millrace.runs.choose import ReadRequest
from millrace.runs.context import StreamContext
from millrace.tasks.connections import open_landing, open_log, open_source, open_warehouse
from millrace.tasks.extract import Extracted, make_extracted
from millrace.tasks.lease import lease_streams
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS


@task(
    name="read-change-log",
    description="Read what changed since the last run, by the change log of a connection, into batches in the lake.",
    task_run_name="read change log for {streams}",
    **TASK_OPTIONS,
)
async def read_change_log(pipeline: str, streams: Sequence[str], read_request: ReadRequest) -> list[Extracted]:
    """Read streams of one connection in one snapshot: all of them, or none."""
    begun, declared = time.monotonic(), await load_pipeline(pipeline)
    chosen = [declared.stream(name) for name in streams]
    warehouse, reference = await open_warehouse(declared), chosen[0].reference
    landing = await open_landing(declared, warehouse)
    async with (
        open_source(declared, chosen[0], warehouse) as source,
        lease_streams(warehouse, declared, chosen) as leases,
    ):
        contexts = [
            StreamContext(source, replace(landing, token=leases[stream.name].token), warehouse, declared, stream)
            for stream in chosen
        ]
        done = await read_changes(lambda ledger: open_log(declared, reference, source, ledger), contexts, read_request)
        for stream, batch in zip(chosen, done.batches, strict=True):
            if batch is not None:
                leases[stream.name].hand_on()
    return [
        replace(make_extracted(stream.name, batch, begun), retained=done.retained)
        for stream, batch in zip(chosen, done.batches, strict=True)
    ]
