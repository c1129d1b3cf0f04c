"""Counts of what happened in a span of simulated time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from millrace.seed_data.totesys.world import RowChange


@dataclass(frozen=True)
class Counts:
    """Changes of one table. ``silent`` are updates that left ``last_updated`` alone; ``updated`` the others."""

    inserted: int = 0
    updated: int = 0
    silent: int = 0
    deleted: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.silent + other.silent,
            self.deleted + other.deleted,
        )


@dataclass(frozen=True)
class Happened:
    """Counts of each table that changed; those of a longer time are the sum of those of its parts."""

    tables: dict[str, Counts] = field(default_factory=dict)

    @classmethod
    def of(cls, changes: Iterable[RowChange]) -> Happened:
        """Count the changes."""
        tables: dict[str, Counts] = {}
        for change in changes:
            tables[change.table] = tables.get(change.table, Counts()) + Counts(**{change.kind: 1})
        return cls(tables)

    def __add__(self, other: Happened) -> Happened:
        touched = dict.fromkeys((*self.tables, *other.tables))
        return Happened({table: self.of_table(table) + other.of_table(table) for table in touched})

    def of_table(self, table: str) -> Counts:
        """Zeros for a table that did not change."""
        return self.tables.get(table, Counts())

    @property
    def total(self) -> Counts:
        """The counts over all tables."""
        return sum(self.tables.values(), Counts())
