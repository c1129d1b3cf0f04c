"""Batches that wait in the lake, and loading them in the order in which they were read (``Pipeline.load_every``)."""

from __future__ import annotations

from datetime import UTC, datetime

from millrace.base.errors import ConfigurationError, MillraceError, RetryableError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.manifest import read_manifest
from millrace.lake.store import ObjectStore
from millrace.sources.chunk import Window
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.stream_state import StreamState
from millrace.warehouse.warehouse import Warehouse


def may_wait(pipeline: Pipeline, state: StreamState, window: Window) -> bool:
    """Return whether the batch of a window may wait in the lake: it goes on from a batch that was applied or waits.

    Raises ConfigurationError if leases are not kept in the lake.
    """
    if pipeline.load_every is None:
        return False
    if state.newest_batch is None:
        raise ConfigurationError(
            "load_every gathers batches in the lake, and leases are kept in the warehouse",
            place=f"pipeline {pipeline.name}",
            remedy="set WAREHOUSE_LEASES=lake, or take out load_every",
        )
    return bool(state.newest_batch) and window.lower is not None and not window.is_chosen


def is_waiting(pipeline: Pipeline, batch: Batch) -> bool:
    """Return whether a batch of a run that lets batches wait is one that may."""
    progress = batch.progress
    goes_on = bool(progress.predecessor) and progress.lower is not None and progress.position is not None
    return pipeline.load_every is not None and batch.kind == "window" and goes_on


def find_due(warehouse: Warehouse, pipeline: Pipeline, stream: Stream) -> datetime | None:
    """Return when the batches that wait are to be loaded; None: none waits."""
    landed = warehouse.list_landed(pipeline, stream)
    return landed[0].landed_at.astimezone(UTC) + pipeline.load_every if landed and pipeline.load_every else None


def load_landed(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, stream: Stream, token: int
) -> list[LoadResult]:
    """Load the batches that wait, each in a commit of its own, under the lease with this token.

    Batches that cannot be loaded are left out before the error is raised, so that the next run reads their rows again,
    from the position of the ledger: what was corrected in the source meanwhile must not wait behind them for ever.
    """
    results: list[LoadResult] = []
    try:
        for landed in warehouse.list_landed(pipeline, stream):
            batch = read_manifest(store, landed.manifest)
            results += warehouse.load(pipeline, [batch], store, {stream.name: token})
    except RetryableError:
        raise
    except MillraceError:
        warehouse.forget_landed(pipeline, stream)
        raise
    return results
