"""The one transaction of a load: it changes targets, bindings, references and the ledger together, or nothing.

It locks the ledger first. Batches that are loaded together become visible together: dimensions first, then facts, then
the streams that they are computed from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from millrace.base.naming import quote
from millrace.drivers.psycopg_errors import database_errors
from millrace.warehouse.apply import apply
from millrace.warehouse.bind_facts import Changed, bind_facts, with_joins
from millrace.warehouse.documents import name_unparsed_documents
from millrace.warehouse.freshness import measure_freshness
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.ledger.logs import refuse_moved_log
from millrace.warehouse.ledger.record import record_batch, record_columns
from millrace.warehouse.ledger.refusals import refuse_other_source, refuse_superseded, refuse_taken_target
from millrace.warehouse.lost_targets import refuse_part_of_lost_target
from millrace.warehouse.reconcile import reconcile
from millrace.warehouse.references import complete_dimensions
from millrace.warehouse.remarks import add_remarks, record_left_out
from millrace.warehouse.replace_target import replace_target
from millrace.warehouse.schema.added import find_unfilled_columns
from millrace.warehouse.schema.needed import Needs
from millrace.warehouse.work import Work


def find_applied(ledger: Ledger, works: Sequence[Work]) -> dict[str, LoadResult]:
    """Return the results of the batches that were applied before, by batch id."""
    found = (ledger.find_result(work.batch, work.target.name) for work in works)
    return {result.batch_id: result for result in found if result}


def commit_together(needs: Needs, works: Sequence[Work], pending: Sequence[Work]) -> dict[str, LoadResult]:
    """Apply the pending works in one commit. Return the results by batch id."""
    ledger = needs.ledger
    ledger.lock()
    needs.catalog.forget()
    done = find_applied(ledger, pending)
    pending = [work for work in pending if work.batch.batch_id not in done]
    _refuse(needs, works, pending)
    applied_at = datetime.now(UTC)
    applied = [_apply(needs, work, applied_at) for work in _with_absent_rows(pending)]
    unbound = bind_facts(needs.connection, needs.catalog, needs.models, _find_changed(applied), applied_at)
    lacking = complete_references(needs, applied, applied_at)
    of_models = {name: (*unbound.get(name, ()), *lacking[name]) for name in needs.models}
    of_models |= record_left_out(needs, applied, applied_at)
    members = ledger.list_members(applied[0].batch.pipeline) if applied else set()
    for work in add_remarks(needs, applied, of_models, members):
        done[work.batch.batch_id] = _record(needs, work, applied_at)
    _record_forms(needs, applied, applied_at)
    needs.connection.commit()
    return done


def complete_references(needs: Needs, works: Sequence[Work], applied_at: datetime) -> dict[str, tuple[str, ...]]:
    """Insert rows for keys that facts refer to and their dimensions lack.

    Facts that were inserted are looked at, or all facts if everything was read or the reference is new. Return what was
    done, by model.
    """
    loaded = {work.name: work for work in works if work.has_table}
    done = {}
    for name, fact in needs.models.items():
        work, references = loaded.get(name), fact.relations.references
        of_all_rows = references if work and work.batch.coverage.by_value else needs.completed.get(name, ())
        columns = dict.fromkeys(of_all_rows, fact.quoted)
        if work and work.batch.written:
            columns = dict.fromkeys(references, quote(work.target.temporary.changed_rows)) | columns
        done[name] = complete_dimensions(needs.connection, needs.catalog, fact, needs.models, applied_at, columns)
    return done


def _refuse(needs: Needs, works: Sequence[Work], pending: Sequence[Work]) -> None:
    """Raise an error when a batch comes too late, or comes from another source than the rows of its target."""
    ledger = needs.ledger
    # A model has no lease: it is as old as the batches beside it, also those that were applied before.
    dating = works if any(work.batch.kind == "model" for work in pending) else pending
    for work in dating:
        refuse_superseded(ledger, work.batch)
    for work in pending:
        refuse_moved_log(ledger, work.batch)
        refuse_taken_target(ledger, work.batch, work.target.name)
        if work.batch.coverage.replaces_target:
            continue
        refuse_part_of_lost_target(needs, work)
        if not work.creates_target:
            refuse_other_source(ledger, work.batch)


def _apply(needs: Needs, work: Work, applied_at: datetime) -> Work:
    target = needs.catalog.look_up(with_joins(work.target, needs.models))
    with database_errors(target.place), name_unparsed_documents(needs.connection, target, work.batch):
        if work.batch.coverage.replaces_target:
            return replace_target(needs, work, applied_at)
        applied = apply(needs.connection, target, work.batch, applied_at)
    return replace(work, target=target, applied=applied)


def _find_changed(works: Sequence[Work]) -> Changed:
    """Find the changes that facts may have to be bound again for."""
    loaded = [work for work in works if work.has_table]
    return Changed(
        touched={work.name: work.target for work in loaded},
        repaired=frozenset(work.name for work in loaded if work.batch.coverage.by_value and not work.creates_target),
    )


def _with_absent_rows(works: Sequence[Work]) -> list[Work]:
    """Return the works, where models also delete the rows that a new table of a stream lacks.

    If the table of a stream was made for this load, no sweep will find which rows were deleted before: these are the
    rows that its models hold and that are not computed from all rows of the stream now. A first load has no such rows.
    """
    created = {
        work.name
        for work in works
        if not work.target.owner.is_model and (work.creates_target or work.batch.coverage.replaces_target)
    }
    has_rejects = any(work.batch.counts.rejected for work in works)
    return [_with_absent(work, created, has_rejects=has_rejects) for work in works]


def _with_absent(work: Work, created: Collection[str], *, has_rejects: bool) -> Work:
    batch, coverage, derivation = work.batch, work.batch.coverage, work.target.derivation
    holds_all = bool(derivation.roots & {*created} and derivation.root_columns and coverage.computed_from_all_rows)
    if work.creates_target or not holds_all or batch.files.deletes:
        return work
    if not has_rejects:
        return replace(work, batch=replace(batch, coverage=replace(coverage, absent_means_deleted=True)))
    command = f"`{work.target.owner.reload_command} --from source`"
    remark = f"rows were rejected, so nothing is taken for deleted: rows may be left that are gone ({command})"
    return replace(work, batch=replace(batch, note="; ".join(filter(None, (batch.note, remark)))))


def _record(needs: Needs, work: Work, applied_at: datetime) -> LoadResult:
    """Check the counts of what was done, and record them in the ledger."""
    ledger, target, batch, rows = needs.ledger, work.target, work.batch, work.applied
    position = None if work.creates_target else ledger.find_position(target.owner.pipeline, target.owner.name)
    result = LoadResult(
        pipeline=batch.pipeline,
        stream=batch.stream,
        target=target.name,
        batch_id=batch.batch_id,
        kind=batch.kind,
        read=batch.counts.read + rows.absent,
        inserted=rows.inserted,
        updated=rows.updated,
        deleted=rows.deleted,
        unchanged=batch.counts.matched + batch.written + batch.deleted + rows.absent - rows.changed,
        rejected=batch.counts.rejected,
        changes=(*map(str, work.changes), *work.changes_elsewhere),
        warnings=(
            *filter(None, [batch.note]),
            *work.remarks,
            *find_unfilled_columns(target, batch, work.changes),
            *reconcile(needs.connection, target, batch, _count_rejected(ledger, work)),
        ),
        freshness=measure_freshness(needs.connection, target, batch, position, datetime.now(UTC)),
    )
    record_batch(ledger, batch, result, applied_at)
    if batch.written or work.creates_target:
        is_new, existing = work.creates_target, target.columns or ()
        record_columns(ledger, batch, target.keys, is_new=is_new, existing=existing)
    return result


def _count_rejected(ledger: Ledger, work: Work) -> int:
    """Count the rows of the source that the target may lack because they were rejected.

    They were rejected by this batch, or by an earlier batch and not read again by this one.
    """
    batch = work.batch
    former = [] if batch.visited_all_rows else ledger.list_open_rejects(batch.pipeline, batch.stream)
    return batch.counts.rejected + sum(rejects.rows for rejects in former)


def _record_forms(needs: Needs, works: Sequence[Work], applied_at: datetime) -> None:
    of_all = {work.name for work in works if work.batch.coverage.computed_from_all_rows}
    targets = {**needs.models, **{work.name: work.target for work in works}}
    for name, target in targets.items():
        needs.record(target, applied_at, is_of_all=name in of_all)
