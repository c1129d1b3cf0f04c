"""Extract one stream into one batch: a task per kind of source, for the extract flows to run side by side.

A task hands on the key of the batch's manifest and counts, never data.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from prefect import Task, task

from millrace.change_logs.retention import RetainedLog
from millrace.declaration.source_kinds import SOURCE_KINDS, SourceKind
from millrace.lake.batch import Batch
from millrace.runs.choose import ReadRequest, leave_out_outdated, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import ReportRows
from millrace.runs.gathered import find_due, is_waiting
from millrace.tasks.connections import open_landing, open_source, open_warehouse
from millrace.tasks.lease import lease_stream
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS
from millrace.tasks.progress import log_now_and_then

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Extracted:
    """What a read gave."""

    stream: str
    manifest: str | None
    """The key of the manifest of its batch; None when there was nothing to read."""
    kind: str
    """The kind of the batch; '' when there is none."""
    read: int
    rejected: int
    seconds: float
    loads_at: datetime | None = None
    """When the batches of the stream that wait in the lake are to be loaded; None: none waits."""
    retained: RetainedLog | None = None
    """What the source keeps of its change log for this stream and others; None: it was not read by a change log."""


ExtractStream = Task[[str, str, ReadRequest], Coroutine[Any, Any, Extracted]]


def _task_of(kind: SourceKind) -> ExtractStream:
    async def extract_stream(pipeline: str, stream: str, read_request: ReadRequest) -> Extracted:
        return await _extract(pipeline, stream, read_request)

    # Prefect tells tasks apart by it.
    extract_stream.__qualname__ = f"extract_{kind.name}_stream"
    what = "what was collected of a queue since the last run" if kind.is_queue else f"a {kind.title} {kind.unit}"
    return task(
        name=f"extract-{kind.name}-stream",
        description=f"Read {what}, or a part of it, into a batch in the lake.",
        task_run_name="extract {stream}",
        **TASK_OPTIONS,
    )(extract_stream)


EXTRACT_STREAM: dict[SourceKind, ExtractStream] = {kind: _task_of(kind) for kind in SOURCE_KINDS.values()}
"""The task that reads one stream into one batch, by the kind of its source."""


async def _extract(pipeline: str, stream: str, read_request: ReadRequest) -> Extracted:
    begun = time.monotonic()
    declared = await load_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    declared_stream, landing = (
        declared.stream(stream),
        await open_landing(declared, warehouse, _report_progress(stream)),
    )
    async with (
        open_source(declared, declared_stream, warehouse) as source,
        lease_stream(warehouse, declared, declared_stream) as lease,
    ):
        landing = replace(landing, token=lease.token)
        context = StreamContext(source, landing, warehouse, declared, declared_stream)
        read_request = await leave_out_outdated(context, read_request)
        batch = await read(context, read_request)
        waits = read_request.may_wait and batch is not None and is_waiting(declared, batch)
        if batch is not None and waits:
            await asyncio.to_thread(warehouse.land, declared, batch)
        elif batch is not None:
            lease.hand_on()
    extracted = make_extracted(stream, batch, begun)
    if declared.load_every is None:
        return extracted
    loads_at = await asyncio.to_thread(find_due, warehouse, declared, declared_stream)
    return replace(extracted, manifest=None if waits else extracted.manifest, loads_at=loads_at)


def make_extracted(stream: str, batch: Batch | None, begun: float) -> Extracted:
    """Return what a read gave that began at a time of the monotonic clock."""
    seconds = time.monotonic() - begun
    if batch is None:
        return Extracted(stream, None, "", 0, 0, seconds)
    return Extracted(stream, batch.manifest_key, batch.kind, batch.counts.read, batch.counts.rejected, seconds)


def find_retained_logs(read: Mapping[str, Extracted | Exception]) -> dict[str, RetainedLog]:
    """Return what sources keep of their change logs, by stream."""
    return {
        name: outcome.retained
        for name, outcome in read.items()
        if isinstance(outcome, Extracted) and outcome.retained is not None
    }


def _report_progress(stream: str) -> ReportRows:
    log = log_now_and_then(PROGRESS_SECONDS)
    return lambda rows: log("%s: %s rows read", stream, f"{rows:,}")
