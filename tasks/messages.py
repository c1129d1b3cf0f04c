"""What an alert says, as an e-mail reads: what happened, where, why, what to do, and the link to the run.

It names streams, tables and counts: never a secret, never a value of a row. The words of an error that is not the
engine's own may hold either, so only its type is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from prefect.client.schemas.objects import FlowRun
from prefect.utilities.urls import url_for

from millrace.base.errors import MillraceError, TooManyRejects
from millrace.base.escaping import escape_unprintable
from millrace.base.redact import redact
from millrace.tasks.failures import causes, words
from millrace.tasks.report import RunReport

LISTED_FAILURES = 50
RETRY = "Remedy: retry this run, once the reason is gone; no other run does what it was asked for."
REGULAR = frozenset({"pipeline", "streams", "load"})
"""What a scheduled run of `replicate` may be asked for, beside the mode `incremental`."""


@dataclass(frozen=True)
class AlertMessage:
    """One alert. Neither part holds a secret."""

    subject: str
    body: str


@dataclass(frozen=True)
class Breach:
    """Ages of a stream's changes when they became visible in this run."""

    stream: str
    p95_seconds: float
    max_seconds: float


def failed(flow_name: str, flow_run: FlowRun, error: BaseException | None) -> AlertMessage:
    """A run ended as Failed. ``error`` is what it raised: one error, or a group of them."""
    failures = causes([error]) if error is not None else []
    threshold = bool(failures) and all(isinstance(one, TooManyRejects) for one in failures)
    what = "stopped: too many rejected rows" if threshold else "failed"
    pipeline = pipeline_of(flow_run)
    again = ["", RETRY] if is_one_off(flow_name, flow_run) else []
    lines = [
        f"{flow_name} {pipeline} {what}.",
        *_run_lines(flow_run),
        *_stream_lines(error),
        "",
        *_failure_lines(failures),
        *again,
    ]
    return _message(f"{pipeline}: {flow_name} {what}", lines)


def cancelled(flow_name: str, flow_run: FlowRun) -> AlertMessage:
    """A run was cancelled while it ran."""
    pipeline = pipeline_of(flow_run)
    next_run = "Remedy: none is needed; the next run goes on where the last load ended."
    lines = [
        f"{flow_name} {pipeline} was cancelled while it ran.",
        *_run_lines(flow_run),
        "",
        f"What was loaded before stays. {RETRY if is_one_off(flow_name, flow_run) else next_run}",
    ]
    return _message(f"{pipeline}: {flow_name} was cancelled", lines)


def breached(pipeline: str, objective: timedelta, breaches: Sequence[Breach], flow_run_id: str | None) -> AlertMessage:
    """A load made changes visible later than the objective allows."""
    lines = [
        f"Changes of {pipeline} became visible later than {minutes(objective)} after they were made.",
        f"Link:     {run_link(flow_run_id)}",
        "",
        *(
            f"- {one.stream}: 95 % within {minutes(one.p95_seconds)}, the oldest after {minutes(one.max_seconds)}"
            for one in breaches
        ),
        "",
        "Remedy: see in the run which step took long, and whether runs before it were late or failed.",
    ]
    return _message(f"{pipeline}: fresh data is late", lines)


def pipeline_of(flow_run: FlowRun) -> str:
    """The pipeline that the run was asked for; '' when its parameters do not say."""
    request = flow_run.parameters.get("request")
    return str(request.get("pipeline") or "") if isinstance(request, dict) else ""


def is_one_off(flow_name: str, flow_run: FlowRun) -> bool:
    """Whether it is a run of `replicate` that the next scheduled one does not repeat: a backfill, a sweep, a replay."""
    request = flow_run.parameters.get("request")
    if flow_name != "replicate" or not isinstance(request, dict):
        return False
    asked = {name: value for name, value in request.items() if value and name not in REGULAR}
    return asked.pop("mode", "incremental") != "incremental" or bool(asked)


def is_dry_run(flow_run: FlowRun) -> bool:
    """Whether it only shows what it would do."""
    request = flow_run.parameters.get("request")
    return isinstance(request, dict) and bool(request.get("dry_run"))


def run_link(flow_run_id: object) -> str:
    """The run's page in Prefect's UI (PREFECT_UI_URL, or PREFECT_API_URL without /api)."""
    if flow_run_id is None:
        return "no run of Prefect"
    return url_for("flow-run", obj_id=str(flow_run_id)) or f"flow run {flow_run_id}"


def minutes(age: timedelta | float) -> str:
    """A span for people: ``45 seconds``, ``31 minutes``, ``26 hours``."""
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    for unit_seconds, unit in ((7200, "hours"), (120, "minutes")):
        if seconds >= unit_seconds:
            return f"{seconds / (unit_seconds / 2):.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _run_lines(flow_run: FlowRun) -> list[str]:
    return [
        f"Pipeline: {escape_unprintable(pipeline_of(flow_run)) or '-'}",
        f"Run:      {escape_unprintable(flow_run.name)}",
        f"Link:     {run_link(flow_run.id)}",
    ]


def _stream_lines(error: BaseException | None) -> Iterator[str]:
    """What was not loaded: a cause may be of a server, and of all streams that it serves."""
    report = getattr(error, "report", None)
    if isinstance(report, RunReport) and (names := [row.stream for row in report.streams if row.reason]):
        yield f"Failed:   stream {escape_unprintable(', '.join(names))}"


def _failure_lines(failures: Sequence[BaseException]) -> Iterator[str]:
    for number, failure in enumerate(failures[:LISTED_FAILURES], 1):
        yield f"{number}. {_words(failure)}"
    if further := failures[LISTED_FAILURES:]:
        yield f"and {len(further)} more: see the run."
    if not failures:
        yield "The reason stands in the run's log."


def _words(failure: BaseException) -> str:
    if not isinstance(failure, MillraceError):
        return words(failure)
    where = f"{failure.place}: " if failure.place else ""
    remedy = f"\n   Remedy: {failure.remedy}" if failure.remedy else ""
    return f"{where}{failure.problem}{remedy}"


def _message(subject: str, lines: Sequence[str]) -> AlertMessage:
    told = (
        escape_unprintable(redact(f"[millrace] {subject.removeprefix(': ')}")),
        escape_unprintable(redact("\n".join(lines)), keep="\n"),
    )
    return AlertMessage(told[0], told[1] + "\n")
