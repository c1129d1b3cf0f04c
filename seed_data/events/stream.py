"""The messages of the queue, without end: events, some of them repeated, some malformed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

import numpy as np

from millrace.seed_data.events.drawing import draw_events
from millrace.seed_data.events.moments import SECOND
from millrace.seed_data.events.spoiling import KINDS, spoil
from millrace.seed_data.totesys.chance import Chance

PURPOSE = 2
"""Purpose of the random draws of this module, which are independent of those of the other one."""
VALID, DUPLICATE = "valid", "duplicate"
BLOCK = 2_048
REMEMBERED = 8_192
"""Number of events back to the oldest one that may be repeated."""
CLOSE, CLOSE_SHARE = 20, 0.5
"""How near a repeated event follows, as after a lost answer, and how often it does."""
REORDERED_SHARE = 0.1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventMessage(NamedTuple):
    """``kind`` is VALID, DUPLICATE or one of ``spoiling.KINDS``; ``event_id`` that of the event, also of a spoiled one.

    ``at`` is the moment at which it reaches the queue, in seconds since 1970.
    """

    body: str
    event_id: str
    kind: str
    at: float


class _Memory:
    """The last valid events."""

    def __init__(self) -> None:
        self._events: list[tuple[str, str]] = []
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, event: tuple[str, str]) -> None:
        if len(self._events) < REMEMBERED:
            self._events.append(event)
        else:
            self._events[self._next] = event
        self._next = (self._next + 1) % REMEMBERED

    def back(self, steps: int) -> tuple[str, str]:
        """0 is the last; counts around where there are fewer."""
        return self._events[(self._next - 1 - steps) % len(self._events)]


def messages(
    seed: int, start: datetime, rate: float, duplicates: float = 0.0, malformed: float = 0.0
) -> Iterator[EventMessage]:
    """Generate messages from ``start`` on, ``rate`` a second on average, with uniform gaps of 0 to 2 / rate.

    ``duplicates`` is the share of messages that repeat an earlier event, byte for byte or with its keys in another
    order; ``malformed`` is the share of events that nobody can read. Equal arguments give equal messages; other shares
    give the same events where both are valid.
    """
    remembered, begin = _Memory(), (start - _EPOCH) // timedelta(microseconds=1)
    for block in count():
        random = np.random.default_rng([seed, PURPOSE, block])
        moments = begin + np.cumsum(random.uniform(0, 2 * SECOND / rate, BLOCK)).astype(np.int64)
        begin = int(moments[-1])
        fates, numbers = random.random(BLOCK).tolist(), random.integers(2**31, size=BLOCK).tolist()
        events = draw_events(seed, block, moments)
        for event, fate, number, moment in zip(events, fates, numbers, (moments / SECOND).tolist(), strict=True):
            if fate < duplicates and remembered:
                yield _repeat(remembered, Chance(seed, "repetition", number), moment)
            elif duplicates <= fate < duplicates + malformed:
                yield _spoil(event, number, moment)
            else:
                remembered.add(event)
                yield EventMessage(event[1], event[0], VALID, moment)


def _repeat(remembered: _Memory, chance: Chance, moment: float) -> EventMessage:
    reach = CLOSE if chance.happens(CLOSE_SHARE) else REMEMBERED
    event_id, body = remembered.back(chance.integer(0, reach - 1))
    if chance.happens(REORDERED_SHARE):
        body = json.dumps(dict(reversed(json.loads(body).items())))
    return EventMessage(body, event_id, DUPLICATE, moment)


def _spoil(event: tuple[str, str], number: int, moment: float) -> EventMessage:
    choice, kind = divmod(number, len(KINDS))
    name = tuple(KINDS)[kind]
    return EventMessage(spoil(name, event[1], choice), event[0], name, moment)
