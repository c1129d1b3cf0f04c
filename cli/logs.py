"""The command `logs`: what log the sources of a pipeline keep for its runs, and how it is given up."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.command import AsJson, PipelineName, Yes, absolute_path, confirm, run_flow


def logs(
    pipeline: PipelineName,
    drop: Annotated[str, typer.Option(help="Give up the log of this slot. It cannot be got back.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show how much of their change log the sources of a pipeline keep for Millrace, and for whom."""
    from millrace.cli.show import print_json, print_kept_logs, print_lines
    from millrace.tasks.kept_logs import drop_log, list_logs

    address = absolute_path(pipeline)
    if drop:
        confirm(f"the log of {drop} is given up: its pipeline compares whole tables at its next run", is_agreed=yes)
        run_flow(drop_log(address, drop))
        print_json({"dropped": drop}) if as_json else print_lines([f"{drop}: dropped"])
        return
    found = run_flow(list_logs(address))
    print_json(found) if as_json else print_kept_logs(found)
