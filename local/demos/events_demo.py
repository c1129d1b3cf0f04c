"""The demo of `events`: a producer, two consumers, one of which is killed, a load, and a chart.

At the end the warehouse is compared with the events that were sent. A user can do all of it by hand with the commands
of the README.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from millrace.base.errors import FatalError
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.load import load_source_queue, load_warehouse
from millrace.blocks.queue import Queue
from millrace.blocks.sql import opener
from millrace.cli.show import console, print_report
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.pipelines.events.chart import ChartRequest, chart
from millrace.seed_data.events.stream import DUPLICATE, VALID, EventMessage, messages
from millrace.seed_data.simulate import SimulateEventsRequest, simulate_events

DAYS, MORNING, BUSY = 20, timedelta(hours=6), timedelta(hours=12)
MESSAGES_WAITING = 500
"""More than these, and those that a consumer collects for an object, slow the emulator down."""
PAUSE_SECONDS = 0.5
VISIBILITY_SECONDS = 15
REQUEST = ReplicateRequest(pipeline="events")
CONSUMER = [
    sys.executable, "-m", "millrace.cli.main", "collect", "events", "--visibility-seconds", str(VISIBILITY_SECONDS),
    "--object-messages", "1000", "--flush-seconds", "5", "--seconds", "600",
]  # fmt: skip
REJECTED = (
    "SELECT coalesce(sum(rows_rejected), 0) FROM millrace.rejects WHERE pipeline = 'events' AND closed_by IS NULL"
)
KINDS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

Check = tuple[str, int, int]
"""What is counted, how many there should be, and how many there are."""


async def demo(count: int, duplicates: float, malformed: float) -> bool:
    """Run the demo; return whether exactly the distinct valid events are in the warehouse, and none is left over."""
    begun = time.monotonic()
    await bootstrap(os.environ)
    queue, days = await load_source_queue("events"), list(_days(count, duplicates, malformed))
    _say(f"{count:,} messages and two consumers (millrace simulate events; millrace collect events, twice)")
    consumers = [await _consumer() for _ in range(2)]
    await _send(queue, days, consumers)
    await collect_until(queue, 0, consumers)
    await asyncio.gather(*(consumer.wait() for consumer in consumers))
    _say("The load (millrace run events)")
    print_report(await replicate(REQUEST))
    checks = await _checks([message for day in days for message in _sent_of(day)], queue)
    _show(checks)
    _say("The chart (millrace chart events)")
    drawn = await chart(ChartRequest(days=DAYS + 1))
    console().print(f"{drawn.png}\n{drawn.svg}")
    _say(f"Done in {time.monotonic() - begun:.0f} s.")
    return all(expected == found for _, expected, found in checks)


def _days(count: int, duplicates: float, malformed: float) -> Iterator[SimulateEventsRequest]:
    """Yield a part of the messages for each of the last days; these are in the past and so are sent at once."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(DAYS):
        own = count * (day + 1) // DAYS - count * day // DAYS
        if own:
            start = today - timedelta(days=DAYS - day) + MORNING
            rate, shares = own / BUSY.total_seconds(), {"duplicates": duplicates, "malformed": malformed}
            yield SimulateEventsRequest(count=own, start=start, rate=rate, seed=day, **shares)


def _sent_of(day: SimulateEventsRequest) -> Iterator[EventMessage]:
    """Return what the producer was asked to send."""
    return islice(
        messages(day.seed, day.start or datetime.now(UTC), day.rate, day.duplicates, day.malformed), day.count
    )


async def _send(
    queue: Queue, days: Sequence[SimulateEventsRequest], consumers: list[asyncio.subprocess.Process]
) -> None:
    """Day by day; in the middle of it a consumer is killed."""
    with Progress(TextColumn("days sent"), BarColumn(), MofNCompleteColumn(), console=console()) as progress:
        for number, day in enumerate(progress.track(days)):
            await simulate_events(day)
            if number == len(days) // 2:
                progress.console.print("A consumer is killed (SIGKILL): what it had in hand comes to the other.")
                with suppress(ProcessLookupError):
                    consumers[0].kill()
            await collect_until(queue, MESSAGES_WAITING, consumers)


async def _consumer() -> asyncio.subprocess.Process:
    """Start a consumer in a process."""
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(*CONSUMER, stdout=quiet, stderr=quiet)


async def collect_until(queue: Queue, at_most: int, consumers: list[asyncio.subprocess.Process]) -> None:
    """Wait until the queue holds no more messages than a limit.

    A consumer ends when it finds nothing for some seconds, which happens on a slow machine: when all of them have
    ended, another one is started. Raises FatalError if one failed: the others would fail as well, without end.
    """
    while await asyncio.to_thread(_count_messages, queue) > at_most:
        codes = [one.returncode for one in consumers]
        if any(code is not None and code > 0 for code in codes):
            raise FatalError("a consumer failed", place="demo", remedy="see why with `millrace collect events`")
        if None not in codes:
            consumers.append(await _consumer())
        await asyncio.sleep(PAUSE_SECONDS)


def _count_messages(queue: Queue) -> int:
    """Return the number of messages in the queue, with those that a consumer has received."""
    answer = queue.client().get_queue_attributes(QueueUrl=queue.url, AttributeNames=list(KINDS))
    return sum(int(answer["Attributes"][kind]) for kind in KINDS)


async def _checks(sent: Sequence[EventMessage], queue: Queue) -> list[Check]:
    dead_letters = await load_source_queue("events-dead-letter")
    valid = {message.event_id for message in sent if message.kind == VALID}
    malformed = sum(message.kind not in {VALID, DUPLICATE} for message in sent)
    with closing(opener((await load_warehouse()).connector)()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM events.events")
        held = [row[0] for row in cursor.fetchall()]
        cursor.execute(REJECTED)
        rejected = int(cursor.fetchone()[0])
    return [
        ("events in the warehouse", len(valid), len(held)),
        ("events of those that are not, or twice", 0, len(valid ^ set(held)) + len(held) - len(set(held))),
        ("messages in quarantine", malformed, rejected),
        ("messages in the queue for dead letters", malformed, await asyncio.to_thread(_count_messages, dead_letters)),
        ("messages left in the queue", 0, await asyncio.to_thread(_count_messages, queue)),
    ]


def _show(checks: Sequence[Check]) -> None:
    table = Table(*("count of", "expected", "found"))
    for what, expected, found in checks:
        table.add_row(what, f"{expected:,}", f"{found:,}", style="" if expected == found else "bold red")
    console().print(table)


def _say(text: str) -> None:
    console().print(f"\n{text}", style="bold")


def main(
    count: Annotated[int, typer.Option(min=1, help="Messages.")] = 50_000,
    duplicates: Annotated[float, typer.Option(min=0, max=0.5, help="Share of messages that repeat an event.")] = 0.01,
    malformed: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of messages that break the contract.")
    ] = 0.005,
) -> None:
    """Run the demo; needs the environment of `python -m local run`. Exit code 1 when the warehouse is wrong."""
    if not asyncio.run(demo(count, duplicates, malformed)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
