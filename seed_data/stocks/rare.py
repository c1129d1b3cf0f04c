"""Rare events that a pipeline must handle: silent edits, deletes, returns, several changes a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar

from millrace.seed_data.stocks.jobs import PRICES_AT, USERS_AT, draw_price, new_email
from millrace.seed_data.stocks.reference import draw_name, is_traded
from millrace.seed_data.stocks.world import MILLISECOND, StocksEvent, StocksWorld, insert_row, midnight, stamp
from millrace.seed_data.totesys.arrivals import one_after_another
from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.world import RowChange

DAYS_OF_A_MONTH = 30
HALF_A_MILLISECOND = timedelta(microseconds=500)
AFTER_OPENING, NOON, BEFORE_MIDNIGHT = timedelta(seconds=5), timedelta(hours=12), timedelta(hours=23, minutes=59)
AFTER_PRICES, AFTER_USERS = PRICES_AT + timedelta(minutes=5), USERS_AT + timedelta(minutes=5)


@dataclass(frozen=True)
class Occasion:
    """One time that one kind of event happens. What is drawn for it depends on nothing that happened before."""

    seed: int
    day: date
    kind: str
    number: int

    def chance(self, purpose: str) -> Chance:
        """Return the random generator for one purpose of this occasion."""
        return Chance(self.seed, f"{self.kind} {self.number} {purpose}", self.day.toordinal())


Key = TypeVar("Key", int, str)
Act = Callable[[Occasion, datetime, StocksWorld], list[RowChange]]


@dataclass(frozen=True)
class RareStep:
    """An act, and the hours between which it happens."""

    act: Act
    first: timedelta = AFTER_OPENING
    last: timedelta = BEFORE_MIDNIGHT

    def moment(self, occasion: Occasion) -> datetime:
        """Return when the step happens on this occasion."""
        milliseconds = occasion.chance(f"from {self.first}").integer(
            self.first // MILLISECOND, self.last // MILLISECOND
        )
        return midnight(occasion.day) + milliseconds * MILLISECOND


def rare_events(seed: int, day: date, rate: float) -> list[StocksEvent]:
    """Return the rare events of a day; at ``rate`` 1 each kind happens about once a month.

    Their times differ by half a millisecond from all others, so that another rate does not change those.
    """
    planned = sorted(_plan(seed, day, rate), key=lambda one: (one[0], one[1].kind, one[1].number))
    moments = one_after_another(moment for moment, _, _ in planned)
    return [
        StocksEvent(moment + HALF_A_MILLISECOND, partial(act, occasion, moment))
        for moment, (_, occasion, act) in zip(moments, planned, strict=True)
    ]


def _plan(seed: int, day: date, rate: float) -> Iterator[tuple[datetime, Occasion, Act]]:
    for kind, steps in KINDS.items():
        times = Chance(seed, f"{kind} how often", day.toordinal()).count(rate / DAYS_OF_A_MONTH)
        for number in range(times):
            occasion = Occasion(seed, day, kind, number)
            yield from ((step.moment(occasion), occasion, step.act) for step in steps)


def _chosen(occasion: Occasion, keys: Iterable[Key]) -> list[Key]:
    """Choose one, if there are any, by rank of random numbers: a row that comes or goes seldom changes the choice."""
    return sorted(keys, key=lambda key: (occasion.chance(f"lot of {key}").integer(0, 2**62), key))[:1]


def _delist(occasion: Occasion, _moment: datetime, world: StocksWorld) -> list[RowChange]:
    """Delist a stock that was never traded; others are never deleted, because transactions refer to them."""
    untraded = world.stocks.keys() - world.traded
    keys = [key for key in untraded if not is_traded(occasion.seed, key, key in world.relisted)]
    return [RowChange("stock", "deleted", key) for key in _chosen(occasion, keys)]


def _relist(occasion: Occasion, _moment: datetime, world: StocksWorld) -> list[RowChange]:
    """List a stock again as it was when it was delisted."""
    return [insert_row("stock", key, world.delisted[key]) for key in _chosen(occasion, world.delisted)]


def _move_price(occasion: Occasion, _moment: datetime, world: StocksWorld) -> list[RowChange]:
    """Once more on this day, on which the daily job moved all."""
    prices = {key: world.stocks[key]["price"] for key in _chosen(occasion, world.stocks)}
    moved = {key: draw_price(occasion.chance("price"), price) for key, price in prices.items()}
    return [
        RowChange("stock", "updated", key, {"price": price}) for key, price in moved.items() if price != prices[key]
    ]


def _leave(occasion: Occasion, _moment: datetime, world: StocksWorld) -> list[RowChange]:
    """Somebody who never traded: transactions refer to all others."""
    return [RowChange("user", "deleted", key) for key in _chosen(occasion, world.users.keys() - world.traders)]


def _rename(occasion: Occasion, _moment: datetime, world: StocksWorld) -> list[RowChange]:
    """Rename a stock without a timestamp."""
    name = draw_name(occasion.chance("name"), occasion.seed)
    keys = _chosen(occasion, world.users)
    return [RowChange("user", "silent", key, {"name": name}) for key in keys if name != world.users[key]["name"]]


def _move_user(occasion: Occasion, moment: datetime, world: StocksWorld) -> list[RowChange]:
    chance = occasion.chance(f"e-mail {moment}")
    return [new_email(chance, key, world, moment) for key in _chosen(occasion, world.users)]


def _move_new_user(occasion: Occasion, moment: datetime, world: StocksWorld) -> list[RowChange]:
    """Somebody who came today."""
    since = stamp(midnight(occasion.day))
    keys = [key for key, row in world.users.items() if row["status"] == "I" and row["updated_at"] >= since]
    return [new_email(occasion.chance("e-mail"), key, world, moment) for key in _chosen(occasion, keys)]


KINDS: dict[str, tuple[RareStep, ...]] = {
    "delisting": (RareStep(_delist),),
    "relisting": (RareStep(_relist),),
    "second price": (RareStep(_move_price, AFTER_PRICES),),
    "leaving": (RareStep(_leave),),
    "renaming": (RareStep(_rename),),
    "two e-mails": (RareStep(_move_user, last=NOON), RareStep(_move_user, first=NOON)),
    "new and updated": (RareStep(_move_new_user, AFTER_USERS),),
}
"""Every kind of event, and what it consists of."""
