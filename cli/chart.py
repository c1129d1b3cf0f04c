"""The command that draws what a pipeline loaded."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.command import AsJson, build_request, fail, run_flow

FirstDay = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (inclusive, UTC).")]
EndDay = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (exclusive, UTC).", show_default="tomorrow"),
]


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
