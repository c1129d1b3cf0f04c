"""The commands of a stream's life: `pause`, `resume`, `reset`, `rename`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.command import (
    MOMENT_FORMATS,
    AsJson,
    PipelineName,
    Yes,
    absolute_path,
    confirm,
    fail,
    run_flow,
)

StreamName = Annotated[str, typer.Argument(help="A stream's name.")]


def pause(
    pipeline: PipelineName,
    stream: StreamName,
    reason: Annotated[str, typer.Option(help="Why, for those who read the reports.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let no run read a stream until `resume`. Its target stays as it is."""
    from millrace.cli.show import print_json, print_lines
    from millrace.tasks.stream_life import pause as pause_stream

    paused = run_flow(pause_stream(absolute_path(pipeline), stream, reason))
    print_json(paused) if as_json else print_lines([f"{stream}: {paused.note}"])


def resume(pipeline: PipelineName, stream: StreamName, as_json: AsJson = False) -> None:
    """Let runs read a paused stream again; the next one brings everything that changed meanwhile."""
    from millrace.cli.show import print_json, print_lines
    from millrace.tasks.stream_life import resume as resume_stream

    resumed = run_flow(resume_stream(absolute_path(pipeline), stream))
    said = "the next run reads it again" if resumed.was_paused else "it was not paused"
    print_json(resumed) if as_json else print_lines([f"{stream}: {said}"])


def reset(
    pipeline: PipelineName,
    stream: StreamName,
    moment: Annotated[
        datetime | None,
        typer.Option("--to", formats=MOMENT_FORMATS, help="The next window begins at this moment (UTC)."),
    ] = None,
    number: Annotated[
        int | None, typer.Option("--to-number", help="The next window begins at this number of the cursor.")
    ] = None,
    beginning: Annotated[bool, typer.Option("--to-beginning", help="The next run reads everything.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Set the position from which the next run reads a stream. No row of its target is deleted."""
    from millrace.cli.show import print_json, print_lines
    from millrace.tasks.stream_life import compare_position
    from millrace.tasks.stream_life import reset as reset_stream

    if sum([moment is not None, number is not None, beginning]) != 1:
        remedy = "give one of --to, --to-number and --to-beginning"
        fail(ConfigurationError("the new position is not clear", remedy=remedy))
    address = absolute_path(pipeline)
    position: datetime | int | None = number
    if moment is not None:
        position = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    planned = run_flow(compare_position(address, stream, position))
    if planned.skips_rows():
        skipped = f"rows of {stream} from {_name(planned.former)} to {planned.position} are not read"
        confirm(f"{skipped}, until a sweep finds them", is_agreed=yes)
    done = run_flow(reset_stream(address, stream, position))
    print_json(done) if as_json else print_lines(
        [f"{stream}: the next run reads from {_name(done.position)} (it was {_name(done.former)})"]
    )


def rename(
    pipeline: PipelineName,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The former name.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name in the declaration.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let a stream that has another name in the declaration go on: position, columns, rejects, and its table."""
    from millrace.cli.show import print_json, print_lines
    from millrace.tasks.stream_life import compare_rename
    from millrace.tasks.stream_life import rename as rename_stream

    address = absolute_path(pipeline)
    planned = run_flow(compare_rename(address, old, new))
    if planned.former_target != planned.target:
        confirm(
            f"table {planned.former_target} will be {planned.target}, and queries by its former name will fail",
            is_agreed=yes,
        )
    if planned.children:
        names = ", ".join(planned.children)
        confirm(
            f"the keys of {names} are named after the stream: no run loads {new} until they are reloaded", is_agreed=yes
        )
    done = run_flow(rename_stream(address, old, new))
    told = [f"{old} is {new} now; its target is {done.target}"]
    told += [f"reload its child: millrace reload {pipeline} {child}" for child in done.children]
    print_json(done) if as_json else print_lines(told)


def _name(position: str | None) -> str:
    return position or "the beginning"
