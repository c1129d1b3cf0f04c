"""The moments of events, columns of them: when each happened, was sent and was received, and how that is written.

The clock of a device may be wrong, so its moments are corrected by what the way to the server took, which is the rule
``timestamp = original_timestamp + (received_at - sent_at)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""Moments, in microseconds since 1970, UTC; spans; positions in a list."""
Unit: TypeAlias = Literal["s", "ms", "us"]
"""The last that is written of a moment."""

MILLISECOND, SECOND, MINUTE = 1_000, 1_000_000, 60_000_000
HOUR, QUARTER_OF_AN_HOUR = 60 * MINUTE, 15 * MINUTE
WAY = (80 * MILLISECOND, 0.8, 20 * SECOND)
"""From the device to the server: median, spread of the logarithm, longest."""
WAIT = (3 * SECOND, 1.2, 2 * MINUTE)
"""On the device, which sends several events at once."""
OFFLINE = (2 * HOUR, 1.0, 36 * HOUR)
OFFLINE_SHARE = 0.01
BLANK_SHARE = 0.5
"""Share of original timestamps with a blank instead of the T."""


@dataclass(frozen=True)
class Moments:
    """Times of events.

    ``sent`` is the true time, ``sent_at`` is ``sent`` without its fraction; original <= timestamp < sent < received.
    """

    original: Integers
    timestamp: Integers
    sent: Integers
    received: Integers


def draw_moments(random: np.random.Generator, received: Integers) -> Moments:
    """Draw the times before the reception of each event."""
    count = len(received)
    way = _span(random, WAY, count)
    wait = np.where(random.random(count) < OFFLINE_SHARE, _span(random, OFFLINE, count), _span(random, WAIT, count))
    sent = received - way
    original = (sent - way - wait) // MILLISECOND * MILLISECOND
    return Moments(original, original + way, sent, received)


def _span(random: np.random.Generator, span: tuple[int, float, int], count: int) -> Integers:
    median, spread, longest = span
    drawn = random.lognormal(np.log(median), spread, count)
    return np.clip(drawn, MILLISECOND, longest).astype(np.int64)


def spell_utc(moments: Integers, unit: Unit) -> list[str]:
    """``2018-01-30 18:13:43``, with the decimals that ``unit`` asks for."""
    return [f"{text[:10]} {text[11:]}" for text in _spell(moments, unit)]


def spell_original(random: np.random.Generator, moments: Integers, places: Integers, zones: list[str]) -> list[str]:
    """``2018-01-30T19:13:43.383+0100``, or with a blank for the T; ``places`` are positions in ``zones``."""
    offsets = _offsets(moments, places, zones)
    marks = np.where(random.random(len(moments)) < BLANK_SHARE, " ", "T").tolist()
    ends = [_spell_offset(minutes) for minutes in offsets.tolist()]
    local = _spell(moments + offsets * MINUTE, "ms")
    return [f"{text[:10]}{mark}{text[11:]}{end}" for text, mark, end in zip(local, marks, ends, strict=True)]


def _spell(moments: Integers, unit: Unit) -> list[str]:
    texts: list[str] = np.datetime_as_string(moments.astype("datetime64[us]"), unit=unit).tolist()
    return texts


def _offsets(moments: Integers, places: Integers, zones: list[str]) -> Integers:
    # Clocks are put forward and back at quarters of an hour, so that few moments need to be asked for.
    quarters = moments // QUARTER_OF_AN_HOUR
    distinct, positions = np.unique(quarters * len(zones) + places, return_inverse=True)
    asked = [(zones[one % len(zones)], one // len(zones)) for one in distinct.tolist()]
    return np.array([_offset_minutes(zone, quarter) for zone, quarter in asked], dtype=np.int64)[positions]


@lru_cache(maxsize=65_536)
def _offset_minutes(zone: str, quarter: int) -> int:
    moment = datetime.fromtimestamp(quarter * QUARTER_OF_AN_HOUR // SECOND, UTC)
    return int((moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()) / timedelta(minutes=1))


@lru_cache(maxsize=256)
def _spell_offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
