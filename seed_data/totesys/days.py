"""How many rows exist at the beginning of a day, at the measured rates: the ids of a day follow from its date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from millrace.seed_data.totesys.chance import Chance

WEEKDAYS_OF_TWO_YEARS = 521
TRANSACTIONS_PER_WEEKDAY = 15_836 / WEEKDAYS_OF_TWO_YEARS
SALES_SHARE = 11_187 / 15_836
FIRST_DESIGNS = 10
DESIGNS_PER_WEEKDAY = (473 - FIRST_DESIGNS) / WEEKDAYS_OF_TWO_YEARS
LARGEST_DEVIATION = 8


def is_weekday(day: date) -> bool:
    """Return whether people work on a day."""
    return day.weekday() < 5


@dataclass(frozen=True)
class Totals:
    """Rows that came before some moment; the next id of each table is one more."""

    sales_orders: int
    purchase_orders: int
    designs: int

    @property
    def transactions(self) -> int:
        """Return the number of transactions: as many as payments, one for each order."""
        return self.sales_orders + self.purchase_orders


@dataclass(frozen=True)
class Calendar:
    """The days of a simulation that began on ``start``."""

    seed: int
    start: date

    def before(self, day: date) -> Totals:
        """Rows that came before ``day``."""
        weekdays = int(np.busday_count(self.start, day))
        transactions = round(weekdays * TRANSACTIONS_PER_WEEKDAY) + self._deviation(weekdays)
        sales_orders = round(transactions * SALES_SHARE)
        designs = FIRST_DESIGNS + round(weekdays * DESIGNS_PER_WEEKDAY)
        return Totals(sales_orders, transactions - sales_orders, designs)

    def after(self, day: date) -> Totals:
        """Rows that came up to the end of ``day``."""
        return self.before(day + timedelta(days=1))

    def _deviation(self, weekdays: int) -> int:
        """Return the deviation of a total from its mean, bounded so that no day has zero transactions."""
        if weekdays == 0:
            return 0
        return Chance(self.seed, "deviation", weekdays).integer(-LARGEST_DEVIATION, LARGEST_DEVIATION)
