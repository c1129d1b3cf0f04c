"""The run's report: one row per stream, as an artifact that people see beside the run.

What does not belong here: counting (the apply transaction does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from prefect import task
from prefect.artifacts import acreate_table_artifact

from tasks.extract import Extracted
from tasks.load import Loaded
from tasks.policy import STEP


@dataclass(frozen=True)
class StreamReport:
    """One stream's run: ``read`` = ``loaded`` + ``unchanged`` + ``rejected``. ``kind`` is the batch's: window, sweep,
    replay; '' when there was nothing to read."""

    stream: str
    target: str
    kind: str
    read: int
    loaded: int
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    rejected: int
    seconds: float
    changes: tuple[str, ...] = ()
    note: str = ""


def stream_report(extracted: Extracted, loaded: Loaded | None, target: str) -> StreamReport:
    """The row of one stream; ``loaded`` is None when there was nothing to load."""
    if loaded is None:
        return StreamReport(extracted.stream, target, "", 0, 0, 0, 0, 0, 0, 0, round(extracted.seconds, 2))
    result = loaded.result
    return StreamReport(
        result.stream,
        result.target,
        extracted.kind,
        result.read,
        result.loaded,
        result.inserted,
        result.updated,
        result.deleted,
        result.unchanged,
        result.rejected,
        round(extracted.seconds + loaded.seconds, 2),
        result.changes,
        "; ".join([*filter(None, [extracted.note]), *result.warnings]),
    )


@task(name="report", **STEP)
async def publish_report(pipeline: str, streams: Sequence[StreamReport]) -> None:
    """Write the table artifact `millrace-<pipeline>`."""
    await acreate_table_artifact(
        key=f"millrace-{pipeline.replace('_', '-')}",
        table=[{**asdict(stream), "changes": "; ".join(stream.changes)} for stream in streams],
        description=f"Pipeline `{pipeline}`: per stream read = loaded + unchanged + rejected.",
    )
