"""The rows that exist when the platform opens, 48 stocks and 20 users, and the names of those that come later."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from faker import Faker

from millrace.seed_data.stocks.world import insert_row
from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.world import Row, RowChange

STOCKS, FIRST_USERS = 48, 20
FIRST_PRICE_CENTS = (5_403, 205_200)
CATEGORIES = (
    "Aerospace & Defence",
    "Automotive",
    "Banking",
    "Biotechnology",
    "Chemicals",
    "Energy",
    "Food & Beverages",
    "Insurance",
    "Logistics",
    "Media",
    "Mining",
    "Real Estate",
    "Retail",
    "Technology",
    "Telecommunications",
)
FIRST_COMPANY, FIRST_USER = "D'Arcy, O'Neill and Sons", "Aoife O'Keefe"
"""Apostrophes have broken statements before."""
QUIET, QUIET_FOR_EVER = 4, 2
"""Stocks that nobody trades, so that they can be delisted, and how many of them nobody trades after they return."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DOMAINS = ("example.com", "example.net", "example.org")
LOCALE, NAMES = "en_IE", 150


def first_changes(seed: int) -> list[RowChange]:
    """Return the changes with which the platform opens. The users have neither timestamp nor status."""
    people = [(key, draw_person(seed, key)) for key in range(1, FIRST_USERS + 1)]
    users = [insert_row("user", key, {**person, "updated_at": None, "status": None}) for key, person in people]
    return [*(insert_row("stock", row["stock_id"], row) for row in _stocks(seed)), *users]


def is_traded(seed: int, stock_id: str, was_relisted: bool) -> bool:
    """Return whether anybody trades a stock."""
    quiet = [row["stock_id"] for row in _stocks(seed)[-QUIET:]]
    return stock_id not in quiet or (was_relisted and stock_id not in quiet[-QUIET_FOR_EVER:])


def draw_person(seed: int, key: int) -> Row:
    """Name and e-mail of the user with this key."""
    chance = Chance(seed, "person", key)
    name = FIRST_USER if key == 1 else draw_name(chance, seed)
    return {"name": name, "email": draw_email(chance, name)}


def draw_name(chance: Chance, seed: int) -> str:
    """First and last name."""
    first_names, last_names = _names(seed)
    return f"{chance.one_of(first_names)} {chance.one_of(last_names)}"


def draw_email(chance: Chance, name: str) -> str:
    """One of many of somebody of that name."""
    return f"{name.lower().replace(' ', '.')}{chance.integer(1, 9_999)}@{chance.one_of(DOMAINS)}"


@lru_cache(maxsize=4)
def _stocks(seed: int) -> tuple[Row, ...]:
    chance = Chance(seed, "stocks")
    companies = [FIRST_COMPANY, *_different(STOCKS - 1, _faker(seed, "company").company)]
    symbols = _different(STOCKS, lambda: chance.text(LETTERS, chance.integer(3, 5)))
    return tuple(
        {
            "stock_id": symbol,
            "company": company,
            "category": CATEGORIES[number % len(CATEGORIES)],
            "price": chance.money(*FIRST_PRICE_CENTS),
        }
        for number, (symbol, company) in enumerate(zip(symbols, companies, strict=True))
    )


@lru_cache(maxsize=4)
def _names(seed: int) -> tuple[list[str], list[str]]:
    faker = _faker(seed, "name")
    return _different(NAMES, faker.first_name), _different(NAMES, faker.last_name)


def _faker(seed: int, purpose: str) -> Faker:
    faker = Faker(LOCALE)
    faker.seed_instance(Chance(seed, purpose).integer(0, 2**32 - 1))
    return faker


def _different(number: int, draw: Callable[[], str]) -> list[str]:
    """Return distinct names, also for a unique column that ignores case."""
    different: dict[str, str] = {}
    while len(different) < number:
        value = draw()
        different.setdefault(value.casefold(), value)
    return list(different.values())
