"""What happens on a working day: orders with their transactions and payments, and new designs.

A day depends on the seed and its date alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.days import Calendar, Totals
from millrace.seed_data.totesys.designs import draw_design, draw_ordered_design
from millrace.seed_data.totesys.orders import Order, order_changes
from millrace.seed_data.totesys.world import RowChange, TotesysEvent, insert_stamped_row

OPENING, CLOSING = timedelta(hours=8), timedelta(hours=19)
MILLISECOND = timedelta(milliseconds=1)
TIE_SHARE, INVERSION_SHARE = 1 / 1_000, 1 / 600
LARGEST_INVERSION_MILLISECONDS = 14
LATE_DESIGN_SHARE = 0.15
"""Share of designs that are ordered minutes before they exist."""


def midnight(day: date) -> datetime:
    """Return the beginning of a day."""
    return datetime.combine(day, time(), UTC)


def draw_moment(chance: Chance, day: date) -> datetime:
    """Draw a whole millisecond between opening and closing, with time left for an inversion."""
    first, last = (OPENING + timedelta(seconds=1)) // MILLISECOND, (CLOSING - timedelta(seconds=1)) // MILLISECOND
    return midnight(day) + chance.integer(first, last) * MILLISECOND


def one_after_another(moments: Iterable[datetime]) -> Iterator[datetime]:
    """Return when each row is committed, given its timestamps in order.

    Of two equal timestamps one is visible earlier.
    """
    latest = datetime.min.replace(tzinfo=UTC)
    for moment in moments:
        latest = max(moment, latest + MILLISECOND)
        yield latest


def arrivals(calendar: Calendar, day: date) -> list[TotesysEvent]:
    """Return all events of a working day, in order."""
    before, after = calendar.before(day), calendar.after(day)
    orders = _orders(Chance(calendar.seed, "orders", day.toordinal()), day, before, after)
    stamped = [_new_design(calendar.seed, key, day, orders) for key in range(before.designs + 1, after.designs + 1)]
    stamped += [(order.moment, order_changes(order, calendar.seed)) for order in orders]
    stamped.sort(key=lambda one: one[0])
    committed = one_after_another(moment for moment, _ in stamped)
    return [_event(at, changes) for at, (_, changes) in zip(committed, stamped, strict=True)]


def _event(at: datetime, changes: list[RowChange]) -> TotesysEvent:
    return TotesysEvent(at, lambda _world: changes)


def _orders(chance: Chance, day: date, before: Totals, after: Totals) -> list[Order]:
    """Return the orders by their ids."""
    sales, purchases = after.sales_orders - before.sales_orders, after.purchase_orders - before.purchase_orders
    orders = []
    sale_key, purchase_key = before.sales_orders, before.purchase_orders
    for key, moment in enumerate(_moments(chance, day, sales + purchases), before.transactions + 1):
        is_sale = chance.happens((after.sales_orders - sale_key) / (after.transactions - key + 1))
        sale_key, purchase_key = sale_key + is_sale, purchase_key + (not is_sale)
        design = draw_ordered_design(chance, before.designs)
        orders.append(Order(key, sale_key if is_sale else purchase_key, is_sale, moment, design))
    return orders


def _moments(chance: Chance, day: date, count: int) -> list[datetime]:
    """Return times in order, except a few that equal the one before or are some milliseconds before it."""
    moments = sorted(draw_moment(chance, day) for _ in range(count))
    for position in range(1, count):
        if chance.happens(TIE_SHARE):
            moments[position] = moments[position - 1]
        elif chance.happens(INVERSION_SHARE):
            earlier = chance.integer(1, LARGEST_INVERSION_MILLISECONDS)
            moments[position] = moments[position - 1] - earlier * MILLISECOND
    return moments


def _new_design(seed: int, key: int, day: date, orders: list[Order]) -> tuple[datetime, list[RowChange]]:
    """Return the insert of a design; if it is ordered before it exists, one of ``orders`` names it."""
    chance = Chance(seed, "design", key)
    row = {"design_id": key, **draw_design(chance)}
    moment = draw_moment(chance, day)
    order = chance.one_of(orders)
    later = order.moment + chance.integer(120_000, 600_000) * MILLISECOND
    if order.is_sale and later < midnight(day) + CLOSING and chance.happens(LATE_DESIGN_SHARE):
        order.design_id, moment = key, later
    return moment, [insert_stamped_row("design", moment, row)]
