"""Reconciliation: the target after an apply, against what the source held when the batch was read.

Runs in the transaction of the apply, so that a difference can still fail it.
"""

from __future__ import annotations

from typing import Any

from millrace.base.errors import CountMismatch
from millrace.declaration.captures import follows_deletes
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes import mode_of
from millrace.warehouse.session import count
from millrace.warehouse.target import Target


def reconcile(connection: Any, target: Target, batch: Batch, rejected: int, *, is_there: bool) -> tuple[str, ...]:
    """What differs, for people; nothing when all agrees, nothing was expected, or there is no target yet because every
    row was rejected. ``rejected`` rows of the source may be missing in the target.

    Raises CountMismatch when the stream's policy is ``fail``.
    """
    if target.reconcile is None or batch.counts.source_rows is None or not is_there:
        return ()
    differences = tuple(_differences(connection, target, batch, rejected))
    if differences and target.reconcile.policy != "warn":
        raise CountMismatch(
            "; ".join(differences),
            place=target.place,
            remedy=f"nothing was committed; `millrace sweep {target.cli_name}` finds silent changes and deletes",
        )
    return differences


def _differences(connection: Any, target: Target, batch: Batch, rejected: int) -> list[str]:
    found, present = [], mode_of(target).present
    sampled = sum(part.rows for part in batch.files.sample)
    with connection.cursor() as cursor:
        rows = count(cursor, statements.count_rows(target, present))
        unlike = count(cursor, statements.count_unlike_sample(target, present)) if sampled else 0
    expected = batch.counts.source_rows or 0
    keeps_deleted = not follows_deletes(target.deletes)
    if rows < expected - rejected or (rows > expected and not keeps_deleted):
        found.append(f"the source held {expected} rows, the target holds {rows} ({rejected} rejected ones are open)")
    if unlike:
        found.append(f"{unlike} of {sampled} sampled rows differ")
    return found
