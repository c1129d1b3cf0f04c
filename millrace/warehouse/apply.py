"""Applying a staged batch to its target, and the bound of what it may delete. Runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from math import ceil
from typing import Any

from millrace.base.errors import TooManyDeletes
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes import mode_of
from millrace.warehouse.modes.mode import Applied, Mode
from millrace.warehouse.session import count
from millrace.warehouse.target import Target

SMALL_ROWS = 100
"""Of a target with so few rows a run may delete any share."""


def apply(connection: Any, target: Target, batch: Batch, applied_at: datetime, held: Collection[str] | None) -> Applied:
    """What the target's mode does. ``held`` are the target's columns; None when there is no target, as every row was
    rejected or there was none.

    Raises CountMismatch when the statements did not find what they were to replace, FatalError when the mode cannot
    number a row, TooManyDeletes when it deleted more than it may.
    """
    if held is None:
        return Applied()
    mode = mode_of(target)
    with connection.cursor() as cursor:
        done = mode.apply(cursor, batch, applied_at, held)
        if mode.lost(done) > 0 and not batch.consent.allow_deletes:
            _refuse_too_many_deletes(cursor, target, mode, done, batch.counts.rejected)
    return done


def _refuse_too_many_deletes(cursor: Any, target: Target, mode: Mode, done: Applied, rejected: int) -> None:
    """Rows are counted only as far as they decide."""
    lost, put_in_or_out = mode.lost(done), done.deleted - done.inserted
    enough = max(SMALL_ROWS + 1, ceil(lost / target.max_delete_share) if target.max_delete_share else 0)
    counted = count(cursor, statements.count_rows(target, mode.present, at_most=enough + done.inserted))
    if counted + put_in_or_out >= enough and lost <= target.max_delete_share * enough:
        return
    present = count(cursor, statements.count_rows(target, mode.present)) + put_in_or_out
    if present <= SMALL_ROWS or lost <= target.max_delete_share * present:
        return
    and_rejected = f" ({rejected} rows of it were rejected)" if rejected else ""
    raise TooManyDeletes(
        f"{lost} of the {present} rows of {target.name} are not in the source any more{and_rejected}; a run may delete "
        f"{target.max_delete_share:.0%} (max_delete_share). Nothing was committed",
        place=target.place,
        remedy="see whether the source is whole (emptied, half restored, another filter or partition, rows hidden from "
        "this user); if the deletes are right, run again with --allow-deletes (run parameter allow_deletes)",
    )
