"""Cursor values ahead of their source's clock: written in another time zone than declared, or by a wrong clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from millrace.base.types import Column, Kind
from millrace.declaration.stream import Stream

TOLERANCE = timedelta(hours=1)
"""Smaller differences are not reported. The difference of neighbouring time zones is not smaller."""
_DECLARE = "declare stamps_in with the time zone in which stamps are written"


def measure_ahead(frame: pl.DataFrame, columns: Sequence[Column], stream: Stream, read_at: datetime) -> timedelta:
    """Return by how much the latest cursor value of these rows is ahead of the moment of the read; zero: it is not."""
    column = next((column for column in columns if column.path == stream.capture.stamp), None)
    if column is None or column.type.kind not in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
        return timedelta(0)
    latest = frame[column.name].max()
    if not isinstance(latest, datetime):
        return timedelta(0)
    # Wall clocks are compared: an instant of the year 9999 may have no UTC.
    now = read_at.astimezone(ZoneInfo(stream.stamps_in) if stream.stamps_in and latest.tzinfo is None else UTC)
    return max(latest.replace(tzinfo=None) - now.replace(tzinfo=None), timedelta(0))


def describe_ahead(stream: Stream, ahead: timedelta) -> str:
    """Return what an operator should know; '' if the difference is small."""
    if ahead <= TOLERANCE:
        return ""
    declared = f"see that stamps are written in {stream.stamps_in} (stamps_in)" if stream.stamps_in else _DECLARE
    return (
        f"the latest {stream.capture.stamp} is {timedelta(seconds=round(ahead.total_seconds()))} ahead of the source's "
        f"clock: {declared}, or correct the clock that wrote it"
    )
