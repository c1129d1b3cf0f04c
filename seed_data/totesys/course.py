"""The course of events from any moment on: what happens on each day, put in order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count

from millrace.seed_data.totesys.arrivals import MILLISECOND, arrivals, midnight
from millrace.seed_data.totesys.days import Calendar, is_weekday
from millrace.seed_data.totesys.payday import payday
from millrace.seed_data.totesys.quiet import quiet_events
from millrace.seed_data.totesys.reference import reference_changes
from millrace.seed_data.totesys.world import TotesysEvent


def events_after(moment: datetime, calendar: Calendar, silent_rate: float) -> Iterator[TotesysEvent]:
    """Yield the events after ``moment`` in order, without end."""
    first = reference_event(calendar)
    if first.at > moment:
        yield first
    begin = max(moment.astimezone(UTC).date(), calendar.start)
    for number in count():
        day = begin + timedelta(days=number)
        if is_weekday(day):
            yield from (event for event in _day(calendar, day, silent_rate) if event.at > moment)


def reference_event(calendar: Calendar) -> TotesysEvent:
    """Return the event of the first night, which inserts the reference rows with one timestamp that has a fraction."""
    at = midnight(calendar.start) + 962 * MILLISECOND
    return TotesysEvent(at, lambda _world: reference_changes(calendar.seed, at))


def _day(calendar: Calendar, day: date, silent_rate: float) -> list[TotesysEvent]:
    quiet = quiet_events(calendar.seed, day, silent_rate)
    return sorted([payday(calendar.seed, day), *arrivals(calendar, day), *quiet])
