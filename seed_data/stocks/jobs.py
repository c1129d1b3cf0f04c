"""Daily jobs at fixed hours of the platform: new prices, new users and e-mails, trades.

A day depends on the seed, its date and the state of the platform.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count, islice

from millrace.seed_data.stocks.reference import draw_email, draw_person, is_traded
from millrace.seed_data.stocks.world import MILLISECOND, StocksEvent, StocksWorld, insert_row, midnight, stamp
from millrace.seed_data.totesys.arrivals import one_after_another
from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.world import RowChange

PRICES_AT, USERS_AT = timedelta(hours=6), timedelta(hours=18)
TRADING_HOURS = range(8, 18)
TRADES_AN_HOUR = 5
LONGEST_RUN_MILLISECONDS = 59_000
UNCHANGED_SHARE = 0.02
FACTOR_MILLIONTHS = (700_000, 1_300_000)
LEAST_PRICE, GREATEST_PRICE = Decimal("1.00"), Decimal("99999999.99")
"""A cheaper one would never rise again, for its change would be rounded away."""
LARGEST_SHARE_OF_NEW_EMAILS = 0.15
USERS_A_DAY = 10
UNKNOWN_USER_SHARE = 0.02
LARGEST_QUANTITY = 100


def jobs(seed: int, day: date) -> list[StocksEvent]:
    """Return all jobs of a day, in order."""
    prices_at, users_at = _moment(seed, day, "prices", PRICES_AT), _moment(seed, day, "users", USERS_AT)
    return [
        StocksEvent(prices_at, partial(_move_prices, seed, day)),
        *_trades(seed, day),
        StocksEvent(users_at, partial(_move_users, seed, day, users_at)),
    ]


def draw_price(chance: Chance, price: Decimal) -> Decimal:
    """Draw the next price of a stock."""
    factor = Decimal(chance.integer(*FACTOR_MILLIONTHS)).scaleb(-6)
    return min(max((price * factor).quantize(Decimal("0.01")), LEAST_PRICE), GREATEST_PRICE)


def _moment(seed: int, day: date, job: str, at: timedelta) -> datetime:
    late = Chance(seed, f"{job} late", day.toordinal()).integer(0, LONGEST_RUN_MILLISECONDS)
    return midnight(day) + at + late * MILLISECOND


def _move_prices(seed: int, day: date, world: StocksWorld) -> list[RowChange]:
    changes = []
    for key, row in sorted(world.stocks.items()):
        chance = Chance(seed, f"price {key}", day.toordinal())
        price = row["price"] if chance.happens(UNCHANGED_SHARE) else draw_price(chance, row["price"])
        if price != row["price"]:
            changes.append(RowChange("stock", "updated", key, {"price": price}))
    return changes


def _move_users(seed: int, day: date, moment: datetime, world: StocksWorld) -> list[RowChange]:
    """Change the e-mail of some users and add some, all with one timestamp."""
    chance = Chance(seed, "emails", day.toordinal())
    moving = chance.integer(0, int(len(world.users) * LARGEST_SHARE_OF_NEW_EMAILS))
    shuffled = sorted(sorted(world.users), key=lambda _key: chance.integer(0, 2**62))
    joining = islice(count(world.last_user + 1), USERS_A_DAY)
    return [
        *(new_email(chance, key, world, moment) for key in sorted(shuffled[:moving])),
        *(_new_user(seed, key, moment) for key in joining),
    ]


def new_email(chance: Chance, key: int, world: StocksWorld, moment: datetime) -> RowChange:
    """Give a user another e-mail address."""
    email = draw_email(chance, world.users[key]["name"])
    return RowChange("user", "updated", key, {"email": email, "updated_at": stamp(moment), "status": "U"})


def _new_user(seed: int, key: int, moment: datetime) -> RowChange:
    return insert_row("user", key, {**draw_person(seed, key), "updated_at": stamp(moment), "status": "I"})


def _trades(seed: int, day: date) -> Iterator[StocksEvent]:
    for hour in TRADING_HOURS:
        chance = Chance(seed, f"trades {hour}", day.toordinal())
        late = sorted(chance.integer(0, LONGEST_RUN_MILLISECONDS) for _ in range(TRADES_AN_HOUR))
        begin = midnight(day) + timedelta(hours=hour)
        moments = one_after_another(begin + milliseconds * MILLISECOND for milliseconds in late)
        for number, moment in enumerate(moments):
            yield StocksEvent(moment, partial(_trade, seed, day, f"trade {hour} {number}", moment))


def _trade(seed: int, day: date, purpose: str, moment: datetime, world: StocksWorld) -> list[RowChange]:
    chance = Chance(seed, purpose, day.toordinal())
    stocks = [key for key in sorted(world.stocks) if is_traded(seed, key, key in world.relisted)]
    if not (stocks and world.users):
        return []
    user_id = None if chance.happens(UNKNOWN_USER_SHARE) else chance.one_of(sorted(world.users))
    values = {
        "user_id": user_id,
        "stock_id": chance.one_of(stocks),
        "quantity": chance.integer(1, LARGEST_QUANTITY),
        "transaction_date": stamp(moment),
    }
    return [insert_row("transaction", world.last_transaction + 1, values)]
