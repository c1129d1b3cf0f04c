"""What every load mode does to its target: put in, find what is gone, take out, and say what was done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from millrace.base.errors import CountMismatch
from millrace.base.types import Column
from millrace.declaration.captures import follows_deletes
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.session import analyze, count
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Applied:
    """Rows of the target that a batch changed; ``gone`` are keys that a complete batch lacked, read as it were."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    gone: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.deleted


class Mode(ABC):
    """Of one target, in the caller's transaction."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @property
    def present(self) -> str:
        """The relation that is compared with the source: one row per key, deleted ones marked or left out."""
        return self.target.quoted

    def apply(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> Applied:
        """Put in the rows, then see to what is gone: its absence was seen after the rows were read. ``held`` are the
        target's columns."""
        done = self.put_in(cursor, batch, applied_at) if batch.written else Applied()
        if not follows_deletes(self.target.deletes):
            return done
        gone = self.find_gone(cursor, batch) if batch.coverage.absent_means_deleted else self.find_left(cursor, batch)
        deleted = self.take_out(cursor, batch, applied_at, held) if batch.deleted or gone else 0
        return replace(done, deleted=deleted, gone=gone)

    @abstractmethod
    def put_in(self, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
        """Put in what is staged; the temporary table ``delta`` then holds what was."""

    def find_gone(self, cursor: Any, batch: Batch) -> int:
        """The keys that a complete batch lacks, into the temporary table ``gone``; how many."""
        target = self.target
        cursor.execute(statements.find_gone(target, self.present, is_staged=batch.written > 0))
        analyze(cursor, target.dialect, target.gone)
        return count(cursor, statements.count_keys(target.gone, target.keys))

    def find_left(self, cursor: Any, batch: Batch) -> int:
        """The keys of rows that a row of the root gave before and does not give now, into ``gone``, where the keys of
        deletes may be already; how many."""
        if not batch.files.root_keys:
            return 0
        target = self.target
        cursor.execute(
            statements.find_left(target, self.present, is_staged=batch.written > 0, is_new=not batch.files.deletes)
        )
        analyze(cursor, target.dialect, target.gone)
        return count(cursor, statements.count_keys(target.gone, target.keys)) - batch.deleted

    @abstractmethod
    def take_out(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> int:
        """See to the keys in ``gone``; the number of rows that changed."""

    def lost(self, done: Applied) -> int:
        """How many rows less the target shows, by what was applied."""
        return done.deleted

    @abstractmethod
    def planned(self, columns: Sequence[Column]) -> list[str]:
        """The statements that put in rows of these columns, for people."""

    def check(self, problem: str, *, holds: bool) -> None:
        """Raises CountMismatch unless it ``holds``."""
        if not holds:
            raise CountMismatch(
                problem,
                place=self.target.place,
                remedy="see whether the target holds a key more than once; nothing was committed",
            )

    def count_delta(self, cursor: Any) -> tuple[int, int]:
        """Rows of new keys, and all rows of the delta."""
        analyze(cursor, self.target.dialect, self.target.delta)
        cursor.execute(statements.count_delta(self.target))
        inserted, changed = cursor.fetchone()
        return int(inserted), int(changed)

    def latest(self, batch: Batch) -> str | None:
        """The column by which the latest reading of a row is known, where one may have been read twice: '' if no row
        has a stamp."""
        if not batch.row_id_column:
            return None
        return self.target.stamp if any(column.name == self.target.stamp for column in batch.columns) else ""
