"""Reconciliation: compare a sample of the source with the target after a batch was applied.

The target is compared with what the source held when the batch was read. This runs in the transaction of the apply, so
that a difference can still fail it.
"""

from __future__ import annotations

from typing import Any

from millrace.base.errors import CountMismatch
from millrace.base.naming import quote
from millrace.declaration.captures import follows_deletes
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.difference import Difference
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.session import fetch_count
from millrace.warehouse.target import Target


def reconcile(connection: Any, target: Target, batch: Batch, rejected: int) -> tuple[str, ...]:
    """Return the differences, for people; () if there are none, or nothing was expected.

    There is no target yet if every row was rejected; then there are no differences. ``rejected`` rows of the source may
    be missing in the target. Raises CountMismatch when the stream's policy is ``fail``.
    """
    if target.policies.reconcile is None or batch.counts.source_rows is None or target.columns is None:
        return ()
    differences = tuple(_find_differences(connection, target, batch, rejected))
    if differences and target.policies.reconcile.policy != "warn":
        raise CountMismatch(
            "; ".join(differences),
            place=target.place,
            remedy=f"nothing was committed; `{target.owner.sweep_command}` finds silent changes and deletes",
        )
    return differences


def _find_differences(connection: Any, target: Target, batch: Batch, rejected: int) -> list[str]:
    found, live_rows = [], applier_of(target).live_rows
    sampled = sum(part.rows for part in batch.files.sample)
    sample = Difference(quote(target.temporary.sample), live_rows, target.keys)
    with connection.cursor() as cursor:
        rows = fetch_count(cursor, statements.count_live_rows(target, live_rows))
        unlike = fetch_count(cursor, sample.count_changed()) if sampled else 0
    expected = batch.counts.source_rows or 0
    keeps_deleted = not follows_deletes(target.policies.deletes)
    if rows < expected - rejected or (rows > expected and not keeps_deleted):
        found.append(f"the source held {expected} rows, the target holds {rows} ({rejected} rejected ones are open)")
    if unlike:
        found.append(f"{unlike} of {sampled} sampled rows differ")
    return found
