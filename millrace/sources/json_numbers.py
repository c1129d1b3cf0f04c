"""JSON texts as Python values in which no number lost a digit (docs/decisions/0015-documents.md).

JSON's numbers have any number of digits. An int or a float stands for a number that it equals, in its shortest form;
a FloatInFull for one that a float holds in a longer form; a Decimal for every other.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

_SUSPICIOUS = re.compile(r"(?:^|[:,\[\s])-?[0-9.]*(?:[0-9.]{17}|[0-9.]{16}[eE]|[0-9][eE][-+]?[0-9]{3})")
"""Finds what may be a number that a parser of floats changes: of 16 digits or more, or with a three-digit exponent."""
STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?', re.ASCII)
_INTEGER_CHARACTERS = 20
"""Length of the longest number of 64 bits; Python refuses to read very long numbers."""


class FloatInFull(Decimal):
    """A number that a float holds, written with more digits than the float's shortest form."""


def loads(text: str) -> Any:
    """Parse a JSON text. Raises ValueError where it is not JSON.

    What orjson accepts is accepted, and numbers of any size.
    """
    if not _SUSPICIOUS.search(text):
        return orjson.loads(text)
    orjson.loads(STRING_OR_NUMBER.sub(_without_digits, text))
    try:
        return json.loads(text, parse_float=_fraction, parse_int=_whole)
    except RecursionError:
        raise ValueError("too many levels") from None


def _without_digits(token: re.Match[str]) -> str:
    return token[0] if token[0].startswith('"') else "0"


def _whole(text: str) -> int | float | Decimal:
    if len(text) <= _INTEGER_CHARACTERS and -(2**63) <= (number := int(text)) < 2**64:
        return number
    return _unequal(text)


def _fraction(text: str) -> float | Decimal:
    number = float(text)
    return number if _decimal(repr(number)) == _decimal(text) else _unequal(text)


def _unequal(text: str) -> Decimal:
    exact, nearest = _decimal(text), float(text)
    is_held = exact in {Decimal(nearest), Decimal(repr(nearest)), Decimal(f"{nearest:.17g}")}
    return FloatInFull(exact) if is_held else exact


def _decimal(text: str) -> Decimal:
    """Return the number; NaN if even Decimal has no such exponent."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")
