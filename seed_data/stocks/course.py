"""The course of events from any moment on: what happens on each day, put in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count

from millrace.seed_data.stocks.jobs import jobs
from millrace.seed_data.stocks.rare import rare_events
from millrace.seed_data.stocks.reference import first_changes
from millrace.seed_data.stocks.world import MILLISECOND, StocksEvent, local_day, midnight


@dataclass(frozen=True)
class Origin:
    """What determines the whole simulation. ``start`` is the first day, in the platform's time zone."""

    seed: int
    start: date


def events_after(moment: datetime, origin: Origin, rare_rate: float) -> Iterator[StocksEvent]:
    """Yield the events after ``moment`` in order, without end."""
    begin = max(local_day(moment), origin.start)
    for number in count():
        yield from (event for event in _day(origin, begin + timedelta(days=number), rare_rate) if event.at > moment)


def _day(origin: Origin, day: date, rare_rate: float) -> list[StocksEvent]:
    opening = [_opening(origin)] if day == origin.start else []
    return sorted([*opening, *jobs(origin.seed, day), *rare_events(origin.seed, day, rare_rate)])


def _opening(origin: Origin) -> StocksEvent:
    return StocksEvent(midnight(origin.start) + 962 * MILLISECOND, lambda _world: first_changes(origin.seed))
