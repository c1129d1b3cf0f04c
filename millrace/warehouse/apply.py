"""Apply a staged batch to its target, in the transaction of the caller, and refuse to delete too many rows."""

from __future__ import annotations

from datetime import datetime
from math import ceil
from typing import Any

from millrace.base.errors import TooManyDeletes
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.applier import Application, Applied, Applier, applier_of
from millrace.warehouse.session import fetch_count
from millrace.warehouse.target import Target

SMALL_ROWS = 100
"""A run may delete any share of a target with so few rows."""


def apply(connection: Any, target: Target, batch: Batch, applied_at: datetime) -> Applied:
    """Apply a staged batch by the load mode of its target.

    Nothing is done if there is no table, because every row was rejected or there was none. Raises CountMismatch when
    the statements did not find the rows that they were to replace, FatalError when the load mode cannot number a row,
    TooManyDeletes when the batch deleted more than it may.
    """
    if target.columns is None:
        return Applied()
    applier = applier_of(target)
    with connection.cursor() as cursor:
        done = applier.apply(Application(cursor, batch, applied_at))
        if applier.lost_rows(done) > 0 and not batch.consent.allow_deletes:
            _refuse_too_many_deletes(cursor, applier, done, batch.counts.rejected)
    return done


def _refuse_too_many_deletes(cursor: Any, applier: Applier, done: Applied, rejected: int) -> None:
    """Raise TooManyDeletes when a batch deleted more than it may.

    Rows are counted only if their number can decide.
    """
    target, live_rows = applier.target, applier.live_rows
    lost, before = applier.lost_rows(done), done.deleted - done.inserted
    max_share = target.policies.max_delete_share
    enough = max(SMALL_ROWS + 1, ceil(lost / max_share) if max_share else 0)
    counted = fetch_count(cursor, statements.count_live_rows(target, live_rows, at_most=enough + done.inserted))
    if counted + before >= enough and lost <= max_share * enough:
        return
    present = fetch_count(cursor, statements.count_live_rows(target, live_rows)) + before
    if present <= SMALL_ROWS or lost <= max_share * present:
        return
    and_rejected = f" ({rejected} rows of it were rejected)" if rejected else ""
    raise TooManyDeletes(
        f"{lost} of the {present} rows of {target.name} are not in the source any more{and_rejected}; a run may delete "
        f"{max_share:.0%} (max_delete_share). Nothing was committed",
        place=target.place,
        remedy="see whether the source is whole (emptied, half restored, another filter or partition, rows hidden from "
        "this user); if the deletes are right, run again with --allow-deletes (run parameter allow_deletes)",
    )
