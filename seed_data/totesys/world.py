"""The tables as they are at one moment of the simulation, in memory, and a change of one row of them.

What happens is decided here and written to the database by the same changes, one by one or in bulk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Row = dict[str, Any]
Kind = Literal["inserted", "updated", "silent", "deleted"]

TABLES = (
    "address",
    "counterparty",
    "currency",
    "department",
    "design",
    "staff",
    "payment_type",
    "sales_order",
    "purchase_order",
    "transaction",
    "payment",
)
"""Whoever is referred to comes before whoever refers."""
CREATED, UPDATED = "created_at", "last_updated"


def key_of(table: str) -> str:
    """Return the name of a table's key."""
    return f"{table}_id"


def stamp(moment: datetime) -> datetime:
    """Return a time as the tables store it: UTC, without time zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class RowChange:
    """A change of one row.

    ``values`` is the whole row if it is inserted, the changed columns if it is updated, else empty.
    """

    table: str
    kind: Kind
    key: Any
    values: Row = field(default_factory=dict)


def insert_stamped_row(table: str, moment: datetime, values: Row) -> RowChange:
    """Return the change that inserts a row, with ``moment`` as its timestamp."""
    stamped = {**values, CREATED: stamp(moment), UPDATED: stamp(moment)}
    return RowChange(table, "inserted", values[key_of(table)], stamped)


class TotesysWorld:
    """Rows by table and key."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, Row]] = defaultdict(dict)

    def apply(self, changes: Iterable[RowChange]) -> None:
        """Bring the tables to where the changes lead."""
        for change in changes:
            rows = self.tables[change.table]
            if change.kind == "deleted":
                del rows[change.key]
            else:
                rows[change.key] = {**rows.get(change.key, {}), **change.values}

    def keys(self, table: str) -> list[int]:
        """Return the keys of a table in order, which is not always the order in which the rows came."""
        return sorted(self.tables[table])


@dataclass(frozen=True, order=True)
class TotesysEvent:
    """Something that happens at one moment, in one transaction: what it changes depends on how the world is then.

    ``at`` is when it is committed. No two events of a simulation share it.
    """

    at: datetime
    occur: Callable[[TotesysWorld], list[RowChange]] = field(compare=False)
