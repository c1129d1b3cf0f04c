"""Count product events in the warehouse, by UTC day, kind and platform."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
from prefect import task

from millrace.base.errors import ConfigurationError, CountMismatch, SourceMissing
from millrace.base.sql_files import SQL_FILES
from millrace.blocks.load import load_warehouse
from millrace.blocks.sql import opener
from millrace.pipelines.events import pipeline
from millrace.pipelines.events.contracts import PLATFORMS, Platform
from millrace.tasks.policy import TASK_OPTIONS
from millrace.warehouse.session import open_session

COUNT_SQL = SQL_FILES / "events" / "chart.sql"
KINDS = ("submission_success", "registration_initiated")
"""Kinds of events that are counted by default."""
DAY = timedelta(days=1)
PLACE = "chart of events"


@dataclass(frozen=True)
class Days:
    """Days of UTC, from ``start`` on, before ``end``."""

    start: date
    end: date

    @property
    def each(self) -> list[date]:
        """Return the days in order."""
        return [self.start + number * DAY for number in range((self.end - self.start).days)]


@dataclass(frozen=True)
class Shown:
    """What is counted: events of these ``kinds`` from these ``platforms`` on these ``days``."""

    days: Days
    kinds: tuple[str, ...] = KINDS
    platforms: tuple[Platform, ...] = tuple(PLATFORMS)


@dataclass(frozen=True)
class Count:
    """Events of one kind on one day (UTC) from one platform."""

    day: date
    kind: str
    platform: str
    events: int


@dataclass(frozen=True)
class EventCounts:
    """One number for each day, kind and platform that is ``shown``, in that order; counted at ``until`` (UTC)."""

    shown: Shown
    until: datetime
    counts: tuple[Count, ...]

    @property
    def days(self) -> Days:
        """The days that are shown."""
        return self.shown.days

    @property
    def incomplete(self) -> date | None:
        """The day that was not over when it was counted, if it is among them."""
        today = self.until.date()
        return today if self.days.start <= today < self.days.end else None

    def by_day(self, kind: str, platform: str) -> list[int]:
        """Return the number of events per day, for one kind and one platform."""
        return [one.events for one in self.counts if (one.kind, one.platform) == (kind, platform)]


@task(name="count events", **TASK_OPTIONS)
async def count_events(shown: Shown, until: datetime) -> EventCounts:
    """Ask the warehouse; what it has no events of is 0.

    Raises ConfigurationError when the table is not there yet, CountMismatch when an event has no place in the chart.
    """
    block = await load_warehouse(pipeline.warehouse)
    rows = await asyncio.to_thread(_rows, opener(block.connector), shown)
    return EventCounts(shown, until, _complete(rows, shown))


def _rows(connect: Callable[[], Any], shown: Shown) -> list[tuple[Any, ...]]:
    # Without a zone, as the column is: else the session's zone would decide where a day begins.
    start, end = _midnight(shown.days.start), _midnight(shown.days.end)
    parameters = {"start": start, "end": end, "kinds": shown.kinds}
    try:
        with open_session(connect, PLACE) as connection, connection.cursor() as cursor:
            cursor.execute(COUNT_SQL.read_text(encoding="utf-8"), parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    except SourceMissing as missing:
        remedy = f"run `millrace run {pipeline.name}` first"
        raise ConfigurationError(missing.problem, place=PLACE, remedy=remedy) from None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC).replace(tzinfo=None)


def _complete(rows: Sequence[tuple[Any, ...]], shown: Shown) -> tuple[Count, ...]:
    schema = {"day": pl.Date, "kind": pl.String, "platform": pl.String, "events": pl.Int64}
    counted = pl.DataFrame(rows, schema=schema, orient="row")
    if not counted["platform"].is_in(list(PLATFORMS)).all():
        raise CountMismatch(
            "there are events of a platform that the contract does not know",
            place=PLACE,
            remedy="look for who wrote them",
        )
    every = (
        pl.DataFrame({"day": shown.days.each}, schema_overrides={"day": pl.Date})
        .join(pl.DataFrame({"kind": shown.kinds}), how="cross")
        .join(pl.DataFrame({"platform": shown.platforms}), how="cross")
    )
    filled = every.join(counted, on=["day", "kind", "platform"], how="left", maintain_order="left")
    return tuple(Count(*row) for row in filled.with_columns(pl.col("events").fill_null(0)).iter_rows())
