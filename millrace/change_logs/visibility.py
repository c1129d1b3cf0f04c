"""Which transactions a snapshot of Postgres shows.

The log tells a transaction before tables do: it is written first, and the transaction becomes visible when its commit
is confirmed, which with a synchronous standby may take long (docs/decisions/0024-change-logs.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_EPOCH = 1 << 32
"""The number of a transaction has 64 bits in a snapshot, and 32 in the log."""


@dataclass(frozen=True)
class VisibleTransactions:
    """A snapshot as ``pg_current_snapshot`` tells it."""

    oldest_open: int
    """All transactions before this one have ended."""
    first_unborn: int
    """This transaction and later ones had not begun."""
    open: tuple[int, ...]
    """Transactions between these two that had not ended."""

    @classmethod
    def parse(cls, text: str) -> VisibleTransactions:
        """Parse ``xmin:xmax:xip,xip``."""
        oldest_open, first_unborn, numbers = text.split(":")
        return cls(int(oldest_open), int(first_unborn), tuple(int(number) for number in numbers.split(",") if number))

    def shows(self, xid: pl.Expr) -> pl.Expr:
        """Return whether a transaction, which the log says was committed, is visible. ``xid`` has 32 bits.

        The nearest number of 64 bits with these last 32 bits is meant: no snapshot spans half of them.
        """
        whole = xid + (self.first_unborn - self.first_unborn % _EPOCH)
        whole = (
            pl.when(whole - self.first_unborn > _EPOCH // 2)
            .then(whole - _EPOCH)
            .when(self.first_unborn - whole > _EPOCH // 2)
            .then(whole + _EPOCH)
            .otherwise(whole)
        )
        return (whole < self.first_unborn) & ~whole.is_in(list(self.open))
