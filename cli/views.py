"""The command that makes the views for analysts."""

from __future__ import annotations

from millrace.cli.command import AsJson, PipelineName, absolute_path, run_flow


def views(pipeline: PipelineName, as_json: AsJson = False) -> None:
    """Make or replace the views for analysts, once the pipeline has run."""
    from millrace.cli.show import print_json, print_lines
    from millrace.tasks.views import create_views

    made = run_flow(create_views(absolute_path(pipeline)))
    print_json(made) if as_json else print_lines(made)
