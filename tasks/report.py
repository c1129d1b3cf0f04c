"""The run's report: one row per stream and model, as an artifact that people see beside the run.

What does not belong here: counting (the apply transaction does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from prefect import task
from prefect.artifacts import acreate_table_artifact

from millrace.warehouse.ledger import LoadResult
from tasks.plan import StreamPlan
from tasks.policy import STEP


@dataclass(frozen=True)
class StreamReport:
    """One stream's (or model's) run: ``read`` = ``loaded`` + ``unchanged`` + ``rejected``. ``kind`` is the batch's:
    window, sweep, snapshot, replay, model; '' when there was nothing to read. ``silent`` of the changed rows did not
    move their stamp; of the others the ages tell how old they were, in seconds, when they became visible (None: there
    were none, or it was the first load)."""

    stream: str
    target: str
    kind: str = ""
    read: int = 0
    loaded: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    seconds: float = 0
    silent: int = 0
    age_p50_seconds: float | None = None
    age_p95_seconds: float | None = None
    age_max_seconds: float | None = None
    changes: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class RunReport:
    """What a run did, or (dry run) would do."""

    pipeline: str
    streams: tuple[StreamReport, ...] = ()
    plans: tuple[StreamPlan, ...] = ()


def report_of(result: LoadResult, seconds: float) -> StreamReport:
    """The row of one batch that was loaded; ``seconds`` is what reading and loading it alone took."""
    fresh = result.freshness
    return StreamReport(
        result.stream,
        result.target,
        result.kind,
        result.read,
        result.loaded,
        result.inserted,
        result.updated,
        result.deleted,
        result.unchanged,
        result.rejected,
        round(seconds, 2),
        fresh.silent if fresh else 0,
        fresh.p50_seconds if fresh else None,
        fresh.p95_seconds if fresh else None,
        fresh.max_seconds if fresh else None,
        result.changes,
        "; ".join(result.warnings),
    )


@task(name="report", **STEP)
async def publish_report(pipeline: str, streams: Sequence[StreamReport]) -> None:
    """Write the table artifact `millrace-<pipeline>`."""
    await acreate_table_artifact(
        key=f"millrace-{pipeline.replace('_', '-')}",
        table=[{**asdict(stream), "changes": "; ".join(stream.changes)} for stream in streams],
        description=f"Pipeline `{pipeline}`: per stream read = loaded + unchanged + rejected.",
    )
