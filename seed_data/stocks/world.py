"""The state of the platform in memory, and the events that change it.

An event is computed here, and the same changes are written to the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone

from millrace.seed_data.totesys.world import Row, RowChange

TABLES = ("stock", "user", "transaction")
"""Whoever is referred to comes before whoever refers."""
LOCAL = timezone(timedelta(hours=7), "UTC+7")
MILLISECOND = timedelta(milliseconds=1)


def key_of(table: str) -> str:
    """Return the name of a table's key."""
    return f"{table}_id"


def midnight(day: date) -> datetime:
    """Return the beginning of a day in the platform's time zone, in UTC."""
    return datetime.combine(day, time(), LOCAL).astimezone(UTC)


def local_day(moment: datetime) -> date:
    """Return the day in the platform's time zone."""
    return moment.astimezone(LOCAL).date()


def stamp(moment: datetime) -> datetime:
    """Return a time as the platform writes it: its wall clock, without time zone and fraction."""
    return moment.astimezone(LOCAL).replace(tzinfo=None, microsecond=0)


def insert_row(table: str, key: int | str, values: Row) -> RowChange:
    """Return the change that inserts a row."""
    return RowChange(table, "inserted", key, {key_of(table): key, **values})


class StocksWorld:
    """The rows of `stock` and `user` by key, and of everything else what the next events depend on."""

    def __init__(self) -> None:
        self.stocks: dict[str, Row] = {}
        self.users: dict[int, Row] = {}
        self.delisted: dict[str, Row] = {}
        """As they were last."""
        self.relisted: set[str] = set()
        self.traded: set[str] = set()
        self.traders: set[int] = set()
        self.last_user = self.last_transaction = 0
        """The greatest keys there ever were."""

    def apply(self, changes: Iterable[RowChange]) -> None:
        """Bring the platform to where the changes lead."""
        apply = {"stock": self._apply_to_stock, "user": self._apply_to_user, "transaction": self._trade}
        for change in changes:
            apply[change.table](change)

    def _apply_to_stock(self, change: RowChange) -> None:
        if change.kind == "deleted":
            self.delisted[change.key] = self.stocks.pop(change.key)
            return
        if self.delisted.pop(change.key, None):
            self.relisted.add(change.key)
        self.stocks[change.key] = {**self.stocks.get(change.key, {}), **change.values}

    def _apply_to_user(self, change: RowChange) -> None:
        if change.kind == "deleted":
            del self.users[change.key]
            return
        self.users[change.key] = {**self.users.get(change.key, {}), **change.values}
        self.last_user = max(self.last_user, change.key)

    def _trade(self, change: RowChange) -> None:
        self.traded.add(change.values["stock_id"])
        if change.values["user_id"] is not None:
            self.traders.add(change.values["user_id"])
        self.last_transaction = max(self.last_transaction, change.key)


@dataclass(frozen=True, order=True)
class StocksEvent:
    """Something that happens at one moment, in one transaction: what it changes depends on how the world is then.

    ``at`` is when it is committed. No two events of a simulation share it.
    """

    at: datetime
    occur: Callable[[StocksWorld], list[RowChange]] = field(compare=False)
