"""The command that shows rejected rows."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.command import AsJson, PipelineName, absolute_path, run_flow
from millrace.cli.options import StreamNames


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
