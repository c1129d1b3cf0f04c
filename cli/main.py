"""The command `millrace`: run, plan, sweep, replay, seed and simulate pipelines from a terminal.

Results go to stdout (a table, or JSON with ``--json``), the flows' logs to stderr. Exit codes: 0 done, 1 the run
failed, 2 the request or the configuration is wrong.
What does not belong here: the flows (flows/), how results look (show.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from millrace.errors import ConfigurationError, MillraceError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flows.request import ReplicateRequest
    from millrace.run import Mode
    from tasks.report import RunReport

FAILED, WRONG_REQUEST = 1, 2
Result = TypeVar("Result")
Request = TypeVar("Request", bound="BaseModel")

application = typer.Typer(
    name="millrace",
    help="Copies what changed in operational databases into the warehouse, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PipelineName = Annotated[str, typer.Argument(help="A pipeline's name, or path/to/module.py:attribute.")]
StreamNames = Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only this stream (repeatable).")]
Full = Annotated[bool, typer.Option("--full", help="Read everything, not only what changed.")]
Start = Annotated[datetime | None, typer.Option("--from", help="First moment of a window (inclusive, UTC).")]
End = Annotated[datetime | None, typer.Option("--to", help="Last moment of a window (exclusive, UTC).")]
FirstDay = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (inclusive, UTC).")]
EndDay = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (exclusive, UTC).", show_default="tomorrow"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
SilentRate = Annotated[
    float | None, typer.Option(help="totesys: factor on silent edits and deletes.", show_default="1, as measured")
]
RareRate = Annotated[
    float | None,
    typer.Option(help="stocks: factor on deletes, silent edits and the like.", show_default="1, each once a month"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@application.command()
def run(
    pipeline: PipelineName,
    stream: StreamNames = None,
    full: Full = False,
    start: Start = None,
    end: End = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring what changed into the warehouse."""
    mode: Mode = "full" if full else "incremental"
    _print(_replicate(_request(pipeline, stream, mode, start, end, dry_run)), as_json)


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
    _print(_replicate(_request(pipeline, stream, mode, start, end, True)), as_json)


