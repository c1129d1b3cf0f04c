"""Freshness: how old changes were when they became visible in the warehouse.

Age of a change = (moment of the read − cursor value of the row, by the source's clock) + (commit − beginning of the
read, by the runner's clock): no clock is compared with another. A changed row whose cursor value lies before the former
read is silent: its cursor value was not changed with it, so that its age is unknown. Of what a change log told, the
time of the commit in the source takes the place of the cursor value, and no row is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Any

from millrace.base.naming import literal, quote
from millrace.base.types import Kind
from millrace.lake.batch import Batch, CommitTimes
from millrace.warehouse.target import Target

TIMESTAMPS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})
MIDDLE_SHARE, OLDEST_SHARE = 0.5, 0.05


@dataclass(frozen=True)
class Freshness:
    """How old the changed rows of a batch were when they became visible."""

    stamped: int
    """Number of changed rows with a new cursor value. Only these have an age."""
    silent: int
    """Number of changed rows with an old cursor value, or none."""
    p50_seconds: float | None = None
    """The median age; None: no row has an age."""
    p95_seconds: float | None = None
    """The age that 95 % of the rows do not exceed; None: no row has an age."""
    max_seconds: float | None = None
    """The greatest age; None: no row has an age."""


def measure_freshness(
    connection: Any, target: Target, batch: Batch, position: str | None, visible_at: datetime
) -> Freshness | None:
    """Measure the changed rows of a batch that was just applied.

    Return None for a first load, a backfill, and a target whose cursor column is no timestamp: a date tells no age.
    ``position`` is where the read before this one ended.
    """
    log = batch.progress.log
    if log is not None and log.commit_times is not None:
        return _measure_commits(batch, log.commit_times, visible_at)
    has_times = any(column.name == target.cursor_column and column.type.kind in TIMESTAMPS for column in batch.columns)
    previous = None if position is None else _moment_of(position)
    if not has_times or not batch.written or previous is None or batch.progress.position is None:
        return None
    with connection.cursor() as cursor:
        # Redshift gives whole seconds of a time, so that the position must be cut to them too.
        since = floor(previous.timestamp())
        kinds = {column.name: column.type.kind for column in batch.columns}
        cursor.execute(_find_changed_times(target, kinds.get(target.cursor_column), since))
        stamped, silent, *times = cursor.fetchone()
    visible = batch.read_at.timestamp() + (visible_at - batch.begun_at).total_seconds()
    ages = [None if changed_at is None else round(max(visible - float(changed_at), 0.0), 3) for changed_at in times]
    return Freshness(stamped, silent, *ages)


def _measure_commits(batch: Batch, times: CommitTimes, visible_at: datetime) -> Freshness:
    visible = batch.read_at + (visible_at - batch.begun_at)
    ages = [max((visible - moment).total_seconds(), 0.0) for moment in (times.middle, times.early, times.earliest)]
    return Freshness(times.keys, 0, *(round(age, 3) for age in ages))


def _moment_of(position: str) -> datetime | None:
    """Return the moment of a position; None: it was made by a cursor column of numbers, before another was declared."""
    try:
        return datetime.fromisoformat(position)
    except ValueError:
        return None


def _find_changed_times(target: Target, kind: Kind | None, since: float) -> str:
    """Return a query that counts the changed rows and tells their cursor values, in seconds since 1970.

    It counts rows with a cursor value at or after ``since``, and the other rows. Of the values at or after ``since`` it
    tells the middle one, that of the oldest twentieth, and the oldest. ``kind`` is the kind of the cursor column.
    """
    at = quote(target.cursor_column)
    if target.time_zone and kind is Kind.TIMESTAMP:
        at = f"({at} AT TIME ZONE {literal(target.time_zone)})"
    seconds = f"EXTRACT(EPOCH FROM {at})::DOUBLE PRECISION"
    fresh = f"CASE WHEN at >= {since!r} THEN at END"
    percentiles = ", ".join(
        f"percentile_cont({share}) WITHIN GROUP (ORDER BY {fresh})" for share in (MIDDLE_SHARE, OLDEST_SHARE)
    )
    return (
        f"SELECT count({fresh}), count(*) - count({fresh}), {percentiles}, min({fresh}) "
        f"FROM (SELECT {seconds} AS at FROM {quote(target.temporary.changed_rows)}) AS stamped"
    )
