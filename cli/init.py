"""`millrace init`: write the file of a pipeline from the catalog of a source, or propose what is new since."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.command import fail, print_message, run_flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millrace.declaration.source_kinds import SourceReference
    from millrace.discovery.propose import ProposedStream
    from millrace.sources.found import FoundTable


def init(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Tables: postgres/shop:public.*, mysql:shop.*, mongo:shop.users."),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file.", show_default="<name>.py")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the pipeline.", show_default="the connection, or the database")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Only tables of this pattern (repeatable).")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No tables of this pattern (repeatable).")] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many documents of each collection are looked at.")] = 500,
    write: Annotated[
        bool, typer.Option("--write", help="Add new tables to a file that exists, instead of showing the difference.")
    ] = False,
) -> None:
    """Write a pipeline file from a source's catalog. If the file exists, show the tables that it lacks."""
    from millrace.discovery.choose_tables import parse_reference
    from millrace.tasks.discovery import find_tables

    try:
        references = [parse_reference(source) for source in sources]
    except ConfigurationError as error:
        fail(error)
    chosen = name or _name_of(references[0])
    path = output or Path(f"{chosen}.py")

    async def find_all() -> list[tuple[SourceReference, list[FoundTable]]]:
        return [
            (reference, await find_tables(reference, include or (), exclude or (), sample)) for reference in references
        ]

    found = run_flow(find_all())
    if path.exists():
        _extend(path, found, write=write)
    else:
        _create(path, chosen, shlex.join(["millrace", "init", *sources]), found)


def _create(path: Path, name: str, command: str, found: Sequence[tuple[SourceReference, list[FoundTable]]]) -> None:
    from millrace.base.naming import check_name
    from millrace.discovery.propose import propose_streams
    from millrace.discovery.write_file import write_file

    streams: list[ProposedStream] = []
    for reference, tables in found:
        sources = {stream.source for stream in streams}
        new = propose_streams(reference, tables, [stream.name for stream in streams])
        streams += [stream for stream in new if stream.source not in sources]
    if all(stream.refused_because for stream in streams):
        _refuse(streams)
    try:
        check_name(name, "pipeline")
        path.write_text(write_file(name, command, [reference for reference, _ in found], streams))
    except ConfigurationError as error:
        fail(error)
    except OSError as error:
        fail(ConfigurationError(f"it cannot be written ({error.strerror})", place=str(path), remedy="choose --output"))
    _print_streams(path, streams)


def _extend(path: Path, found: Sequence[tuple[SourceReference, list[FoundTable]]], *, write: bool) -> None:
    from millrace.declaration.find import find_pipeline
    from millrace.discovery.extend_file import diff_files, extend_file, leave_out_known, propose_new

    before = path.read_text()
    try:
        pipeline = find_pipeline(f"{path.resolve()}:pipeline")
        streams: list[ProposedStream] = []
        for reference, tables in found:
            new, notes = propose_new(pipeline, reference, tables, streams)
            streams += new
            for note in notes:
                print_message(note)
        streams = leave_out_known(before, streams)
        after = extend_file(before, str(path), streams)
    except ConfigurationError as error:
        fail(error)
    if not streams:
        print_message(f"{path} has every table")
    elif write:
        path.write_text(after)
        _print_streams(path, streams)
    else:
        typer.echo(diff_files(before, after, str(path)), nl=False)
        print_message(f"{path} is unchanged; add --write to add these streams")


def _refuse(streams: Sequence[ProposedStream]) -> NoReturn:
    """End the command with why no table can be read: a file without a stream is no pipeline."""
    fail(
        *(
            ConfigurationError(stream.refused_because, place=stream.source, remedy="then type the command again")
            for stream in streams
        )
    )


def _print_streams(path: Path, streams: Sequence[ProposedStream]) -> None:
    from millrace.cli.show import print_proposed

    print_proposed(streams)
    print_message(f"wrote {path}; read it, then type: millrace plan {path}")


def _name_of(reference: SourceReference) -> str:
    name = re.sub(r"[^a-z0-9_]", "_", (reference.connection or reference.schema).lower())
    return name if name[:1].isalpha() else f"p_{name}"
