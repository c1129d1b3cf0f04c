"""The simulated clock (sql/totesys/clock.sql), and the beginning of the simulation.

The clock never passes ``complete_until``, which changes in the transaction of each event: everything before it is
committed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from millrace.seed_data.totesys.days import Calendar

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class that is spelled small)

_LOCK = "SELECT pg_try_advisory_lock(hashtext('totesys.simulation'))"
_ORIGIN = "SELECT seed, started_on FROM simulation.origin"
_BEGIN = """
INSERT INTO simulation.origin (seed, started_on) VALUES (%(seed)s, %(start)s);
INSERT INTO simulation.clock (anchor_real, anchor_simulated, speed, complete_until)
VALUES (pg_catalog.clock_timestamp(), %(moment)s, 0, %(moment)s)
"""
_RUN = """
UPDATE simulation.clock
SET anchor_simulated = simulation.now(), anchor_real = pg_catalog.clock_timestamp(), speed = %s
"""
_AIM = "UPDATE simulation.clock SET anchor_simulated = %s, anchor_real = pg_catalog.clock_timestamp(), speed = 0"
_COMPLETE = "UPDATE simulation.clock SET complete_until = %s"


def lock(cursor: Cursor) -> bool:
    """Take the lock of the simulation until the session ends; return whether no other session has it."""
    return bool(_one(cursor, _LOCK))


def origin(cursor: Cursor) -> Calendar | None:
    """Return how the simulation in this database began; None if none did."""
    cursor.execute(_ORIGIN)
    found: tuple[int, date] | None = cursor.fetchone()
    return Calendar(*found) if found else None


def begin(cursor: Cursor, calendar: Calendar, moment: datetime) -> None:
    """Set a clock that was not set, at rest."""
    cursor.execute(_BEGIN, {"seed": calendar.seed, "start": calendar.start, "moment": moment})


def now(cursor: Cursor) -> datetime:
    """Return the simulated time; everything that happens until then is committed."""
    return _moment(cursor, "SELECT simulation.now()")


def target(cursor: Cursor) -> datetime:
    """Return the time that the clock would show if everything were committed."""
    return _moment(cursor, "SELECT simulation.target()")


def real(cursor: Cursor) -> datetime:
    """Return the time of the server's real clock."""
    return _moment(cursor, "SELECT pg_catalog.clock_timestamp()")


def run(cursor: Cursor, speed: float) -> None:
    """Let the clock run from where it is, ``speed`` times as fast as the real one; 0: let it rest."""
    cursor.execute(_RUN, (speed,))


def aim(cursor: Cursor, moment: datetime) -> None:
    """Let the clock rest at ``moment`` as soon as everything up to then is committed."""
    cursor.execute(_AIM, (moment,))


def complete(cursor: Cursor, moment: datetime) -> None:
    """Everything up to ``moment`` is committed, or is with this transaction."""
    cursor.execute(_COMPLETE, (moment,))


def _moment(cursor: Cursor, question: str) -> datetime:
    moment: datetime = _one(cursor, question)
    return moment.astimezone(UTC)


def _one(cursor: Cursor, question: str) -> Any:
    cursor.execute(question)
    return cursor.fetchone()[0]
