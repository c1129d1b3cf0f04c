"""`Merge` and `Append`: one row per key, the latest or the first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from millrace.base.types import Column
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.mode import Applied, Mode
from millrace.warehouse.session import count


def _put_in_delta(mode: Mode, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
    """The delta's rows take the place of the target's. Raises CountMismatch."""
    inserted, changed = mode.count_delta(cursor)
    if changed > inserted:
        repeated = count(cursor, statements.count_repeated_in_target(mode.target))
        cursor.execute(statements.delete_changed(mode.target))
        updated, found = changed - inserted, cursor.rowcount
        mode.check(
            f"{updated} rows were to be replaced and {found} were found", holds=not repeated and found == updated
        )
    if changed:
        cursor.execute(statements.insert_delta(mode.target, batch.columns), (applied_at,))
        mode.check(f"{changed} rows were to be put in and {cursor.rowcount} were", holds=cursor.rowcount == changed)
    return Applied(inserted, changed - inserted)


class MergeMode(Mode):
    """What differs takes the place of what was there."""

    def put_in(self, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
        """Raises CountMismatch when the statements did not find what they were to replace."""
        target = self.target
        cursor.execute(
            statements.create_delta(target, batch.columns, self.latest(batch), by_value=batch.coverage.by_value)
        )
        return _put_in_delta(self, cursor, batch, applied_at)

    def take_out(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> int:
        """Deleted, or marked."""
        del batch, held
        match self.target.deletes:
            case "soft":
                cursor.execute(statements.mark_gone(self.target), (applied_at, applied_at))
            case "hard":
                cursor.execute(statements.delete_gone(self.target))
            case "ignore":
                return 0
            case unknown:
                assert_never(unknown)
        return int(cursor.rowcount)

    def planned(self, columns: Sequence[Column]) -> list[str]:
        """As ``Mode.planned``."""
        target = self.target
        delta = statements.create_delta(target, columns, None)
        return [delta, statements.delete_changed(target), statements.insert_delta(target, columns)]


class AppendMode(Mode):
    """What is new is put in; a row that was altered in the target is put back, and nothing else is ever done."""

    def put_in(self, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
        """Rows that come again otherwise are a warning."""
        target = self.target
        unlike = count(cursor, statements.count_unlike_held(target, batch.columns))
        latest = self.latest(batch)
        cursor.execute(
            statements.create_delta(target, batch.columns, latest, only_new=True, by_value=batch.coverage.by_value)
        )
        told = f"{unlike} rows differ from what was appended before: the source changes rows (declare Merge)"
        return replace(_put_in_delta(self, cursor, batch, applied_at), warnings=(told,) if unlike else ())

    def take_out(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> int:
        """Nothing."""
        del cursor, batch, applied_at, held
        return 0

    def planned(self, columns: Sequence[Column]) -> list[str]:
        """As ``Mode.planned``."""
        delta = statements.create_delta(self.target, columns, None, only_new=True)
        return [delta, statements.insert_delta(self.target, columns)]
