"""Silent changes, which no cursor column shows: edits that do not set ``last_updated``, and deletes.

Rates are those of real dumps: in seven months 44 designs and 39 sales orders were edited in this way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial

from millrace.seed_data.totesys.arrivals import draw_moment, one_after_another
from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.designs import LOCATIONS, NEVER_ORDERED, draw_ordered_design
from millrace.seed_data.totesys.reference import ADDRESSES
from millrace.seed_data.totesys.world import Row, RowChange, TotesysEvent, TotesysWorld

WEEKDAYS_OF_SEVEN_MONTHS = 152
HALF_A_MILLISECOND = timedelta(microseconds=500)
RENAMED = " Department"
DIGITS = "0123456789"

Act = Callable[[Chance, TotesysWorld], list[RowChange]]


def quiet_events(seed: int, day: date, rate: float) -> list[TotesysEvent]:
    """Return the silent changes of a working day; ``rate`` 1 is the measured rate.

    Their times differ by half a millisecond from all others, so that another rate does not change those.
    """
    planned = sorted(
        ((draw_moment(_chance(seed, act, number, day), day), number, act) for act, number in _plan(seed, day, rate)),
        key=lambda one: (one[0], one[2].__name__, one[1]),
    )
    moments = one_after_another(moment for moment, _, _ in planned)
    return [
        TotesysEvent(moment + HALF_A_MILLISECOND, partial(_occur, act, seed, number, day))
        for moment, (_, number, act) in zip(moments, planned, strict=True)
    ]


def _plan(seed: int, day: date, rate: float) -> list[tuple[Act, int]]:
    counts = {
        act: Chance(seed, f"{act.__name__} how often", day.toordinal()).count(mean * rate)
        for act, mean in MEAN_PER_WEEKDAY.items()
    }
    return [(act, number) for act, count in counts.items() for number in range(count)]


def _occur(act: Act, seed: int, number: int, day: date, world: TotesysWorld) -> list[RowChange]:
    chance = _chance(seed, act, number, day)
    draw_moment(chance, day)
    return act(chance, world)


def _chance(seed: int, act: Act, number: int, day: date) -> Chance:
    return Chance(seed, f"{act.__name__} {number}", day.toordinal())


def _row(chance: Chance, world: TotesysWorld, table: str) -> tuple[int, Row] | None:
    keys = world.keys(table)
    if not keys:
        return None
    key = chance.one_of(keys)
    return key, world.tables[table][key]


def _edit(chance: Chance, world: TotesysWorld, table: str, edited: Callable[[Row], Row]) -> list[RowChange]:
    """Return the change of an edit; nothing if the edit changes no value."""
    chosen = _row(chance, world, table)
    if chosen is None:
        return []
    key, row = chosen
    values = {name: value for name, value in edited(row).items() if value != row[name]}
    return [RowChange(table, "silent", key, values)] if values else []


def _move_design_file(chance: Chance, world: TotesysWorld) -> list[RowChange]:
    return _edit(
        chance,
        world,
        "design",
        lambda row: {"file_location": chance.one_of([place for place in LOCATIONS if place != row["file_location"]])},
    )


def _edit_sales_order(chance: Chance, world: TotesysWorld) -> list[RowChange]:
    return _edit(chance, world, "sales_order", partial(_other_agreement, chance, world))


def _other_agreement(chance: Chance, world: TotesysWorld, row: Row) -> Row:
    column = chance.one_of(("agreed_delivery_date", "design_id", "agreed_delivery_location_id"))
    if column == "agreed_delivery_date":
        agreed = datetime.fromisoformat(row[column])
        return {column: (agreed + timedelta(days=chance.integer(1, 14))).date().isoformat()}
    if column == "design_id":
        return {column: draw_ordered_design(chance, max(world.tables["design"]))}
    return {column: row[column] % ADDRESSES + 1}


def _edit_address(chance: Chance, world: TotesysWorld) -> list[RowChange]:
    return _edit(chance, world, "address", lambda _row: {"phone": f"{chance.text(DIGITS, 4)} {chance.text(DIGITS, 6)}"})


def _rename_department(chance: Chance, world: TotesysWorld) -> list[RowChange]:
    def other_name(row: Row) -> Row:
        name = row["department_name"]
        return {"department_name": name.removesuffix(RENAMED) if name.endswith(RENAMED) else name + RENAMED}

    return _edit(chance, world, "department", other_name)


def _delete_payment(chance: Chance, world: TotesysWorld) -> list[RowChange]:
    chosen = _row(chance, world, "payment")
    return [_delete_row("payment", chosen[0])] if chosen else []


def _delete_sales_order(chance: Chance, world: TotesysWorld) -> list[RowChange]:
    """With what refers to it."""
    chosen = _row(chance, world, "sales_order")
    if chosen is None:
        return []
    order = chosen[0]
    transactions = _referring(world, "transaction", "sales_order_id", {order})
    payments = _referring(world, "payment", "transaction_id", set(transactions))
    return [
        *(_delete_row("payment", key) for key in payments),
        *(_delete_row("transaction", key) for key in transactions),
        _delete_row("sales_order", order),
    ]


def _delete_design(_chance: Chance, world: TotesysWorld) -> list[RowChange]:
    """Delete the oldest design that no order uses, if there is one."""
    used = {row["design_id"] for row in world.tables["sales_order"].values()}
    unused = [key for key in world.keys("design") if key not in used and key % NEVER_ORDERED == 0]
    return [_delete_row("design", unused[0])] if unused else []


def _referring(world: TotesysWorld, table: str, column: str, keys: set[int]) -> list[int]:
    return sorted(key for key, row in world.tables[table].items() if row[column] in keys)


def _delete_row(table: str, key: int) -> RowChange:
    return RowChange(table, "deleted", key)


MEAN_PER_WEEKDAY: dict[Act, float] = {
    _move_design_file: 44 / WEEKDAYS_OF_SEVEN_MONTHS,
    _edit_sales_order: 39 / WEEKDAYS_OF_SEVEN_MONTHS,
    _edit_address: 1 / 60,
    _rename_department: 1 / 120,
    _delete_payment: 1 / 60,
    _delete_sales_order: 1 / 60,
    _delete_design: 1 / 120,
}
