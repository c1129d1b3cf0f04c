"""The command `millrace`: run, plan, sweep, replay and inspect pipelines from a terminal.

Results go to stdout (a table, or JSON with ``--json``), the flows' logs to stderr. Exit codes: 0 done, 1 the run
failed, 2 the request or the configuration is wrong.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.cli import fixtures, sample
from millrace.cli.command import (
    FAILED,
    MOMENT_FORMATS,
    AsJson,
    DryRun,
    PipelineName,
    absolute_path,
    build_request,
    fail,
    name_options,
    parse_seconds,
    print_message,
    refuse_options,
    run_flow,
)
from millrace.cli.init import init
from millrace.cli.logs import logs
from millrace.cli.stream_life import pause, rename, reset, resume
from millrace.declaration.consent import NO_CONSENT, Consent

if TYPE_CHECKING:
    from millrace.flows.collect import CollectRequest
    from millrace.flows.follow import FollowRequest
    from millrace.flows.request import ReplicateRequest
    from millrace.runs.choose import Mode
    from millrace.tasks.report import RunReport


class _Commands(TyperGroup):
    """A group of commands that accepts `--debug` at any position."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if DEBUG in args:
            args = [DEBUG, *(argument for argument in args if argument != DEBUG)]
        return super().parse_args(ctx, args)


DEBUG = "--debug"
application = typer.Typer(
    name="millrace",
    cls=_Commands,
    help="Copy changes of operational databases into the warehouse, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StreamNames = Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only this stream (repeatable).")]
Every = Annotated[
    str | None, typer.Option("--every", help="Do it again after this time, until Ctrl-C: 10s, 2m.", show_default=False)
]
Full = Annotated[bool, typer.Option("--full", help="Read everything, not only what changed.")]
Start = Annotated[
    datetime | None, typer.Option("--from", formats=MOMENT_FORMATS, help="First moment of a window (inclusive, UTC).")
]
End = Annotated[
    datetime | None, typer.Option("--to", formats=MOMENT_FORMATS, help="Last moment of a window (exclusive, UTC).")
]
FirstDay = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (inclusive, UTC).")]
EndDay = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (exclusive, UTC).", show_default="tomorrow"),
]
AcceptRejects = Annotated[
    bool, typer.Option("--accept-rejects", help="Commit even if more rows were rejected than a stream allows.")
]
AllowDeletes = Annotated[
    bool, typer.Option("--allow-deletes", help="Commit even if more rows would be deleted than a stream allows.")
]
AcceptSource = Annotated[
    bool, typer.Option("--accept-source", help="Read a stream from its new source, and compare that with the target.")
]
LoadNow = Annotated[
    bool, typer.Option("--load-now", help="Load at once, with what waits in the lake (for pipelines with load_every).")
]
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
Debug = Annotated[bool, typer.Option(DEBUG, help="Log everything, with tracebacks.")]
Deep = Annotated[
    bool,
    typer.Option("--deep", help="Read the values in the warehouse too: finds what somebody changed there by hand."),
]


@application.command()
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
    _replicate(_request(pipeline, stream, mode, start, end, dry_run, consent, load_now=load_now), as_json)


@application.command()
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
    _replicate(_request(pipeline, stream, mode, start, end, True), as_json)


@application.command()
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
    request = _request(pipeline, stream, "sweep", dry_run=dry_run, consent=consent, deep=deep)
    _replicate(request, as_json)


@application.command()
def replay(
    pipeline: PipelineName,
    stream: StreamNames = None,
    accept_rejects: AcceptRejects = False,
    as_json: AsJson = False,
) -> None:
    """Read rejected rows again, after the contract or the data was fixed."""
    _replicate(_request(pipeline, stream, "replay", consent=Consent(accept_rejects)), as_json)


