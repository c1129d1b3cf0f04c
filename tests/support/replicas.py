"""What tests of replicas share: how long a blind read looks back, and waiting for a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from millrace.sources.chunk import ReadFacts

BLIND = timedelta(minutes=15)
HOUR = timedelta(hours=1)
WAITS = 600
"""How often a server is asked whether it has come so far, a twentieth of a second apart."""


def until(holds: Callable[[], bool]) -> None:
    for _ in range(WAITS):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come so far")


def started(read: ReadFacts) -> datetime:
    assert read.next_position is not None
    return datetime.fromisoformat(read.next_position)
