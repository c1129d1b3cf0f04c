"""Load batches: stage, migrate and apply them. Only here do batches become rows of targets.

Staging and schema changes are committed before the transaction that applies the differences and writes the ledger
(commit.py); of that transaction everything is committed, or nothing (docs/decisions/0002-load.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from millrace.warehouse.commit import commit_together, complete_references, find_applied
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.migrate_targets import migrate_targets
from millrace.warehouse.replace_target import new_target_of
from millrace.warehouse.schema.needed import Needs, needs_of
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.stage import Stage, files_of
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work


def load(
    connection: Any,
    stage: Stage,
    works: Sequence[Work],
    models: Mapping[str, Target],
    begin_load: Callable[[], None] = lambda: None,
) -> list[LoadResult]:
    """Apply batches exactly once, however often this is called with them. Return the results in the order of ``works``.

    ``models`` are the targets of all models by name; ``begin_load`` is called before anything is applied. Raises
    what ``Warehouse.load`` raises.
    """
    ordered = sorted(works, key=lambda work: work.target.apply_order)
    ledger = Ledger(connection)
    done = find_applied(ledger, ordered)
    connection.rollback()
    pending = [work for work in ordered if work.batch.batch_id not in done]
    if pending:
        begin_load()
    for work in pending:
        _stage(stage, work)
    if pending:
        new_targets = [new_target_of(work.target) for work in pending if work.batch.coverage.replaces_target]
        needs = needs_of(connection, ledger, [*(work.target for work in pending), *new_targets], models)
        pending = migrate_targets(needs, pending)
        retry_on_conflict(connection, ledger.ensure)
        done |= retry_on_conflict(connection, lambda: commit_together(needs, works, pending))
    return [done[work.batch.batch_id] for work in works]


def relate(needs: Needs, facts: Sequence[Target]) -> None:
    """Bind facts to their dimensions and complete these, where the recorded forms say that it was not done. Commits.

    It is done also when nothing is loaded.
    """
    for fact in facts:
        needs.refer(fact, {})
        retry_on_conflict(needs.connection, partial(needs.prepare, fact), fact.place)
    retry_on_conflict(needs.connection, lambda: _commit_relations(needs, facts))


def _commit_relations(needs: Needs, facts: Sequence[Target]) -> None:
    needs.ledger.lock()
    needs.catalog.forget()
    now = datetime.now(UTC)
    complete_references(needs, [], now)
    for fact in facts:
        needs.record(fact, now)
    needs.connection.commit()


def _stage(stage: Stage, work: Work) -> None:
    target = work.target
    for files in files_of(work.batch, target):
        stage.fill(files)
        if files.table == target.temporary.stage and target.keys:
            is_unique = not target.load.dated_by
            stage.check_keys(
                files, target.keys, work.batch.row_id_column, is_unique=is_unique, is_model=target.owner.is_model
            )
