"""The simulated clock (sql/stocks/clock.sql), and the beginning of the simulation.

The clock never passes ``complete_until``, which changes in the transaction of each event: everything before it is
committed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from millrace.seed_data.stocks.course import Origin
from millrace.seed_data.stocks.script import add_schema_name

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_LOCK = "SELECT GET_LOCK(CONCAT('simulation ', MD5(DATABASE())), 0)"
_ORIGIN = "SELECT seed, started_on FROM `simulation`.origin"
_BEGIN_ORIGIN = "INSERT INTO `simulation`.origin (seed, started_on) VALUES (%s, %s)"
_BEGIN_CLOCK = """
INSERT INTO `simulation`.clock (anchor_real, anchor_simulated, speed, complete_until)
VALUES (`simulation`.`real`(), %s, 0, %s)
"""
# Read before it is written: the assignments take place one after the other.
_RUN = """
UPDATE `simulation`.clock
SET anchor_simulated = %s, anchor_real = `simulation`.`real`(), speed = %s
"""
_COMPLETE = "UPDATE `simulation`.clock SET complete_until = %s"


def epoch_seconds(moment: datetime) -> Decimal:
    """Return a time as the clock's tables store it, to the microsecond."""
    return Decimal((moment - _EPOCH) // _MICROSECOND).scaleb(-6)


class Clock:
    """The clock of the simulation in ``schema``, for the schema's owner."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def lock(self, cursor: Cursor) -> bool:
        """Take the lock of the simulation until the session ends; return whether no other session has it."""
        return bool(self._one(cursor, _LOCK))

    def origin(self, cursor: Cursor) -> Origin | None:
        """Return how the simulation in this database began; None if none did."""
        cursor.execute(add_schema_name(_ORIGIN, self._schema))
        found: tuple[int, date] | None = cursor.fetchone()
        return Origin(*found) if found else None

    def begin(self, cursor: Cursor, origin: Origin, moment: datetime) -> None:
        """Set a clock that was not set, at rest."""
        cursor.execute(add_schema_name(_BEGIN_ORIGIN, self._schema), (origin.seed, origin.start))
        cursor.execute(add_schema_name(_BEGIN_CLOCK, self._schema), (epoch_seconds(moment), epoch_seconds(moment)))

    def now(self, cursor: Cursor) -> datetime:
        """Return the simulated time; everything that happens until then is committed."""
        return self._moment(cursor, "now")

    def target(self, cursor: Cursor) -> datetime:
        """Return the time that the clock would show if everything were committed."""
        return self._moment(cursor, "target")

    def real(self, cursor: Cursor) -> datetime:
        """Return the time of the server's real clock."""
        return self._moment(cursor, "real")

    def run(self, cursor: Cursor, speed: float) -> None:
        """Let the clock run from where it is, ``speed`` times as fast as the real one; 0: let it rest."""
        self._set(cursor, self.now(cursor), speed)

    def aim(self, cursor: Cursor, moment: datetime) -> None:
        """Let the clock rest at ``moment`` as soon as everything up to then is committed."""
        self._set(cursor, moment, 0)

    def complete(self, cursor: Cursor, moment: datetime) -> None:
        """Everything up to ``moment`` is committed, or is with this transaction."""
        cursor.execute(add_schema_name(_COMPLETE, self._schema), (epoch_seconds(moment),))

    def _set(self, cursor: Cursor, moment: datetime, speed: float) -> None:
        cursor.execute(add_schema_name(_RUN, self._schema), (epoch_seconds(moment), speed))

    def _moment(self, cursor: Cursor, function: str) -> datetime:
        return _EPOCH + int(self._one(cursor, f"SELECT `simulation`.`{function}`()").scaleb(6)) * _MICROSECOND

    def _one(self, cursor: Cursor, question: str) -> Any:
        cursor.execute(add_schema_name(question, self._schema))
        [(answer,)] = cursor.fetchall()
        return answer