@application.command()
def sweep(pipeline: PipelineName, stream: StreamNames = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Compare source and warehouse as a whole: bring silent updates and deletes."""
    _print(_replicate(_request(pipeline, stream, "sweep", dry_run=dry_run)), as_json)


@application.command()
def replay(pipeline: PipelineName, stream: StreamNames = None, as_json: AsJson = False) -> None:
    """Read rejected rows again, after the contract or the data was mended."""
    _print(_replicate(_request(pipeline, stream, "replay")), as_json)


@application.command()
def collect(
    pipeline: PipelineName,
    stream: StreamNames = None,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after that long; 0: never for that.", show_default="240")
    ] = None,
    messages: Annotated[int | None, typer.Option(help="Stop after so many.", show_default="never for that")] = None,
    keep_on: Annotated[bool, typer.Option("--keep-on", help="Go on when the queue is empty.")] = False,
    lanes: Annotated[int | None, typer.Option(help="Requests at once.", show_default="8")] = None,
    object_messages: Annotated[
        int | None, typer.Option(help="Write an object when so many wait.", show_default="5000")
    ] = None,
    flush_seconds: Annotated[
        float | None, typer.Option(help="The longest that a message waits for its object.", show_default="30")
    ] = None,
    visibility_seconds: Annotated[
        int | None, typer.Option(help="Of a consumer that died, messages come again after that.", show_default="60")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Collect messages of a queue into the lake, for `run` to load. Ctrl-C ends it well; several may be at it."""
    from cli.show import print_collected, print_json
    from flows.collect import CollectRequest, extract_queue

    pace = {
        "lanes": lanes,
        "object_messages": object_messages,
        "flush_seconds": flush_seconds,
        "visibility_seconds": visibility_seconds,
    }
    own = {"pipeline": _absolute(pipeline), "streams": stream, "messages": messages, "until_empty": not keep_on}
    request = _valid(CollectRequest, seconds=seconds or None, **own, **pace)
    if seconds == 0:
        request = request.model_copy(update={"seconds": None})
    collected = _await(extract_queue(request))
    print_json(collected) if as_json else print_collected(collected)


@application.command()
def rejects(
    pipeline: PipelineName,
    stream: StreamNames = None,
    rows: Annotated[bool, typer.Option("--rows", help="Every row: its key and the file that holds it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was rejected and not replayed since, by reason and field."""
    from cli.show import print_json, print_rejects
    from tasks.rejects import list_rejects

    request = _request(pipeline, stream, "replay")
    found = _await(list_rejects(request.pipeline, _chosen(request), each=rows))
    print_json(found) if as_json else print_rejects(found)


@application.command()
def views(pipeline: PipelineName, as_json: AsJson = False) -> None:
    """Make or replace the views for analysts, once the pipeline has run."""
    from cli.show import print_json, print_lines
    from tasks.views import create_views

    made = _await(create_views(_absolute(pipeline)))
    print_json(made) if as_json else print_lines(made)


@application.command()
def chart(
    pipeline: Annotated[str, typer.Argument(help="events.")],
    start: FirstDay = None,
    end: EndDay = None,
    days: Annotated[int | None, typer.Option(help="How many days.", show_default="14, or from start to end")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw submissions and registrations by UTC day and platform, into the lake; prints where the pictures are."""
    from cli.show import print_json, print_lines
    from flows.chart import ChartRequest
    from flows.chart import chart as chart_flow

    if pipeline != "events":
        _fail(ConfigurationError(f"there is no chart of {pipeline!r}", remedy="choose events"))
    request = _valid(ChartRequest, start=start and start.date(), end=end and end.date(), days=days)
    drawn = _await(chart_flow(request))
    print_json(drawn) if as_json else print_lines([drawn.png, drawn.svg])


@application.command()
def seed(
    pipeline: Annotated[str, typer.Argument(help="stori, totesys or stocks.")],
    rows: Annotated[int | None, typer.Option(min=1, help="stori: bank transactions.", show_default="116201")] = None,
    documents: Annotated[int | None, typer.Option(min=1, help="stori: trades.", show_default="20000")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="totesys, stocks: simulated days.", show_default="730 and 30")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="totesys, stocks: the first day.", show_default="leaves a week until today"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other data.")] = 1,
    silent_rate: SilentRate = None,
    rare_rate: RareRate = None,
    as_json: AsJson = False,
) -> None:
    """Generate sample data and import it into the sources."""
    from cli.show import print_json, print_seeded, print_simulated
    from flows.seed import SeedRequest
    from flows.seed import seed as seed_flow
    from flows.simulate import FillRequest, FillStocksRequest, fill, fill_stocks

    own, history = {"rows": rows, "documents": documents}, {"days": days, "start": start and start.date()}
    silent, rare = {"silent_rate": silent_rate}, {"rare_rate": rare_rate}
    if pipeline == "stori":
        _refuse({**history, **silent, **rare}, "stori is not simulated")
        report = _await(seed_flow(_valid(SeedRequest, seed=seed, **own)))
        print_json(report) if as_json else print_seeded(report)
    elif pipeline == "totesys":
        _refuse({**own, **rare}, "totesys is measured in days, its quiet events by --silent-rate")
        filled = _await(fill(_valid(FillRequest, seed=seed, **history, **silent)))
        print_json(filled) if as_json else print_simulated(filled)
    elif pipeline == "stocks":
        _refuse({**own, **silent}, "stocks is measured in days, its rare events by --rare-rate")
        filled = _await(fill_stocks(_valid(FillStocksRequest, seed=seed, **history, **rare)))
        print_json(filled) if as_json else print_simulated(filled)
    else:
        _fail(ConfigurationError(f"there is no sample data for {pipeline!r}", remedy="choose stori, totesys or stocks"))


@application.command()
def simulate(
    pipeline: Annotated[str, typer.Argument(help="totesys, stocks or events.")],
    speed: Annotated[
        float | None, typer.Option(help="totesys, stocks: simulated seconds in a real one.", show_default="1")
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="totesys, stocks: simulated days, then end.", show_default="until Ctrl-C")
    ] = None,
    silent_rate: SilentRate = None,
    rare_rate: RareRate = None,
    rate: Annotated[float | None, typer.Option(help="events: messages a second.", show_default="10")] = None,
    count: Annotated[int | None, typer.Option(help="events: messages, then end.", show_default="until Ctrl-C")] = None,
    duplicates: Annotated[
        float | None, typer.Option(help="events: share that repeat an earlier one.", show_default="0.01")
    ] = None,
    malformed: Annotated[
        float | None, typer.Option(help="events: share that break the contract.", show_default="0.005")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="events: other seeds give others.", show_default="1")] = None,
    start: Annotated[
        datetime | None,
        typer.Option(help="events: the first moment (UTC); the past is sent at once.", show_default="now"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a sample source live on, faster than it did, until the present and then with it."""
    from cli.show import print_json, print_sent, print_simulated
    from flows.simulate import (
        SimulateEventsRequest,
        SimulateRequest,
        SimulateStocksRequest,
        simulate_events,
        simulate_stocks,
    )
    from flows.simulate import simulate as simulate_totesys

    life, silent, rare = {"speed": speed, "days": days}, {"silent_rate": silent_rate}, {"rare_rate": rare_rate}
    shares = {"duplicates": duplicates, "malformed": malformed}
    sending = {"rate": rate, "count": count, **shares, "seed": seed, "start": start and start.replace(tzinfo=UTC)}
    if pipeline == "totesys":
        _refuse({**rare, **sending}, "totesys has --silent-rate")
        simulated = _await(simulate_totesys(_valid(SimulateRequest, **silent, **life)))
        print_json(simulated) if as_json else print_simulated(simulated)
    elif pipeline == "stocks":
        _refuse({**silent, **sending}, "stocks has --rare-rate")
        simulated = _await(simulate_stocks(_valid(SimulateStocksRequest, **rare, **life)))
        print_json(simulated) if as_json else print_simulated(simulated)
    elif pipeline == "events":
        _refuse({**life, **silent, **rare}, "events come at a --rate")
        sent = _await(simulate_events(_valid(SimulateEventsRequest, **sending)))
        print_json(sent) if as_json else print_sent(sent)
    else:
        _fail(ConfigurationError(f"there is no simulation of {pipeline!r}", remedy="choose totesys, stocks or events"))


def _valid(kind: type[Request], **given: object) -> Request:
    """The request with what was given; the rest is its own default. What makes no sense ends the command."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        _fail(*(ConfigurationError(str(one["msg"]), place=_place(one["loc"])) for one in error.errors()))


def _place(location: tuple[int | str, ...]) -> str:
    """What is wrong between several options has none."""
    return f"--{_option(location)}" if location else ""


def _option(location: tuple[int | str, ...]) -> str:
    return "".join(map(str, location)).replace("_", "-")


def _refuse(options: Mapping[str, object], why: str) -> None:
    given = [f"--{_option((name,))}" for name, value in options.items() if value is not None]
    if given:
        _fail(ConfigurationError(f"{', '.join(given)} says nothing here: {why}", remedy="leave it out"))


def _request(
    pipeline: str,
    streams: list[str] | None,
    mode: Mode,
    start: datetime | None = None,
    end: datetime | None = None,
    dry_run: bool = False,
) -> ReplicateRequest:
    from pydantic import ValidationError

    from flows.request import ReplicateRequest, Window

    try:
        window = Window(start=start, end=end) if start or end else None
        return ReplicateRequest(
            pipeline=_absolute(pipeline),
            streams=streams or [],
            mode=mode,
            window=window,
            dry_run=dry_run,
        )
    except ValidationError as error:
        _fail(ConfigurationError("; ".join(str(one["msg"]) for one in error.errors())))


def _absolute(pipeline: str) -> str:
    """A path is meant from where the user stands."""
    path, separator, attribute = pipeline.rpartition(":")
    return f"{Path(path).resolve()}:{attribute}" if separator else pipeline


def _replicate(request: ReplicateRequest) -> RunReport:
    from flows.replicate import replicate

    _chosen(request)
    return _await(replicate(request))


def _chosen(request: ReplicateRequest) -> list[str]:
    """Names of the streams that are meant; a wrong one ends the command."""
    from pipelines import find

    try:
        return [stream.name for stream in request.chosen(find(request.pipeline))]
    except ConfigurationError as error:
        _fail(error)


def _await(flow_run: Coroutine[Any, Any, Result]) -> Result:
    """The flow's result. Errors made for people end the command with their message; others with a traceback."""

    async def wait() -> Result:
        return await flow_run

    try:
        return asyncio.run(wait())
    except MillraceError as error:
        _fail(error)
    except ExceptionGroup as group:
        known, unknown = group.split(MillraceError)
        if unknown is not None:
            raise
        _fail(*_leaves(known))


def _leaves(group: BaseException | None) -> Iterator[MillraceError]:
    if isinstance(group, BaseExceptionGroup):
        for inner in group.exceptions:
            yield from _leaves(inner)
    elif isinstance(group, MillraceError):
        yield group


def _fail(*errors: MillraceError) -> NoReturn:
    for error in errors:
        typer.secho(f"millrace: {error}", err=True, fg="red" if sys.stderr.isatty() else None)
    raise typer.Exit(WRONG_REQUEST if all(isinstance(error, ConfigurationError) for error in errors) else FAILED)


def _print(report: RunReport, as_json: bool) -> None:
    from cli.show import print_json, print_plans, print_report

    if as_json:
        print_json(report)
    elif report.plans:
        print_plans(report.plans)
    else:
        print_report(report)


def main() -> None:
    """Entry point of the installed command."""
    application()


if __name__ == "__main__":
    main()
