"""Messages of alerts, written as e-mails: what happened, where, why, what to do, and the link to the run.

They name streams, tables and counts: never a secret, never a value of a row. The message of an error that Millrace did
not raise may contain either, so only its type is named.
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
from millrace.change_logs.retention import RetainedLog, describe_retained_log
from millrace.tasks.alert_memory import Occasion
from millrace.tasks.failures import describe_error, distinct_errors
from millrace.tasks.report import RunReport

LISTED_FAILURES = 50
RETRY_REMEDY = "Remedy: retry this run when the cause is fixed; no other run does what it was asked for."
SCHEDULED_FIELDS = frozenset({"pipeline", "streams", "load"})
"""Fields that the request of a scheduled run of `replicate` may set, besides the mode `incremental`."""


@dataclass(frozen=True)
class AlertMessage:
    """Subject and body of one alert, without secrets."""

    subject: str
    body: str


@dataclass(frozen=True)
class Breach:
    """How old the changes of a stream were when they became visible in this run."""

    stream: str
    """Name of the stream."""
    p95_seconds: float
    """The age that 95 percent of the changes did not exceed."""
    max_seconds: float
    """The age of the oldest change."""


def failure_message(flow_name: str, flow_run: FlowRun, error: BaseException | None) -> AlertMessage:
    """Return the message about a failed run. ``error`` is what it raised: one error, or a group of them."""
    failures = distinct_errors([error]) if error is not None else []
    has_too_many_rejects = bool(failures) and all(isinstance(failure, TooManyRejects) for failure in failures)
    what = "stopped: too many rejected rows" if has_too_many_rejects else "failed"
    pipeline = pipeline_of(flow_run)
    again = ["", RETRY_REMEDY] if is_one_off(flow_name, flow_run) else []
    lines = [
        f"{flow_name} {pipeline} {what}.",
        *_run_lines(flow_run),
        *_stream_lines(error),
        "",
        *_failure_lines(failures),
        *again,
    ]
    return _message(f"{pipeline}: {flow_name} {what}", lines)


def cancellation_message(flow_name: str, flow_run: FlowRun) -> AlertMessage:
    """Return the message about a run that was cancelled while it ran."""
    pipeline = pipeline_of(flow_run)
    next_run = "Remedy: none is needed; the next run starts where the last load ended."
    lines = [
        f"{flow_name} {pipeline} was cancelled while it ran.",
        *_run_lines(flow_run),
        "",
        f"What was loaded before stays. {RETRY_REMEDY if is_one_off(flow_name, flow_run) else next_run}",
    ]
    return _message(f"{pipeline}: {flow_name} was cancelled", lines)


def breach_message(
    pipeline: str, objective: timedelta, breaches: Sequence[Breach], flow_run_id: str | None
) -> AlertMessage:
    """Return the message about a load that made changes visible later than the objective allows."""
    lines = [
        f"Changes of {pipeline} became visible later than {duration_text(objective)} after they were made.",
        f"Link:     {run_link(flow_run_id)}",
        "",
        *(
            f"- {breach.stream}: 95 % within {duration_text(breach.p95_seconds)}, "
            f"the oldest after {duration_text(breach.max_seconds)}"
            for breach in breaches
        ),
        "",
        "Remedy: see in the run which step took long, and whether runs before it were late or failed.",
    ]
    return _message(f"{pipeline}: fresh data is late", lines)


def retained_log_message(
    pipeline: str, cli_name: str, retained: RetainedLog, occasion: Occasion, flow_run_id: str | None
) -> AlertMessage:
    """Return the message about a source that keeps much of its change log, or does not any more."""
    said = describe_retained_log(retained, cli_name)
    if occasion == "recovered":
        lines = [f"The change log that {retained.place} keeps for {pipeline} is small again.", said]
        return _message(f"{pipeline}: the change log is read again", lines)
    lines = [
        f"The source of {pipeline} keeps much of its change log, because it was not read for long.",
        said,
        f"Link:     {run_link(flow_run_id)}",
        "",
        "Remedy: see that the runs of the pipeline succeed, and resume its paused streams; if the log cannot be kept, "
        f"give it up by `millrace logs {cli_name} --drop SLOT`: the next run compares whole tables instead.",
    ]
    still = "still " if occasion == "again" else ""
    return _message(f"{pipeline}: a source {still}keeps much of its change log", lines)


def pipeline_of(flow_run: FlowRun) -> str:
    """Return the pipeline in the parameters of a run; '' if they name none."""
    request = flow_run.parameters.get("request")
    return str(request.get("pipeline") or "") if isinstance(request, dict) else ""


def is_one_off(flow_name: str, flow_run: FlowRun) -> bool:
    """Return whether no scheduled run repeats this run of `replicate`: a backfill, a sweep, a replay."""
    request = flow_run.parameters.get("request")
    if flow_name != "replicate" or not isinstance(request, dict):
        return False
    asked = {name: value for name, value in request.items() if value and name not in SCHEDULED_FIELDS}
    return asked.pop("mode", "incremental") != "incremental" or bool(asked)


def is_dry_run(flow_run: FlowRun) -> bool:
    """Return whether a run only shows what it would do."""
    request = flow_run.parameters.get("request")
    return isinstance(request, dict) and bool(request.get("dry_run"))


def run_link(flow_run_id: object) -> str:
    """Return the address of a run in Prefect's UI (PREFECT_UI_URL, or PREFECT_API_URL without /api)."""
    if flow_run_id is None:
        return "no run of Prefect"
    return url_for("flow-run", obj_id=str(flow_run_id)) or f"flow run {flow_run_id}"


def duration_text(age: timedelta | float) -> str:
    """Return a duration as people write it: ``45 seconds``, ``31 minutes``, ``26 hours``."""
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
    """Yield a line with the streams that were not loaded, because one cause may stop several streams."""
    report = getattr(error, "report", None)
    if isinstance(report, RunReport) and (names := [row.stream for row in report.streams if row.reason]):
        yield f"Failed:   stream {escape_unprintable(', '.join(names))}"


def _failure_lines(failures: Sequence[BaseException]) -> Iterator[str]:
    for number, failure in enumerate(failures[:LISTED_FAILURES], 1):
        yield f"{number}. {_words(failure)}"
    if further := failures[LISTED_FAILURES:]:
        yield f"and {len(further)} more: see the run."
    if not failures:
        yield "See the reason in the run's log."


def _words(failure: BaseException) -> str:
    if not isinstance(failure, MillraceError):
        return describe_error(failure)
    where = f"{failure.place}: " if failure.place else ""
    remedy = f"\n   Remedy: {failure.remedy}" if failure.remedy else ""
    return f"{where}{failure.problem}{remedy}"


def _message(subject: str, lines: Sequence[str]) -> AlertMessage:
    return AlertMessage(
        subject=escape_unprintable(redact(f"[millrace] {subject.removeprefix(': ')}")),
        body=escape_unprintable(redact("\n".join(lines)), keep="\n") + "\n",
    )
