"""Tasks that put the chart of events into the lake and show it with the run in Prefect."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from typing import get_args

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from millrace.blocks.load import load_processed
from millrace.pipelines.events.contracts import PLATFORMS, Platform
from millrace.pipelines.events.counts import EventCounts
from millrace.pipelines.events.picture import Form, draw, title_of
from millrace.tasks.policy import TASK_OPTIONS

FOLDER = "charts/events"
NUMBERS_KEY, PICTURE_KEY = "events-by-day", "events-chart"


@dataclass(frozen=True)
class Chart:
    """The numbers, and where their picture is in the lake: ``s3://…``."""

    numbers: EventCounts
    png: str
    svg: str


@task(name="draw chart", **TASK_OPTIONS)
async def draw_chart(numbers: EventCounts) -> Chart:
    """Put the picture into the lake, named by the time of the count, and show it with the run."""
    pictures = {form: await asyncio.to_thread(draw, numbers, form) for form in get_args(Form)}
    store = await load_processed()
    # To the microsecond, so that two runs of one second do not meet: the lake is never rewritten.
    folder = f"{FOLDER}/{numbers.until:%Y-%m-%dT%H%M%S.%fZ}"
    addresses = {form: store.uri(f"{folder}/events.{form}") for form in pictures}
    for form, picture in pictures.items():
        await asyncio.to_thread(store.put_bytes, picture, f"{folder}/events.{form}")
    chart = Chart(numbers, **addresses)
    await acreate_markdown_artifact(
        key=PICTURE_KEY, markdown=_markdown(chart, pictures["png"]), description=title_of(numbers)
    )
    return chart


@task(name="publish numbers", **TASK_OPTIONS)
async def publish_numbers(numbers: EventCounts) -> None:
    """Write the table artifact `events-by-day`: a row for each day, the latest first."""
    table = [
        {
            "day": f"{day:%Y-%m-%d}",
            **{f"{kind} {PLATFORMS[platform]}": of[number] for (kind, platform), of in _columns(numbers).items()},
            "note": f"until {numbers.until:%H:%M} UTC" if day == numbers.incomplete else "",
        }
        for number, day in enumerate(numbers.days.each)
    ]
    await acreate_table_artifact(key=NUMBERS_KEY, table=table[::-1], description=title_of(numbers))


def _columns(numbers: EventCounts) -> dict[tuple[str, Platform], list[int]]:
    shown = numbers.shown
    return {(kind, platform): numbers.by_day(kind, platform) for kind in shown.kinds for platform in shown.platforms}


def _markdown(chart: Chart, png: bytes) -> str:
    # In the text itself: a browser that shows Prefect's pages has no rights on the bucket.
    picture = f"![{title_of(chart.numbers)}](data:image/png;base64,{b64encode(png).decode()})"
    return f"{picture}\n\n- `{chart.png}`\n- `{chart.svg}`\n- the numbers: the artifact `{NUMBERS_KEY}`\n"
