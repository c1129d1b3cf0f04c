"""What a run reads of a stream, by docs/decisions/0003, 0007 and 0009: a snapshot, a window, everything, or a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tests.versions.rules import Key, Row
from tests.versions.source import SourceTable

Mode = Literal["incremental", "full", "sweep"]


@dataclass(frozen=True)
class Reading:
    """``rows`` were let in, ``former`` stay as they were before, ``gone`` are keys that the source has no more.
    ``is_complete``: no row was rejected that is not among the former ones, so a model that lacks a key has lost it."""

    rows: Sequence[Row] = ()
    former: Sequence[Row] = ()
    gone: frozenset[Key] = frozenset()
    is_complete: bool = False


@dataclass
class Captured:
    """One stream: what its target holds. ``is_swept``: every run compares everything. ``previous``: the last read."""

    table: SourceTable
    is_snapshot: bool = False
    is_swept: bool = False
    is_appended: bool = False
    is_bad: Callable[[Row], bool] = lambda row: False
    seen: dict[Key, Row] = field(default_factory=dict)
    previous: datetime | None = None

    def read(self, mode: Mode) -> Reading:
        """What a run of this mode reads; the target holds it from then on."""
        reading = self._snapshot() if self.is_snapshot else self._changes(mode)
        self.table.loud.clear()
        for row in reading.rows:
            if not (self.is_appended and self.table.key_of(row) in self.seen):
                self.seen[self.table.key_of(row)] = row
        for key in () if self.is_appended else reading.gone:
            self.seen.pop(key, None)
        return reading

    def _good(self, keys: set[Key]) -> list[Row]:
        return [row for key, row in self.table.rows.items() if key in keys and not self.is_bad(row)]

    def _snapshot(self) -> Reading:
        rows = self._good(set(self.table.rows))
        if len(rows) == len(self.table.rows):
            return Reading(rows, gone=frozenset(self.seen.keys() - self.table.rows.keys()), is_complete=True)
        accepted = {self.table.key_of(row) for row in rows}
        former = [row for key, row in self.seen.items() if key not in accepted]
        return Reading(rows, former, is_complete=self.table.rows.keys() - accepted <= self.seen.keys())

    def _changes(self, mode: Mode) -> Reading:
        rows = self.table.rows
        if mode == "full" or self.previous is None:
            return Reading(self._good(set(rows)))
        if mode == "sweep" or self.is_swept:
            differing = {key for key, row in rows.items() if self.seen.get(key) != row}
            return Reading(self._good(differing), gone=frozenset(self.seen.keys() - rows.keys()))
        return Reading(self._good(set(self.table.loud)))
