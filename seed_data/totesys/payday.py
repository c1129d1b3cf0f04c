"""The job of every working day at 07:55: payments that are due today become paid, all with one timestamp.

What is due on a weekend, or on the day of its order, stays unpaid for ever, as in the real data.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from millrace.seed_data.totesys.arrivals import MILLISECOND, midnight
from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.world import UPDATED, RowChange, TotesysEvent, TotesysWorld, stamp

STARTS = timedelta(hours=7, minutes=55)


def payday(seed: int, day: date) -> TotesysEvent:
    """Return the run of the job on ``day``."""
    moment = midnight(day) + STARTS + Chance(seed, "payday", day.toordinal()).integer(0, 999) * MILLISECOND
    return TotesysEvent(moment, lambda world: _pay(world, day, moment))


def _pay(world: TotesysWorld, day: date, moment: datetime) -> list[RowChange]:
    due = day.isoformat()
    payments = world.tables["payment"].items()
    keys = sorted(key for key, row in payments if row["payment_date"] == due and not row["paid"])
    return [RowChange("payment", "updated", key, {"paid": True, UPDATED: stamp(moment)}) for key in keys]
