"""The commands that read streams: run, plan, sweep and replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.command import (
    AsJson,
    DryRun,
    PipelineName,
    absolute_path,
    build_request,
    parse_seconds,
    refuse_options,
    run_flow,
)
from millrace.cli.options import AcceptRejects, AcceptSource, AllowDeletes, End, Full, Start, StreamNames
from millrace.cli.replication import build_replication, check_streams, run_replication
from millrace.declaration.consent import Consent

if TYPE_CHECKING:
    from millrace.runs.choose import Mode

Every = Annotated[
    str | None, typer.Option("--every", help="Do it again after this time, until Ctrl-C: 10s, 2m.", show_default=False)
]
LoadNow = Annotated[
    bool, typer.Option("--load-now", help="Load at once, with what waits in the lake (for pipelines with load_every).")
]
Deep = Annotated[
    bool,
    typer.Option("--deep", help="Read the values in the warehouse too: finds what somebody changed there by hand."),
]


def run(
    pipeline: PipelineName,
    stream: StreamNames = None,
    full: Full = False,
    start: Start = None,
    end: End = None,
    accept_rejects: AcceptRejects = False,
    allow_deletes: AllowDeletes = False,
    accept_source: AcceptSource = False,
    load_now: LoadNow = False,
    dry_run: DryRun = False,
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Load what changed into the warehouse; with --every again and again, until Ctrl-C."""
    mode: Mode = "full" if full else "incremental"
    consent = Consent(accept_rejects, allow_deletes, accept_source)
    if every is not None:
        asked = {"full": full, "from": start, "to": end, "dry_run": dry_run, **vars(consent)}
        asked |= {"load_now": load_now}
        given = {name: value or None for name, value in asked.items()}
        refuse_options(given, "a run with --every reads what changed: run once with this option first")
        _follow(pipeline, stream, every, as_json)
        return
    run_replication(build_replication(pipeline, stream, mode, start, end, dry_run, consent, load_now=load_now), as_json)


def plan(
    pipeline: PipelineName,
    stream: StreamNames = None,
    full: Full = False,
    start: Start = None,
    end: End = None,
    as_json: AsJson = False,
) -> None:
    """Show windows, queries, schema changes and SQL of a run. Changes nothing."""
    mode: Mode = "full" if full else "incremental"
    run_replication(build_replication(pipeline, stream, mode, start, end, True), as_json)


def sweep(
    pipeline: PipelineName,
    stream: StreamNames = None,
    deep: Deep = False,
    accept_rejects: AcceptRejects = False,
    allow_deletes: AllowDeletes = False,
    accept_source: AcceptSource = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compare all of source and warehouse: finds deletes, and updates that the cursor does not show."""
    consent = Consent(accept_rejects, allow_deletes, accept_source)
    request = build_replication(pipeline, stream, "sweep", dry_run=dry_run, consent=consent, deep=deep)
    run_replication(request, as_json)


def replay(
    pipeline: PipelineName,
    stream: StreamNames = None,
    accept_rejects: AcceptRejects = False,
    as_json: AsJson = False,
) -> None:
    """Read rejected rows again, after the contract or the data was fixed."""
    run_replication(build_replication(pipeline, stream, "replay", consent=Consent(accept_rejects)), as_json)


def _follow(pipeline: str, streams: list[str] | None, every: str, as_json: bool) -> None:
    """Read and load again and again, and show what was done when it ends."""
    from millrace.cli.show import print_json, print_lines
    from millrace.flows.follow import FollowRequest, follow

    asked = {"pipeline": absolute_path(pipeline), "streams": streams, "every_seconds": parse_seconds(every)}
    request = build_request(FollowRequest, asked, {"every_seconds": "--every", "streams": "--stream"})
    check_streams(request)
    followed = run_flow(follow(request))
    age = followed.greatest_age_seconds
    ages = "" if age is None else f", the oldest {age:.1f} s old when it was visible"
    said = f"{followed.cycles:,} cycles, {followed.failures:,} failed, {followed.changes:,} changes{ages}"
    print_json(followed) if as_json else print_lines([said])
