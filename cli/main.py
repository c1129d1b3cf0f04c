"""The command `millrace`: run, plan, sweep, replay and seed pipelines from a terminal.

Results go to stdout (a table, or JSON with ``--json``), the flows' logs to stderr. Exit codes: 0 done, 1 the run
failed, 2 the request or the configuration is wrong.
What does not belong here: the flows (flows/), how results look (show.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from millrace.errors import ConfigurationError, MillraceError

if TYPE_CHECKING:
    from flows.replicate import RunReport
    from flows.request import ReplicateRequest
    from millrace.run import Mode

FAILED, WRONG_REQUEST = 1, 2
Result = TypeVar("Result")

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
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
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
def seed(
    pipeline: Annotated[str, typer.Argument(help="Only `stori` has sample data.")],
    rows: Annotated[int, typer.Option(min=1, help="Bank transactions.")] = 116_201,
    documents: Annotated[int, typer.Option(min=1, help="Trades.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other data.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Generate sample data and import it into the sources."""
    from cli.show import print_json, print_seeded
    from flows.seed import SeedRequest
    from flows.seed import seed as seed_flow

    if pipeline != "stori":
        _fail(ConfigurationError(f"there is no sample data for {pipeline!r}", remedy="choose stori"))
    report = _await(seed_flow(SeedRequest(rows=rows, documents=documents, seed=seed)))
    print_json(report) if as_json else print_seeded(report)


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
