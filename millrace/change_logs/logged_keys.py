"""Changed keys of one table, gathered from transactions of which some may not have ended."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import polars as pl

from millrace.change_logs.binlog_transactions import LoggedTransactions
from millrace.change_logs.pgoutput import name_keys

BLOCK_ROWS, FOLDED_ROWS = 100_000, 500_000
"""So many keys are kept as values of Python; as soon as so many are waiting in frames, each is kept once."""


class LoggedKeys:
    """The changed keys of one table, each with the number of its transaction and whether it was deleted."""

    def __init__(self, parts: int) -> None:
        self.names = name_keys([""] * parts)
        self._schema = pl.Schema(
            {"group": pl.Int64(), "is_deleted": pl.Boolean(), **dict.fromkeys(self.names, pl.String())}
        )
        self._groups = array("q")
        self._deleted: list[bool] = []
        self._parts: list[list[str]] = [[] for _ in self.names]
        self._frames: list[pl.DataFrame] = []
        self._waiting = 0

    def add(self, rows: Sequence[tuple[bool, Sequence[str]]], transactions: LoggedTransactions) -> None:
        """Add keys that the present transaction changed."""
        number = transactions.number
        for is_deleted, key in rows:
            self._groups.append(number)
            self._deleted.append(is_deleted)
            for values, value in zip(self._parts, key, strict=True):
                values.append(value)
        if len(self._groups) >= BLOCK_ROWS:
            self._pack()
            if self._waiting >= FOLDED_ROWS:
                self._fold(transactions.list_ended())

    def find_ended(self, ended: pl.DataFrame) -> pl.DataFrame:
        """Return the keys of transactions that ended, each as it was changed last, with ``at`` and ``committed_at``."""
        self._pack()
        self._fold(ended)
        return pl.concat([pl.DataFrame(schema=self._schema), *self._frames]).join(ended, on="group")

    def _pack(self) -> None:
        values = [pl.Series("group", self._groups, pl.Int64), pl.Series("is_deleted", self._deleted, pl.Boolean)]
        parts = [pl.Series(name, part, pl.String) for name, part in zip(self.names, self._parts, strict=True)]
        self._frames.append(pl.DataFrame([*values, *parts]))
        self._waiting += len(self._groups)
        self._groups, self._deleted, self._parts = array("q"), [], [[] for _ in self.names]

    def _fold(self, ended: pl.DataFrame) -> None:
        """Keep each key of transactions that ended once. One that has not ended must not hide an earlier change."""
        found = pl.concat(self._frames)
        counts = pl.col("group").is_in(ended["group"].implode())
        kept = found.filter(counts).unique(self.names, keep="last", maintain_order=True)
        self._frames, self._waiting = [kept, found.filter(~counts)], 0
