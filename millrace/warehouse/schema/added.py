"""Columns that a load adds to a target with rows, and what these rows hold in them.

A column that was loaded before and is missing now was dropped by hand. The stored hashes say that every row has its
values, so that only a batch that is compared value by value may add it (docs/decisions/0018-stored-hash-is-a-claim.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from millrace.base.errors import FatalError, TargetLost
from millrace.lake.batch import Batch
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.record import expect_columns
from millrace.warehouse.schema.column_changes import AddColumn, Change
from millrace.warehouse.target import Target


def refuse_unfilled(ledger: Ledger, target: Target, batch: Batch, changes: Sequence[Change]) -> None:
    """Raise TargetLost when a column that was loaded before would be added and left empty.

    The next read of the stream then reads everything. For a model, FatalError is raised, because a person has to ask
    for a read of everything.
    """
    if batch.coverage.by_value and (batch.visited_all_rows or batch.kind == "model"):
        return
    lost = sorted(_find_added(changes) & ledger.list_columns(batch.pipeline, batch.stream).keys())
    if not lost:
        return
    problem = f"the target has lost {', '.join(lost)}, and this batch holds only some of its rows"
    if batch.kind == "model":
        raise FatalError(
            problem,
            place=target.place,
            remedy=f"run `{target.owner.full_run_command}`, which fills the column",
        )
    expect_columns(ledger, batch.pipeline, batch.stream, lost)
    raise TargetLost(problem, place=target.place, remedy="run again: everything is read then")


def find_unfilled_columns(target: Target, batch: Batch, changes: Sequence[Change]) -> Iterator[str]:
    """Yield what a person should know of columns that are new in the source."""
    arriving = {column.name for column in batch.columns}
    added = sorted(_find_added(changes) & arriving)
    if added and not batch.visited_all_rows and not batch.coverage.by_value:
        full, sweep = (
            f"`{target.owner.full_run_command}`",
            f"`{target.owner.sweep_command}`, or a due sweep,",
        )
        way = full if batch.kind == "model" or batch.progress.collected else sweep
        yield f"rows loaded before are NULL in the new {', '.join(added)} until they are read again: {way} does it"


def _find_added(changes: Sequence[Change]) -> set[str]:
    return {change.name for change in changes if isinstance(change, AddColumn)}
