"""Draws that depend on nothing but what they are for: a seed, a purpose and a number.

So any day can be drawn by itself, and one more draw for one purpose leaves all others as they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")


class Chance:
    """A random generator for each ``purpose`` and ``number``; equal arguments give equal draws."""

    def __init__(self, seed: int, purpose: str, number: int = 0) -> None:
        self._random = np.random.default_rng([seed, zlib.crc32(purpose.encode()), number])

    def integer(self, first: int, last: int) -> int:
        """Between both, both included."""
        return int(self._random.integers(first, last + 1))

    def happens(self, share: float) -> bool:
        """Return True in ``share`` of all cases."""
        return bool(self._random.random() < share)

    def one_of(self, values: Sequence[Value]) -> Value:
        """One of ``values``, which must not be empty."""
        return values[self.integer(0, len(values) - 1)]

    def count(self, mean: float) -> int:
        """Draw a whole number that is ``mean`` on average, and never off by one or more."""
        return int(mean) + self.happens(mean % 1)

    def money(self, first_cents: int, last_cents: int) -> Decimal:
        """Draw an amount with two decimals."""
        return Decimal(self.integer(first_cents, last_cents)).scaleb(-2)

    def text(self, alphabet: str, length: int) -> str:
        """``length`` letters of ``alphabet``."""
        return "".join(self.one_of(alphabet) for _ in range(length))
