"""The star of `stocks` a second time: from the platform's own history, version by version, without the engine.

What does not belong here: running the pipeline (test_stocks_star.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

OPEN_END = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - UTC, as everything here
BEGINNING = datetime(1900, 1, 1)  # noqa: DTZ001 - the same
SECOND, HERE = timedelta(seconds=1), timedelta(hours=7)
State = Mapping[Any, tuple[Any, ...]]


@dataclass
class Version:
    """Of one key; ``ends`` when its successor starts or it was gone."""

    starts: datetime
    values: tuple[Any, ...]
    ends: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        return self.starts <= moment and (self.ends is None or moment < self.ends)


Versions = Mapping[Any, list[Version]]


def states(history: Sequence[tuple[Any, ...]], runs: Sequence[datetime]) -> Iterator[State]:
    """What each run saw. A row of history: moment, operation, key, values."""
    for run in runs:
        seen: dict[Any, tuple[Any, ...]] = {}
        for at, operation, key, *values in history:
            if at <= run:
                seen[key] = tuple(values)
                if operation == "deleted":
                    del seen[key]
        yield seen


def versions_of(seen: Iterator[State], runs: Sequence[datetime], *, stamped: bool) -> Versions:
    """By the rules of decision 10. Where ``stamped``, the last of a row's values says since when it is as it is."""
    found: dict[Any, list[Version]] = defaultdict(list)
    for index, (state, run) in enumerate(zip(seen, runs, strict=True)):
        midnight = datetime.combine((run + HERE).date() - timedelta(days=1), datetime.min.time()) - HERE
        effective = max(midnight, runs[index - 1]) if index else midnight
        for key, row in state.items():
            values, stamp = (row[:-1], row[-1]) if stamped else (row, None)
            _arrive(found[key], values, stamp, effective, BEGINNING if stamped else effective)
        for key in found.keys() - state.keys():
            found[key][-1].ends = found[key][-1].ends or effective
    return found


def _arrive(
    versions: list[Version], values: tuple[Any, ...], stamp: datetime | None, effective: datetime, unknown: datetime
) -> None:
    if not versions:
        versions.append(Version(stamp or unknown, values))
        return
    latest = versions[-1]
    if latest.ends is None and latest.values == values:
        return
    starts = stamp if stamp and stamp > latest.starts and (latest.ends is None or stamp >= latest.ends) else effective
    latest.ends = latest.ends or starts
    versions.append(Version(starts, values))


def rows_of(versions: Versions) -> list[tuple[Any, ...]]:
    """As a table has them: key, values, start, end, whether it is current."""
    return sorted(
        (key, *one.values, one.starts, one.ends - SECOND if one.ends else OPEN_END, one.ends is None)
        for key, of_key in versions.items()
        for one in of_key
    )


def at(versions: Versions, key: Any, moment: datetime) -> tuple[Any, ...] | None:
    """Values of the version that was valid."""
    return next((one.values for one in versions.get(key, ()) if one.holds(moment)), None)


def portfolio(trades: Sequence[tuple[Any, ...]], stocks: Versions) -> dict[tuple[date, int], Decimal]:
    """By day and user, from trades of user, stock, quantity, moment."""
    days = sorted({(moment + HERE).date() for *_, moment in trades})
    value: dict[tuple[date, int], Decimal] = defaultdict(Decimal)
    for day in days:
        close = datetime.combine(day + timedelta(days=1), datetime.min.time()) - HERE - timedelta(microseconds=1)
        for user, stock, quantity, moment in trades:
            if user is not None and (moment + HERE).date() <= day:
                valid = at(stocks, stock, close)
                value[day, user] += quantity * valid[-1] if valid else Decimal()
    return value