@application.command()
def collect(
    pipeline: PipelineName,
    stream: StreamNames = None,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after this time; 0: no limit.", show_default="240")
    ] = None,
    messages: Annotated[
        int | None, typer.Option(help="Stop after this many messages.", show_default="no limit")
    ] = None,
    keep_on: Annotated[bool, typer.Option("--keep-on", help="Go on when the queue is empty.")] = False,
    lanes: Annotated[int | None, typer.Option(help="Number of concurrent requests.", show_default="8")] = None,
    object_messages: Annotated[
        int | None, typer.Option(help="Write an object when this many messages wait.", show_default="5000")
    ] = None,
    flush_seconds: Annotated[
        float | None, typer.Option(help="The longest that a message waits for its object.", show_default="30")
    ] = None,
    visibility_seconds: Annotated[
        int | None,
        typer.Option(help="After this time, messages of a consumer that died go to another one.", show_default="60"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Collect messages of a queue into the lake, for `run` to load. Several may collect at once; Ctrl-C ends one."""
    from millrace.cli.show import print_collected, print_json
    from millrace.flows.collect import CollectRequest, extract_queue

    pace = {
        "lanes": lanes,
        "object_messages": object_messages,
        "flush_seconds": flush_seconds,
        "visibility_seconds": visibility_seconds,
    }
    chosen = {"pipeline": absolute_path(pipeline), "streams": stream, "messages": messages, "until_empty": not keep_on}
    request = build_request(CollectRequest, {"seconds": seconds or None, **chosen, **pace})
    _choose_streams(request)
    if seconds == 0:
        request = request.model_copy(update={"seconds": None})
    collected = run_flow(extract_queue(request))
    print_json(collected) if as_json else print_collected(collected)


@application.command()
def reload(
    pipeline: PipelineName,
    member: Annotated[str, typer.Argument(metavar="NAME", help="A stream's or a model's name.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Of a model. landing: every batch that was applied; source: the current rows.",
            show_default="landing",
        ),
    ] = None,
    accept_rejects: AcceptRejects = False,
    allow_deletes: AllowDeletes = False,
    accept_source: AcceptSource = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a table again from scratch, and replace the existing one by it. Readers see the old or the new rows."""
    from millrace.declaration.find import find_pipeline
    from millrace.declaration.stream import Stream

    try:
        found = find_pipeline(absolute_path(pipeline)).find(member)
    except ConfigurationError as error:
        fail(error)
    consent = Consent(accept_rejects, allow_deletes, accept_source)
    if isinstance(found, Stream):
        refuse_options({"from": source}, "a stream is reloaded from its source")
        _replicate(_request(pipeline, [member], "reload", dry_run=dry_run, consent=consent), as_json)
    else:
        refuse_options(
            {name: True for name, is_given in vars(consent).items() if is_given}, "a model is computed from batches"
        )
        _reload_model(
            {"pipeline": absolute_path(pipeline), "model": member, "source": source, "dry_run": dry_run}, as_json
        )


def _reload_model(asked: dict[str, object], as_json: bool) -> None:
    from millrace.cli.show import print_json, print_reload
    from millrace.flows.reload import ReloadRequest
    from millrace.flows.reload import reload as reload_flow

    done = run_flow(reload_flow(build_request(ReloadRequest, asked, {"source": "--from"})))
    print_json(done) if as_json else print_reload(done)


@application.command()
def rejects(
    pipeline: PipelineName,
    stream: StreamNames = None,
    rows: Annotated[bool, typer.Option("--rows", help="Every row: its key, and the file in the lake.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show open rejects by reason and field, also those of a batch that was refused because of them."""
    from millrace.cli.show import print_json, print_rejects
    from millrace.tasks.rejects import list_rejects

    found = run_flow(list_rejects(absolute_path(pipeline), stream or (), each=rows))
    print_json(found) if as_json else print_rejects(found)


@application.command()
def views(pipeline: PipelineName, as_json: AsJson = False) -> None:
    """Make or replace the views for analysts, once the pipeline has run."""
    from millrace.cli.show import print_json, print_lines
    from millrace.tasks.views import create_views

    made = run_flow(create_views(absolute_path(pipeline)))
    print_json(made) if as_json else print_lines(made)


@application.command()
def doctor(
    pipeline: Annotated[
        list[str] | None,
        typer.Option("--pipeline", help="What must run (repeatable).", show_default="all whose variables are set"),
    ] = None,
    as_json: AsJson = False,
    as_json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print a line of JSON for each check, and one with their number.")
    ] = False,
) -> None:
    """Check every server, right, bucket, queue and block that runs need, and name what fixes each fault."""
    from millrace.blocks.checks import EnvironmentChecks, runnable
    from millrace.blocks.prefect_checks import prefect_checks
    from millrace.checks.check import Result, run_checks
    from millrace.cli.show import print_json, print_json_lines, print_outcomes
    from millrace.declaration.find import find_pipeline, pipeline_names

    try:
        found = [find_pipeline(absolute_path(name)) for name in pipeline or pipeline_names()]
    except ConfigurationError as error:
        fail(error)
    places = EnvironmentChecks(os.environ, found if pipeline else runnable(found, os.environ)).places()
    outcomes = run_checks([*places, prefect_checks(os.environ)])
    if as_json_lines:
        print_json_lines([*outcomes, {"outcomes": len(outcomes)}])
    else:
        print_json(outcomes) if as_json else print_outcomes(outcomes)
    if any(outcome.result is Result.WRONG for outcome in outcomes):
        raise typer.Exit(FAILED)


@application.command()
def chart(
    pipeline: Annotated[str, typer.Argument(help="events.")],
    start: FirstDay = None,
    end: EndDay = None,
    days: Annotated[int | None, typer.Option(help="How many days.", show_default="14, or from start to end")] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(help="An event's name; may be repeated.", show_default="submissions and registrations"),
    ] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="ios or android; may be repeated.", show_default="both")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw events by UTC day and platform, into the lake; prints where the pictures are."""
    from millrace.cli.show import print_json, print_lines
    from millrace.pipelines.events.chart import ChartRequest
    from millrace.pipelines.events.chart import chart as chart_flow

    if pipeline != "events":
        fail(ConfigurationError(f"there is no chart of {pipeline!r}", remedy="choose events"))
    asked = {"start": start and start.date(), "end": end and end.date(), "days": days}
    chosen = {"events": event or None, "platforms": platform or None}
    options = {"start": "--from", "end": "--to", "days": "--days", "events": "--event", "platforms": "--platform"}
    request = build_request(ChartRequest, {**asked, **chosen}, options)
    drawn = run_flow(chart_flow(request))
    print_json(drawn) if as_json else print_lines([drawn.png, drawn.svg])


application.command("test")(fixtures.test)
for command in (init, logs, pause, resume, reset, rename, sample.seed, sample.simulate):
    application.command()(command)


def _request(
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
    from millrace.flows.request import ReplicateRequest

    window = {"start": start, "end": end} if start or end else None
    asked = {"pipeline": absolute_path(pipeline), "streams": streams, "mode": mode, "window": window, "deep": deep}
    asked |= {"load_now": load_now}
    return build_request(ReplicateRequest, {**asked, "dry_run": dry_run, **vars(consent)}, RUN_OPTIONS)


def _replicate(request: ReplicateRequest, as_json: bool) -> None:
    """Run it, and show what came of every stream, also when some failed."""
    from millrace.flows.replicate import replicate

    _choose_streams(request)

    def show(report: RunReport) -> None:
        _print(report, as_json)

    report = run_flow(replicate(request), show)
    show(report)
    for row in report.streams:
        if row.status == "busy":
            print_message(f"skipped: {row.reason}")


def _follow(pipeline: str, streams: list[str] | None, every: str, as_json: bool) -> None:
    """Read and load again and again, and show what was done when it ends."""
    from millrace.cli.show import print_json, print_lines
    from millrace.flows.follow import FollowRequest, follow

    asked = {"pipeline": absolute_path(pipeline), "streams": streams, "every_seconds": parse_seconds(every)}
    request = build_request(FollowRequest, asked, {"every_seconds": "--every", "streams": "--stream"})
    _choose_streams(request)
    followed = run_flow(follow(request))
    age = followed.greatest_age_seconds
    ages = "" if age is None else f", the oldest {age:.1f} s old when it was visible"
    said = f"{followed.cycles:,} cycles, {followed.failures:,} failed, {followed.changes:,} changes{ages}"
    print_json(followed) if as_json else print_lines([said])


def _choose_streams(request: ReplicateRequest | CollectRequest | FollowRequest) -> list[str]:
    """Names of the streams that are meant; what the pipeline does not have or cannot do ends the command."""
    from millrace.declaration.find import find_pipeline

    try:
        return [stream.name for stream in request.choose_streams(find_pipeline(request.pipeline))]
    except ConfigurationError as error:
        fail(ConfigurationError(error.problem, place=error.place, remedy=name_options(error.remedy, RUN_OPTIONS)))


def _print(report: RunReport, as_json: bool) -> None:
    from millrace.cli.show import print_json, print_plans, print_report

    if as_json:
        print_json(report)
    elif report.plans:
        print_plans(report.plans)
    else:
        print_report(report)


@application.callback()
def options(debug: Debug = False) -> None:
    """Copy changes of operational databases into the warehouse, exactly once."""
    if debug:
        # The variable is for Prefect if it is imported later, the logger if it is imported already.
        os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
        logging.getLogger("prefect").setLevel(logging.DEBUG)


def main() -> None:
    """Run the command; the entry point of the installed package."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # On a terminal or pipe that is not UTF-8, missing characters are escaped.
            stream.reconfigure(errors="backslashreplace")
    application()


if __name__ == "__main__":
    main()
