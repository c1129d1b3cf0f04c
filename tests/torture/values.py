"""Values that have broken replications before, by kind of column; and one form in which a source's and a warehouse's
values can be compared.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

Row = dict[str, Any]
"""Values by path; a path that is missing is NULL."""
Key = tuple[Any, ...]

NOT_A_NUMBER = Decimal("NaN")
LONGEST_REDSHIFT_TEXT_BYTES = 65_535

TEXTS = (
    "", " ", "NULL", "null", "\\N", "O'Brien", 'say "hi"', "a,b;c=d", "back\\slash", "line\nbreak\r\n\ttab", "Grüße",
    "東京", "🦋", "e\u0301", "é", "-0", "1e5", "{}", "x" * 255, "y" * 256, "ü" * 300,
)  # fmt: skip
TEXT_KEYS = (
    "", "a b", "O'Brien", 'say "hi"', "Zoë", "Zoe\u0308", "東京", "back\\slash", "5f43a1f0c2a4b8d9e0f1a2b3",
    "6a2f41a3-c54c-fce8-32d2-0324e1c32e22", "1", "01", "NULL", "\\N", "a,b", "line\nbreak", "🦋", "A", "a", "%", "_",
    "[1]", "true", "x" * 200,
)  # fmt: skip
NUMBERS = tuple(map(Decimal, ("0", "0.00", "0.10", "-0.01", "1.50", "100.00", "9999999999.99", "-9999999999.99")))
DOCUMENTS: tuple[Any, ...] = (
    {}, [], {"b": 1, "a": [1, {"c": None}]}, [None, True, "x\ny"], {"ü": "東京", "": ""}, {"n": 0.5, "big": 2**53},
    {"quote": 'a "b" \\ c'}, [[], {}, [{}]],
)  # fmt: skip


def text(dice: Random) -> str:
    """Short, odd, or of any length up to a few times the width a column begins with."""
    return dice.choice(TEXTS) if dice.random() < 0.6 else dice.choice("abü") * dice.randrange(1, 900)


def moment(dice: Random) -> datetime:
    """To the microsecond, in UTC."""
    edges = (datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
    other = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=dice.randrange(10**15))
    return dice.choice((*edges, other, other))


def whole(bits: int, dice: Random) -> int:
    """Of so many bits, its edges often."""
    return dice.choice((0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), dice.randrange(1000)))


def value_of(kind: str, dice: Random) -> Any:
    """A value of a kind of column, NULL now and then."""
    if dice.random() < 0.2:
        return None
    makers = {
        "flag": lambda: dice.random() < 0.5,
        "small": lambda: whole(16, dice),
        "integer": lambda: whole(32, dice),
        "big": lambda: whole(64, dice),
        "grade": lambda: dice.randrange(100),
        "number": lambda: dice.choice(NUMBERS),
        "real": lambda: dice.randrange(-4000, 4000) / 4,
        "double": lambda: dice.choice((0.1, -1e300, 5e-324, 1 / 3, dice.random())),
        "short": lambda: dice.choice(TEXTS)[:20],
        "text": lambda: text(dice),
        "day": lambda: moment(dice).date(),
        "naive": lambda: moment(dice).replace(tzinfo=None),
        "moment": lambda: moment(dice),
        "document": lambda: dice.choice(DOCUMENTS),
    }
    return makers[kind]()


def comparable(value: Any, like: Any = None) -> Any:
    """In the form in which both sides are equal when they mean the same; ``like`` tells a document from a text."""
    if isinstance(value, str) and isinstance(like, dict | list):
        return json.loads(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a day has no time zone
    return value
