"""Run the flow that reads and loads streams, and show what came of each."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from millrace.base.errors import ConfigurationError
from millrace.cli.command import absolute_path, build_request, fail, name_options, print_message, run_flow
from millrace.declaration.consent import NO_CONSENT, Consent

if TYPE_CHECKING:
    from millrace.flows.collect import CollectRequest
    from millrace.flows.follow import FollowRequest
    from millrace.flows.request import ReplicateRequest
    from millrace.runs.choose import Mode
    from millrace.tasks.report import RunReport

RUN_OPTIONS = {
    "pipeline": "PIPELINE",
    "streams": "--stream",
    "mode": "--full",
    "window": "--from and --to",
    "window.start": "--from",
    "window.end": "--to",
    "deep": "--deep",
}
"""The option or argument of each field of a request that is not named after the field."""


def build_replication(
    pipeline: str,
    streams: list[str] | None,
    mode: Mode,
    start: datetime | None = None,
    end: datetime | None = None,
    dry_run: bool = False,
    consent: Consent = NO_CONSENT,
    deep: bool = False,
    load_now: bool = False,
) -> ReplicateRequest:
    """Return the request of a run; invalid options end the command."""
    from millrace.flows.request import ReplicateRequest

    window = {"start": start, "end": end} if start or end else None
    asked = {"pipeline": absolute_path(pipeline), "streams": streams, "mode": mode, "window": window, "deep": deep}
    asked |= {"load_now": load_now}
    return build_request(ReplicateRequest, {**asked, "dry_run": dry_run, **vars(consent)}, RUN_OPTIONS)


def run_replication(request: ReplicateRequest, as_json: bool) -> None:
    """Run the flow, and show the result of every stream, also when some failed."""
    from millrace.flows.replicate import replicate

    check_streams(request)

    def show(report: RunReport) -> None:
        _print(report, as_json)

    report = run_flow(replicate(request), show)
    show(report)
    for row in report.streams:
        if row.status == "busy":
            print_message(f"skipped: {row.reason}")


def check_streams(request: ReplicateRequest | CollectRequest | FollowRequest) -> None:
    """End the command for a stream that the pipeline does not have, and for what it cannot do.

    What wildcards stand for, only the run finds.
    """
    from millrace.declaration.find import find_pipeline

    try:
        pipeline = find_pipeline(request.pipeline)
        if not pipeline.wildcards:
            request.choose_streams(pipeline)
    except ConfigurationError as error:
        fail(ConfigurationError(error.problem, place=error.place, remedy=name_options(error.remedy, RUN_OPTIONS)))


def _print(report: RunReport, as_json: bool) -> None:
    from millrace.cli.show import print_json, print_lines, print_plans, print_report

    if as_json:
        print_json(report)
    elif report.plans:
        print_plans(report.plans)
        print_lines(report.told)
    else:
        print_report(report)
