"""The run's report: one row per stream and model, as an artifact that people see beside the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact
from typing_extensions import override

from millrace import Pipeline
from millrace.base.escaping import escape_markdown, escape_unprintable
from millrace.change_logs.retention import RetainedLog, describe_retained_log
from millrace.tasks.failures import Failure, describe_error, distinct_errors, status_of
from millrace.tasks.plan import StreamPlan
from millrace.tasks.policy import TASK_OPTIONS, artifact_key
from millrace.warehouse.freshness import Freshness
from millrace.warehouse.ledger.load_result import LoadResult

Status = Literal["loaded", "landed", "nothing new", "paused", Failure]


@dataclass(frozen=True)
class StreamReport:
    """What a run did to one stream or model: ``read`` = ``loaded`` + ``unchanged`` + ``rejected``."""

    stream: str
    """Name of the stream or model."""
    target: str
    """``schema.table`` of its target."""
    kind: str = ""
    """How the batch came about: window, sweep, snapshot, log, replay, model; '' when there was nothing to read."""
    read: int = 0
    """Rows that the source gave, and rows of the target that it lacks."""
    loaded: int = 0
    """Rows that changed the target."""
    inserted: int = 0
    """Rows of new keys."""
    updated: int = 0
    """Rows that took the place of others."""
    deleted: int = 0
    """Rows that were deleted, marked or closed."""
    unchanged: int = 0
    """Rows that are in the target as they were read."""
    rejected: int = 0
    """Rows that are not loaded."""
    seconds: float = 0
    """How long reading and loading took."""
    silent: int = 0
    """Changed rows that did not move their cursor column."""
    age_p50_seconds: float | None = None
    """How old the other changed rows were when they became visible: the median. None: there were none, or it was the
    first load."""
    age_p95_seconds: float | None = None
    """How old 95 percent of the other changed rows were at most when they became visible."""
    age_max_seconds: float | None = None
    """How old the oldest of the other changed rows was when it became visible."""
    retained_log_bytes: int | None = None
    """How much of its change log the source keeps for the streams of the pipeline that it serves; None: it does not
    tell, or the stream is read in another way."""
    used_log_share: float | None = None
    """The share of what the source may keep of its log that lies behind the last read, from 0 to 1; None: no limit is
    known."""
    changes: tuple[str, ...] = ()
    """The schema changes that were made."""
    note: str = ""
    """What a person should look at."""
    status: Status = "nothing new"
    """How it ended."""
    reason: str = ""
    """Why it was not loaded; '' if it was."""


@dataclass(frozen=True)
class RunReport:
    """What a run did, or (dry run) would do."""

    pipeline: str
    """Name of the pipeline."""
    streams: tuple[StreamReport, ...] = ()
    """What it did to each stream and model."""
    plans: tuple[StreamPlan, ...] = ()
    """What a dry run would do to each."""
    told: tuple[str, ...] = ()
    """Which tables of wildcards are new, gone, or not replicated."""


def make_report(pipeline: Pipeline, result: LoadResult, seconds: float) -> StreamReport:
    """Return the report of one batch that was loaded; ``seconds`` is what reading and loading it alone took."""
    age = result.freshness or Freshness(stamped=0, silent=0)
    return StreamReport(
        stream=result.stream,
        target=result.target,
        kind=result.kind,
        read=result.read,
        loaded=result.loaded,
        inserted=result.inserted,
        updated=result.updated,
        deleted=result.deleted,
        unchanged=result.unchanged,
        rejected=result.rejected,
        seconds=round(seconds, 2),
        silent=age.silent,
        age_p50_seconds=age.p50_seconds,
        age_p95_seconds=age.p95_seconds,
        age_max_seconds=age.max_seconds,
        changes=result.changes,
        note="; ".join((*result.warnings, *_note_of_deletes(result), *_note_of_rejects(pipeline, result))),
        status="loaded" if result.loaded or result.rejected or result.changes else "nothing new",
    )


def make_empty_report(
    pipeline: Pipeline, stream: str, status: Status = "nothing new", reason: str = ""
) -> StreamReport:
    """Return the report of a stream that loaded nothing."""
    target = f"{pipeline.target_schema}.{pipeline.stream(stream).table}"
    return StreamReport(stream, target, status=status, reason=reason)


def make_failed_report(pipeline: Pipeline, stream: str, error: Exception) -> StreamReport:
    """Return the report of a stream that could not be read or loaded."""
    return make_empty_report(pipeline, stream, status_of(error), describe_error(error))


def make_paused_report(pipeline: Pipeline, stream: str, note: str) -> StreamReport:
    """Return the report of a stream that the run left out; it is no failure."""
    return add_note(make_empty_report(pipeline, stream, "paused"), note)


def add_retained_log(row: StreamReport, pipeline: Pipeline, retained: RetainedLog | None) -> StreamReport:
    """Return the report with what the source keeps of its change log, and a note if that is much."""
    if retained is None:
        return row
    found, share = retained.retention, retained.retention.used_share
    row = replace(
        row, retained_log_bytes=found.retained_bytes, used_log_share=None if share is None else round(share, 3)
    )
    return add_note(row, describe_retained_log(retained, pipeline.cli_name)) if found.is_high else row


def add_note(row: StreamReport, note: str) -> StreamReport:
    """Return the report with a further note; '' adds nothing."""
    return replace(row, note="; ".join(filter(None, [row.note, note])))


class RunFailed(ExceptionGroup[Exception]):
    """Some of a run failed: every cause once, and ``report``, which has a row for each stream."""

    report: RunReport

    def __new__(cls, message: str, causes: Sequence[Exception], report: RunReport | None = None) -> RunFailed:
        """As ExceptionGroup, with the report."""
        group = super().__new__(cls, message, causes)
        group.report = report or RunReport("")
        return group

    @override
    def __str__(self) -> str:
        return str(self.message)

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.message}"


def make_run_failed(report: RunReport, failures: Sequence[Exception]) -> RunFailed:
    """Return the error of a run; its message names the streams that were not loaded (or planned), and why."""
    rows: list[StreamReport | StreamPlan] = [*report.streams, *report.plans]
    names = ", ".join(row.stream for row in rows if row.reason)
    reasons = [error for error in distinct_errors(failures) if isinstance(error, Exception)]
    return RunFailed(f"failed: {names}. {' '.join(map(describe_error, reasons))}", reasons, report)


def _note_of_deletes(result: LoadResult) -> tuple[str, ...]:
    """Tell how many rows the source really gave: a deleted row counts as read, so that counts add up."""
    given = result.read - result.deleted
    rows = "1 row" if given == 1 else f"{given:,} rows"
    several = f"{result.deleted:,} deleted ones that it lacks count"
    deleted = "deleted one that it lacks counts" if result.deleted == 1 else several
    return (f"the source gave {rows}; the {deleted} as read",) if result.deleted else ()


def _note_of_rejects(pipeline: Pipeline, result: LoadResult) -> tuple[str, ...]:
    """Tell that rows were rejected, and how to see them: a green run names what it left behind."""
    rows = "row was" if result.rejected == 1 else "rows were"
    note = f"{result.rejected:,} {rows} rejected: millrace rejects {pipeline.cli_name}"
    return (note,) if result.rejected else ()


@task(name="report", **TASK_OPTIONS)
async def publish_report(pipeline: str, streams: Sequence[StreamReport], told: Sequence[str] = ()) -> None:
    """Write the table artifact `millrace-<pipeline>`, and a line for each row into the log.

    Lines that are ``told`` stand above the table.
    """
    for row in streams:
        counts = f"read {row.read:,}, loaded {row.loaded:,}, rejected {row.rejected:,}, {row.seconds:.1f} s"
        get_run_logger().info("%s: %s, %s", row.stream, row.status, counts)
    await acreate_table_artifact(
        key=artifact_key("millrace", pipeline),
        table=[_cells(stream) for stream in streams],
        description="\n\n".join(
            [f"Pipeline `{pipeline}`: per stream read = loaded + unchanged + rejected.", *map(escape_markdown, told)]
        ),
    )


def _cells(row: StreamReport) -> dict[str, Any]:
    """Return the cells of a row of the table; what matters most comes first."""
    cells = {
        name: escape_unprintable(value) if isinstance(value, str) else value for name, value in asdict(row).items()
    }
    first = {name: cells.pop(name) for name in ("stream", "status", "reason")}
    return {**first, **cells, "changes": escape_unprintable("; ".join(row.changes))}
