"""Time zones for timestamps that name none: names of zones, and the wall clock time of an instant."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from millrace.base.errors import ConfigurationError

ANY_ZONE = (timezone(timedelta(hours=-12)), timezone(timedelta(hours=14)))
"""The westernmost and the easternmost zone: all others lie between them."""
LONGEST_SHIFT = timedelta(hours=24)
"""No clock was ever set back or forward by more than this."""
SECOND = timedelta(seconds=1)
EARLIEST, LATEST = datetime.min, datetime.max  # noqa: DTZ901 - wall clocks have no zone
_OFFSET = re.compile(r"([+-])(\d{1,2}):(\d{2})")
_DEPENDS_ON_THE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})


def check_zone(name: str, place: str) -> None:
    """Raise ConfigurationError at ``place`` unless ``name`` is a time zone of the IANA database."""
    if name not in _known_zones():
        raise ConfigurationError(f"{name!r} is not a time zone", place=place, remedy="write one such as Asia/Jakarta")


@cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _DEPENDS_ON_THE_MACHINE


def zones_other_than_utc(names: Collection[str]) -> tuple[str, ...]:
    """Return the names that do not mean UTC, sorted, each once."""
    return tuple(sorted({name for name in names if not all(map(_is_utc, _zones_of(name)))}))


def possible_zones(names: Collection[str]) -> tuple[tzinfo, ...]:
    """Return the zones that a server's names of time zones may mean.

    A name that is not understood (``EDT``, ``<+07>-07``) may mean any zone.
    """
    return tuple(zone for name in names for zone in _zones_of(name))


def earliest_wall_clock(instant: datetime, zones: Collection[tzinfo]) -> datetime:
    """Return the least time that a clock in any of the zones shows at ``instant`` or later.

    A clock that is set back after ``instant`` is taken into account. The result has no zone; it is exact to a second.
    """

    def least(zone: tzinfo) -> datetime:
        later = _after(instant)
        before_change, _ = _change_between(instant, later, zone)
        return min(_shift(instant, _offset(instant, zone)), _shift(before_change, _offset(later, zone)))

    return min(map(least, zones))


def latest_wall_clock(instant: datetime, zones: Collection[tzinfo]) -> datetime:
    """Return the greatest time that a clock in any of the zones showed before ``instant``.

    The result has no zone; it is exact to a second.
    """

    def greatest(zone: tzinfo) -> datetime:
        earlier = _before(instant)
        _, after_change = _change_between(earlier, instant, zone)
        return max(_shift(instant, _offset(instant, zone)), _shift(after_change, _offset(earlier, zone)))

    return max(map(greatest, zones))


def _change_between(start: datetime, end: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return two instants a second apart between which the clock of a zone is changed.

    Without a change, return ``end`` and ``start``: in this order they bound nothing.
    """
    if _offset(start, zone) == _offset(end, zone):
        return end, start
    first = _offset(start, zone)
    while end - start > SECOND:
        middle = start + (end - start) / 2
        start, end = (middle, end) if _offset(middle, zone) == first else (start, middle)
    return start, end


def _zones_of(name: str) -> tuple[tzinfo, ...]:
    if offset := _OFFSET.fullmatch(name):
        sign, hours, minutes = offset.groups()
        return (timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes))),)
    return (ZoneInfo(name),) if name in _known_zones() else ANY_ZONE


def _is_utc(zone: tzinfo) -> bool:
    """Return whether a zone equals UTC in winter and in summer."""
    year = datetime.now(UTC).year
    return all(_offset(datetime(year, month, 1, tzinfo=UTC), zone) == timedelta(0) for month in (1, 7))


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    try:
        return instant.astimezone(zone).utcoffset() or timedelta(0)
    except OverflowError:
        return timedelta(0)


def _shift(instant: datetime, offset: timedelta) -> datetime:
    """Return the wall clock time at an offset, limited to the years that a datetime can represent."""
    naive = instant.astimezone(UTC).replace(tzinfo=None)
    try:
        return naive + offset
    except OverflowError:
        return EARLIEST if offset < timedelta(0) else LATEST


def _after(instant: datetime) -> datetime:
    return min(instant, LATEST.replace(tzinfo=UTC) - LONGEST_SHIFT) + LONGEST_SHIFT


def _before(instant: datetime) -> datetime:
    return max(instant, EARLIEST.replace(tzinfo=UTC) + LONGEST_SHIFT) - LONGEST_SHIFT
