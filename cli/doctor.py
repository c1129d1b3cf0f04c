"""The command that checks what runs need."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.command import FAILED, AsJson, absolute_path, fail


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
