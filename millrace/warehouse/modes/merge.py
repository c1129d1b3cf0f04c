"""`Merge` and `Append`: one row per key, the latest row or the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from typing_extensions import override

from millrace.base.types import Column
from millrace.declaration.load_modes import Append, Merge
from millrace.warehouse import statements
from millrace.warehouse.difference import count_unlike_target, create_changed
from millrace.warehouse.modes.applier import Application, Applied, Applier, make_applier
from millrace.warehouse.session import fetch_count


def replace_changed(applier: Applier, application: Application) -> Applied:
    """Replace rows of the target by the changed rows.

    Raises CountMismatch when the statements did not find the rows that they were to replace.
    """
    cursor, target = application.cursor, applier.target
    inserted, changed = applier.count_changed(cursor)
    updated = changed - inserted
    if updated:
        repeated = fetch_count(cursor, statements.count_repeated_in_target(target))
        cursor.execute(statements.delete_changed(target))
        found = cursor.rowcount
        applier.check(
            f"{updated} rows were to be replaced and {found} were found", holds=not repeated and found == updated
        )
    if changed:
        cursor.execute(statements.insert_changed(target, application.batch.columns), (application.applied_at,))
        found = cursor.rowcount
        applier.check(f"{changed} rows were to be put in and {found} were", holds=found == changed)
    return Applied(inserted, updated)


@make_applier.register(Merge)
class MergeApplier(Applier):
    """Replaces a row by one that differs from it."""

    @override
    def upsert(self, application: Application) -> Applied:
        batch = application.batch
        application.cursor.execute(
            create_changed(
                self.target,
                batch.columns,
                self.latest(batch),
                by_value=batch.coverage.by_value,
                rows=batch.written,
            )
        )
        return replace_changed(self, application)

    @override
    def delete(self, application: Application) -> int:
        cursor, applied_at = application.cursor, application.applied_at
        match self.target.policies.deletes:
            case "soft":
                cursor.execute(statements.mark_deleted(self.target), (applied_at, applied_at))
            case "hard":
                cursor.execute(statements.delete_keys(self.target))
            case "ignore":
                return 0
            case unknown:
                assert_never(unknown)
        return int(cursor.rowcount)

    @override
    def plan(self, columns: Sequence[Column]) -> list[str]:
        target = self.target
        changed = create_changed(target, columns, None)
        return [changed, statements.delete_changed(target), statements.insert_changed(target, columns)]


@make_applier.register(Append)
class AppendApplier(Applier):
    """Inserts rows with new keys, gives altered rows of the target their values back, and changes no others."""

    @override
    def upsert(self, application: Application) -> Applied:
        """Insert rows with new keys. A row whose key exists with other content is skipped, and counted in a warning."""
        cursor, batch, target = application.cursor, application.batch, self.target
        unlike = fetch_count(cursor, count_unlike_target(target, batch.columns))
        latest = self.latest(batch)
        by_value, rows = batch.coverage.by_value, batch.written
        cursor.execute(create_changed(target, batch.columns, latest, only_new=True, by_value=by_value, rows=rows))
        warning = f"{unlike} rows differ from what was appended before: the source changes rows (declare Merge)"
        return replace(replace_changed(self, application), warnings=(warning,) if unlike else ())

    @override
    def delete(self, application: Application) -> int:
        return 0

    @override
    def plan(self, columns: Sequence[Column]) -> list[str]:
        changed = create_changed(self.target, columns, None, only_new=True)
        return [changed, statements.insert_changed(self.target, columns)]
