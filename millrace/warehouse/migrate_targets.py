"""Make the schema changes of a load: those of its targets, and those of all other models.

Rows of other models may be bound to what is loaded, or refer to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from millrace.warehouse.lost_targets import refuse_part_of_new_target
from millrace.warehouse.schema.added import refuse_unfilled
from millrace.warehouse.schema.column_changes import Change
from millrace.warehouse.schema.columns import ArrivingColumns
from millrace.warehouse.schema.needed import Needs
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work, creates


def migrate_targets(needs: Needs, works: Sequence[Work]) -> list[Work]:
    """Make the changes that a load needs; commits.

    Changes in tables without a batch are reported with the first batch.
    """
    loaded = {work.name: work for work in works}
    others = [target for target in needs.models.values() if target.owner.name not in loaded]
    targets = sorted([*(work.target for work in works), *others], key=lambda target: target.apply_order)
    facts = [
        target for target in targets if target.owner.name in loaded or needs.catalog.find_columns(target) is not None
    ]
    for fact in facts:
        work = loaded.get(fact.owner.name)
        needs.refer(fact, work.batch.files.longest_bytes if work else {})
    referred = {name for fact in facts for name in fact.relations.dimensions}
    made: dict[str, Sequence[Change]] = {}
    for target in targets:
        work, is_referred = loaded.get(target.owner.name), target.owner.name in referred
        step = (
            partial(_migrate, needs, work) if work else partial(_migrate_other, needs, target, is_referred=is_referred)
        )
        made[target.owner.name] = retry_on_conflict(needs.connection, step, target.place)
    elsewhere = tuple(str(change) for name, changes in made.items() if name not in loaded for change in changes)
    migrated = [replace(work, changes=made[work.name]) for work in works]
    return [replace(migrated[0], changes_elsewhere=elsewhere), *migrated[1:]]


def _migrate(needs: Needs, work: Work) -> Sequence[Change]:
    batch, target = work.batch, work.target
    if batch.coverage.replaces_target:
        return ()  # Its new table is made in the transaction of the load.
    makes_empty = batch.is_of_empty_source and needs.catalog.find_columns(target) is None
    if not (batch.written or batch.deleted or batch.coverage.absent_means_deleted or makes_empty):
        return needs.prepare(target)
    changes = needs.find_changes(target, ArrivingColumns.of(batch))
    if creates(changes, target):
        refuse_part_of_new_target(needs.ledger, batch, target)
    refuse_unfilled(needs.ledger, target, batch, changes)
    needs.make(target, changes)
    return changes


def _migrate_other(needs: Needs, target: Target, *, is_referred: bool) -> Sequence[Change]:
    """Create a dimension that rows refer to or are bound to and that was never loaded."""
    if needs.catalog.find_columns(target) is None and is_referred:
        needs.make(target, needs.find_changes(target, ArrivingColumns(target.derivation.columns)))
        return ()
    return needs.prepare(target)
