"""Refuse a batch that holds only a part of the rows of a target that has lost the others.

Otherwise the position would say that all rows are there.
"""

from __future__ import annotations

from typing import Any

from millrace.base.errors import TargetLost
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.schema.needed import Needs
from millrace.warehouse.session import fetch_count
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work


def refuse_part_of_new_target(ledger: Ledger, batch: Batch, target: Target) -> None:
    """Raise TargetLost when the target of a part of the rows must be made, and it was loaded before.

    A model is refused too if it would begin with a part of its rows.
    """
    _refuse_part(ledger, batch, target, "is not there any more")
    if (
        target.derivation.begins_whole
        and not batch.holds_all_rows
        and batch.stream not in ledger.list_members(batch.pipeline)
    ):
        raise TargetLost(
            f"{target.name} was never loaded, and this batch holds only a part of its rows",
            place=target.place,
            remedy=f"run `{target.owner.run_command}` first, which reads everything for it",
        )


def refuse_part_of_lost_target(needs: Needs, work: Work) -> None:
    """Raise TargetLost when a target was emptied, or was dropped after it was migrated."""
    batch, target = work.batch, work.target
    if not (batch.written or batch.deleted):
        return
    if needs.catalog.find_columns(target) is None:
        raise TargetLost(f"{target.name} was dropped while it was loaded", place=target.place, remedy="run again")
    is_repair = batch.kind == "sweep" and not batch.counts.matched
    if work.creates_target or batch.holds_all_rows or is_repair:
        return
    if _is_empty(needs.connection, target):
        _refuse_part(needs.ledger, batch, target, "has no row any more")


def _is_empty(connection: Any, target: Target) -> bool:
    with connection.cursor() as cursor:
        return fetch_count(cursor, statements.count_first(target.quoted)) == 0


def _refuse_part(ledger: Ledger, batch: Batch, target: Target, problem: str) -> None:
    """Raise TargetLost when rows were loaded into the target before and the batch does not hold them again."""
    if batch.holds_all_rows or not ledger.has_rows(batch.pipeline, batch.stream, keeps_deleted=target.keeps_deleted):
        return
    raise TargetLost(
        f"{target.name} {problem}, and this batch holds only what changed",
        place=target.place,
        remedy=f"run `{target.owner.full_run_command}`, which reads everything",
    )
