"""What every load mode does with its target: insert and update rows, find and delete deleted rows, count both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import singledispatch
from typing import Any

from millrace.base.errors import CountMismatch, KeyViolation
from millrace.base.types import Column, Kind
from millrace.declaration.captures import follows_deletes
from millrace.declaration.load_mode_base import LoadMode
from millrace.lake.batch import Batch
from millrace.warehouse import difference, statements
from millrace.warehouse.session import analyze_temporary, fetch_count
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Application:
    """A batch that is being applied to a target, in the transaction of the caller."""

    cursor: Any
    """A cursor of the transaction."""
    batch: Batch
    """The batch, whose files are staged."""
    applied_at: datetime
    """The load time of all rows that are written."""


@dataclass(frozen=True)
class Applied:
    """How many rows of a target a batch changed."""

    inserted: int = 0
    """Number of rows with new keys."""
    updated: int = 0
    """Number of rows that replaced others."""
    deleted: int = 0
    """Number of rows that were deleted, marked or closed."""
    absent: int = 0
    """Number of keys that the target has and a complete batch lacks. They count as read."""
    warnings: tuple[str, ...] = ()
    """What a person should look at."""

    @property
    def changed(self) -> int:
        """Number of all rows that the batch changed."""
        return self.inserted + self.updated + self.deleted


class Applier(ABC):
    """Applies batches to one target, by its load mode."""

    def __init__(self, load: LoadMode, target: Target) -> None:
        self.load, self.target, self.temporary = load, target, target.temporary

    @property
    def live_rows(self) -> str:
        """The relation that is compared with the source: one row per key, without deleted rows or with marked ones."""
        return self.target.quoted

    def apply(self, application: Application) -> Applied:
        """Insert and update rows, then delete, because deleted rows were found after the rows were read."""
        batch = application.batch
        done = self.upsert(application) if batch.written else Applied()
        if not follows_deletes(self.target.policies.deletes):
            return done
        is_complete = batch.coverage.absent_means_deleted
        absent = self.find_absent(application) if is_complete else self.find_orphans(application)
        deleted = self.delete(application) if batch.deleted or absent else 0
        return replace(done, deleted=deleted, absent=absent)

    @abstractmethod
    def upsert(self, application: Application) -> Applied:
        """Insert and update the staged rows. Afterwards the temporary table ``changed_rows`` holds these rows."""

    def find_absent(self, application: Application) -> int:
        """Write the keys that a complete batch lacks into the table ``deleted_keys``. Return how many there are."""
        columns = application.batch.columns if application.batch.written else ()
        application.cursor.execute(difference.find_absent(self.target, self.live_rows, columns))
        return self._count_deleted_keys(application)

    def find_orphans(self, application: Application) -> int:
        """Write the keys of rows that a row of the root gave before and does not give now into ``deleted_keys``.

        The table may already hold keys of deleted rows. Return how many keys it holds.
        """
        batch = application.batch
        if not batch.files.root_keys:
            return 0
        columns, is_new = batch.columns if batch.written else (), not batch.files.deletes
        application.cursor.execute(difference.find_orphans(self.target, self.live_rows, columns, is_new=is_new))
        return self._count_deleted_keys(application) - batch.deleted

    def _count_deleted_keys(self, application: Application) -> int:
        target, deleted_keys = self.target, self.temporary.deleted_keys
        analyze_temporary(application.cursor, target.dialect, deleted_keys)
        return fetch_count(application.cursor, statements.count_keys(deleted_keys, target.keys))

    @abstractmethod
    def delete(self, application: Application) -> int:
        """Delete, mark or close the rows whose keys are in ``deleted_keys``. Return how many rows changed."""

    def lost_rows(self, done: Applied) -> int:
        """Return how many rows fewer the target shows after the batch."""
        return done.deleted

    @abstractmethod
    def plan(self, columns: Sequence[Column]) -> list[str]:
        """Return the statements that insert and update rows of these columns, for people."""

    def settle_ends(self) -> str:
        """Return the statement that sets where all versions end; '' if versions have no end."""
        return ""

    def check(self, problem: str, *, holds: bool) -> None:
        """Raise CountMismatch with this problem unless the condition ``holds``."""
        if not holds:
            raise CountMismatch(
                problem,
                place=self.target.place,
                remedy="see whether the target holds a key more than once; nothing was committed",
            )

    def count_changed(self, cursor: Any) -> tuple[int, int]:
        """Count the rows with new keys, and all rows, of the table of changed rows."""
        analyze_temporary(cursor, self.target.dialect, self.temporary.changed_rows)
        cursor.execute(statements.count_changed(self.target))
        inserted, changed = cursor.fetchone()
        if changed > inserted:
            self._refuse_unlike_keys(cursor)
        return int(inserted), int(changed)

    def _refuse_unlike_keys(self, cursor: Any) -> None:
        """Raise KeyViolation when rows would replace rows of other keys, which are equal but for trailing blanks."""
        columns = self.target.columns or {}
        texts = [key for key in self.target.keys if (found := columns.get(key)) and found.kind is Kind.TEXT]
        if not texts or not self.target.dialect.ignores_trailing_blanks:
            return
        if unlike := fetch_count(cursor, statements.count_unlike_keys(self.target, texts)):
            raise KeyViolation(
                f"{unlike} keys differ from keys of {self.target.name} only in trailing blanks, and the warehouse "
                f"takes them for equal ({', '.join(texts)})",
                place=self.target.place,
                remedy="correct the keys at the source, or read a view that gives each row a key of its own (rtrim); "
                "nothing was committed",
            )

    def latest(self, batch: Batch) -> str | None:
        """Return the column that tells which reading of a row is the latest; None: no row was read twice.

        It is '' if rows have no such column.
        """
        if not batch.row_id_column:
            return None
        cursor_column = self.target.cursor_column
        return cursor_column if any(column.name == cursor_column for column in batch.columns) else ""


@singledispatch
def make_applier(load: LoadMode, target: Target) -> Applier:
    """Return the applier of a load mode, as its module registered it."""
    raise AssertionError(f"nothing applies {load} to {target.name}")


def applier_of(target: Target) -> Applier:
    """Return the applier of a target."""
    return make_applier(target.load, target)
