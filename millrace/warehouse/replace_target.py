"""Apply a batch of a stream to a new table, and put it in the place of its target: the load of `millrace reload`.

All of it is one transaction, with the ledger: a reload that is killed leaves no table behind, and nobody sees the new
table before it holds all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from millrace.base.errors import TooManyDeletes
from millrace.warehouse import statements
from millrace.warehouse.apply import SMALL_ROWS, apply
from millrace.warehouse.exchange_tables import SUFFIX, drop_tables, exchange_tables
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.schema.column_changes import Change, CreateTable, ReplaceTable
from millrace.warehouse.schema.columns import ArrivingColumns
from millrace.warehouse.schema.needed import Needs
from millrace.warehouse.session import fetch_count
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work


def new_target_of(target: Target) -> Target:
    """Return the target whose table takes the place of that of ``target``."""
    return replace(target, table=replace(target.table, name=f"{target.table.name}{SUFFIX}"), columns=None)


def replace_target(needs: Needs, work: Work, applied_at: datetime) -> Work:
    """Apply a staged batch to a new table and let it take the place of the target. The caller commits.

    Raises TooManyDeletes when the new table has so many rows fewer that a run may not delete them, SchemaConflict when
    something depends on the old table and the columns differ.
    """
    target, new = work.target, new_target_of(work.target)
    with needs.connection.cursor() as cursor:
        drop_tables(cursor, new)
        needs.catalog.forget()
        changes = needs.find_changes(new, ArrivingColumns.of(work.batch))
        _make(cursor, changes)
        needs.catalog.forget()
        applied = apply(needs.connection, needs.catalog.look_up(new), work.batch, applied_at)
        _refuse_too_few_rows(needs, cursor, work, new)
        exchange_tables(cursor, needs.catalog, target, new)
    needs.catalog.forget()
    _rename_indexes(needs, target, new)
    made = tuple(
        ReplaceTable(target.table, change.columns)
        for change in changes
        if isinstance(change, CreateTable) and change.table == new.table
    )
    return replace(work, target=needs.catalog.look_up(target), changes=made, applied=applied)


def _make(cursor: Any, changes: Sequence[Change]) -> None:
    for step in (step for change in changes for step in change.steps()):
        if step.unless:
            cursor.execute(step.unless)
            if cursor.fetchone() is not None:
                continue
        for statement in step.statements:
            cursor.execute(statement)


def _refuse_too_few_rows(needs: Needs, cursor: Any, work: Work, new: Target) -> None:
    """Raise TooManyDeletes when the new table shows too many rows fewer than the old one."""
    target = needs.catalog.look_up(work.target)
    if target.columns is None or work.batch.consent.allow_deletes:
        return
    before, after = (
        fetch_count(cursor, statements.count_live_rows(table, applier_of(table).live_rows))
        for table in (target, needs.catalog.look_up(new))
    )
    max_share = target.policies.max_delete_share
    if before <= SMALL_ROWS or before - after <= max_share * before:
        return
    raise TooManyDeletes(
        f"{target.name} has {before} rows, and the source gave {after}; a run may delete {max_share:.0%} "
        "(max_delete_share). Nothing was committed",
        place=target.place,
        remedy="see whether the source is whole (emptied, half restored, another filter, rows hidden from this user); "
        "if so, reload with --allow-deletes (run parameter allow_deletes)",
    )


def _rename_indexes(needs: Needs, target: Target, new: Target) -> None:
    """Let the states of the indexes go by the name that the table has now."""
    states = needs.indexes.get(target.owner.name, {})
    renamed = {name.replace(new.table.name, target.table.name, 1): state for name, state in states.items()}
    needs.indexes[target.owner.name] = renamed
