"""Clocks that are wrong, to put in the place of a module's ``datetime``."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Self, cast


def clock_that_is_off(by: timedelta) -> type[datetime]:
    """A ``datetime`` whose ``now`` is so much later than it is, or earlier if ``by`` is negative."""

    class Off(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cast("Self", datetime.now(tz) + by)  # an ordinary one, as others serialize it

    return Off
