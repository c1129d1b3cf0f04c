"""Loading: stage, make room, apply. The one place where batches become rows of targets.

Stage and schema changes come before the transaction that counts; that one locks the ledger first, applies the
differences and writes the ledger's rows, and either all of it is there or none (docs/decisions/0002-load.md). Batches
that are loaded together become visible together: dimensions first, then facts, then what they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from millrace.base.errors import TargetLost
from millrace.base.naming import DELETED_AT, quote
from millrace.drivers.psycopg_errors import database_errors
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.apply import apply
from millrace.warehouse.bind import Changed, bind_facts, with_joins
from millrace.warehouse.freshness import measure
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.modes.mode import Applied
from millrace.warehouse.reconcile import reconcile
from millrace.warehouse.references import complete_dimensions
from millrace.warehouse.schema.added import refuse_unfilled, unfilled
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.schema.changes import Change, CreateTable
from millrace.warehouse.schema.form import other_function
from millrace.warehouse.schema.needed import Needs, needs_of
from millrace.warehouse.session import count, patiently
from millrace.warehouse.stage import Stage, files_of
from millrace.warehouse.target import Target
from millrace.warehouse.times import doubtful_times


@dataclass(frozen=True)
class Work:
    """A batch on its way into its target, whose columns are ``held``. ``warnings`` are what was found while it was
    applied, ``told`` what was changed in other tables of the pipeline."""

    target: Target
    batch: Batch
    changes: Sequence[Change] = ()
    applied: Applied = field(default_factory=Applied)
    warnings: tuple[str, ...] = ()
    is_there: bool = True
    held: Collection[str] = ()
    told: tuple[str, ...] = ()


def load(connection: Any, stage: Stage, works: Sequence[Work], models: Mapping[str, Target]) -> list[LoadResult]:
    """Apply batches exactly once, however often this is called with them; the results in their order.

    ``models`` are the targets of all models by name. Raises what ``Warehouse.load`` does.
    """
    ordered = sorted(works, key=lambda work: work.target.rank)
    ledger = Ledger(connection)
    done = _applied_before(ledger, ordered)
    connection.rollback()
    pending = [work for work in ordered if work.batch.batch_id not in done]
    for work in pending:
        _stage(stage, work)
    if pending:
        needs = needs_of(connection, ledger, [work.target for work in pending], models)
        pending = _make_all_room(needs, pending)
        patiently(connection, ledger.ensure)
        done |= patiently(connection, lambda: _commit_together(connection, needs, works, pending))
    return [done[work.batch.batch_id] for work in works]


def _applied_before(ledger: Ledger, works: Sequence[Work]) -> dict[str, LoadResult]:
    found = (ledger.applied(work.batch, work.target.name) for work in works)
    return {result.batch_id: result for result in found if result}


def _stage(stage: Stage, work: Work) -> None:
    for files in files_of(work.batch, work.target):
        stage.fill(files)
        if files.table == work.target.stage and work.target.keys:
            target, row_id, is_unique = work.target, work.batch.row_id_column, not work.target.load.dated_by
            stage.check_keys(files, target.keys, row_id, is_unique=is_unique, is_model=target.is_model)


def _make_all_room(needs: Needs, pending: Sequence[Work]) -> list[Work]:
    """Of the works' targets, and of all other models: rows of these may be bound, or refer to what is loaded. What was
    changed in those is told with the first work."""
    here = {work.target.member: work for work in pending}
    others = [target for target in needs.models.values() if target.member not in here]
    targets = sorted([*(work.target for work in pending), *others], key=lambda target: target.rank)
    facts = [target for target in targets if target.member in here or needs.catalog.held(target) is not None]
    referred = {name for fact in facts for name in fact.dimensions}
    for fact in facts:
        needs.refer(fact, here[fact.member].batch.files.longest_bytes if fact.member in here else {})
    made: dict[str, Sequence[Change]] = {}
    for target in targets:
        step = (
            partial(_make_room, needs, here[target.member])
            if target.member in here
            else partial(_make_other, needs, target, is_referred=target.member in referred)
        )
        made[target.member] = patiently(needs.connection, step, target.place)
    told = tuple(str(change) for name, changes in made.items() if name not in here for change in changes)
    works = [replace(work, changes=made[work.target.member]) for work in pending]
    return [replace(works[0], told=told), *works[1:]]


def _make_room(needs: Needs, work: Work) -> Sequence[Change]:
    batch, target = work.batch, work.target
    if not (batch.written or batch.deleted or batch.coverage.absent_means_deleted):
        return needs.prepare(target)
    is_whole = batch.coverage.has_all_columns and batch.written > 0
    changes = needs.changes(target, batch.columns, batch.files.longest_bytes, is_whole=is_whole)
    if _makes(changes, target):
        _refuse_part(needs.ledger, batch, target, "is not there any more")
        _refuse_beginning(needs.ledger, batch, target)
    refuse_unfilled(needs.ledger, target, batch, changes)
    needs.make(target, changes)
    return changes


def _make_other(needs: Needs, target: Target, *, is_referred: bool) -> Sequence[Change]:
    """A dimension that is referred to, or bound to, and was never loaded is made."""
    if needs.catalog.held(target) is None and is_referred:
        needs.make(target, needs.changes(target, target.columns))
        return ()
    return needs.prepare(target)


def _refuse_part(ledger: Ledger, batch: Batch, target: Target, problem: str) -> None:
    """Raises TargetLost when rows were loaded into the target before and the batch does not hold them again: the others
    would be missing, and the position would say that they are there."""
    if batch.holds_all_rows or not ledger.has_rows(batch.pipeline, batch.stream, keeps_deleted=target.keeps_deleted):
        return
    raise TargetLost(
        f"{target.name} {problem}, and this batch holds only what changed",
        place=target.place,
        remedy=f"run `millrace run {target.cli_name} --full`, which reads everything",
    )


def _refuse_beginning(ledger: Ledger, batch: Batch, target: Target) -> None:
    """Raises TargetLost when a model would begin with a part of its rows."""
    if target.begins_whole and not batch.holds_all_rows and batch.stream not in ledger.members(batch.pipeline):
        raise TargetLost(
            f"{target.name} was never loaded, and this batch holds only a part of its rows",
            place=target.place,
            remedy=f"run `millrace run {target.cli_name}` first, which reads everything for it",
        )


def _commit_together(
    connection: Any, needs: Needs, works: Sequence[Work], pending: Sequence[Work]
) -> dict[str, LoadResult]:
    ledger, catalog, models = needs.ledger, needs.catalog, needs.models
    ledger.lock()
    catalog.forget()
    done = _applied_before(ledger, pending)
    pending = [work for work in pending if work.batch.batch_id not in done]
    # A model has no lease: it is as old as the batches beside it, also those that were applied before.
    dating = works if any(work.batch.kind == "model" for work in pending) else pending
    for work in dating:
        ledger.refuse_superseded(work.batch)
    for work in pending:
        ledger.refuse_foreign(work.batch, work.target.name)
        _refuse_lost(connection, ledger, catalog, work)
        if not _is_made(work):
            ledger.refuse_other_source(work.batch)
    applied_at = datetime.now(UTC)
    pending = [_apply(connection, needs, work, applied_at) for work in _completed(pending)]
    unbound = bind_facts(connection, catalog, models, _changed(pending), applied_at)
    completed = _complete(needs, pending, applied_at)
    told = {name: (*unbound.get(name, ()), *completed[name]) for name in models}
    told |= _left_out(needs, pending, applied_at)
    members = ledger.members(pending[0].batch.pipeline) if pending else set()
    for work in _told_of_others(pending, told):
        own = (*work.applied.warnings, *told.get(work.target.member, ()), *doubtful_times(work.target, work.batch))
        own += work.warnings + _not_filled(work, members)
        if not work.batch.coverage.computed_from_all_rows:
            own += tuple(filter(None, [other_function(work.target, needs.forms.of(work.target))]))
        done[work.batch.batch_id] = _record(connection, ledger, replace(work, warnings=own), applied_at)
    of_all = {work.target.member for work in pending if work.batch.coverage.computed_from_all_rows}
    for target in {**models, **{work.target.member: work.target for work in pending}}.values():
        needs.record(target, applied_at, is_of_all=target.member in of_all)
    connection.commit()
    return done


def relate(connection: Any, needs: Needs, facts: Sequence[Target]) -> None:
    """Bind facts to their dimensions, and complete these, where what is recorded says that it was not done: also when
    nothing is loaded. Commits."""
    for fact in facts:
        needs.refer(fact, {})
        patiently(connection, partial(needs.prepare, fact), fact.place)

    def commit() -> None:
        needs.ledger.lock()
        needs.catalog.forget()
        now = datetime.now(UTC)
        _complete(needs, [], now)
        for fact in facts:
            needs.record(fact, now)
        connection.commit()

    patiently(connection, commit)


def _is_made(work: Work) -> bool:
    """The target was made for this batch."""
    return _makes(work.changes, work.target)


def _makes(changes: Sequence[Change], target: Target) -> bool:
    return any(isinstance(change, CreateTable) and change.target.table == target.table for change in changes)


def _refuse_lost(connection: Any, ledger: Ledger, catalog: Catalog, work: Work) -> None:
    """Raises TargetLost when the target was emptied, or dropped since room was made, and the batch is only a part."""
    batch, target = work.batch, work.target
    if not (batch.written or batch.deleted):
        return
    if catalog.held(target) is None:
        raise TargetLost(f"{target.name} was dropped while it was loaded", place=target.place, remedy="run again")
    is_repair = batch.kind == "sweep" and not batch.counts.matched
    if _is_made(work) or batch.holds_all_rows or is_repair:
        return
    with connection.cursor() as cursor:
        is_empty = count(cursor, statements.count_first(target.quoted)) == 0
    if is_empty:
        _refuse_part(ledger, batch, target, "has no row any more")


def _apply(connection: Any, needs: Needs, work: Work, applied_at: datetime) -> Work:
    held = needs.catalog.held(work.target)
    target = replace(with_joins(work.target, needs.models), marks_deleted=DELETED_AT in (held or {}))
    with database_errors(target.place):
        applied = apply(connection, target, work.batch, applied_at, held)
    return replace(work, target=target, applied=applied, is_there=held is not None, held=held or ())


def _changed(works: Sequence[Work]) -> Changed:
    """What facts may have to be bound for."""
    there = [work for work in works if work.is_there]
    return Changed(
        touched={work.target.member: work.target for work in there},
        repaired=frozenset(work.target.member for work in there if work.batch.coverage.by_value and not _is_made(work)),
    )


def _complete(needs: Needs, works: Sequence[Work], applied_at: datetime) -> dict[str, tuple[str, ...]]:
    """Rows for keys that facts refer to and their dimensions lack: of facts that were put in; of all, where everything
    was read or the reference is new. By model, what was done."""
    here = {work.target.member: work for work in works if work.is_there}
    told = {}
    for name, fact in needs.models.items():
        work = here.get(name)
        whole = fact.references if work and work.batch.coverage.by_value else needs.completed.get(name, ())
        columns = dict.fromkeys(whole, fact.quoted)
        if work and work.batch.written:
            columns = {column: quote(work.target.delta) for column in fact.references} | columns
        told[name] = complete_dimensions(needs.connection, needs.catalog, fact, needs.models, applied_at, columns)
    return told


def _completed(works: Sequence[Work]) -> list[Work]:
    """With what is computed from all rows of a stream whose table was made for them: no sweep will find which rows had
    left before, so that those which its models hold besides have left. Of a first load there are none."""
    made = {work.target.member for work in works if not work.target.is_model and _is_made(work)}
    has_rejects = any(work.batch.counts.rejected for work in works)
    return [_complete_batch(work, made, has_rejects=has_rejects) for work in works]


def _complete_batch(work: Work, made: Collection[str], *, has_rejects: bool) -> Work:
    batch, target = work.batch, work.target
    is_of_made = bool(target.roots & {*made} and target.root_columns) and batch.coverage.computed_from_all_rows
    if _is_made(work) or not is_of_made or batch.files.deletes:
        return work
    if not has_rejects:
        return replace(work, batch=replace(batch, coverage=replace(batch.coverage, absent_means_deleted=True)))
    command = f"`millrace reload {target.cli_name} {target.member} --from source`"
    told = f"rows were rejected, so nothing is taken for deleted: rows may be left that are gone ({command})"
    return replace(work, batch=replace(batch, note="; ".join(filter(None, (batch.note, told)))))


def _not_filled(work: Work, members: Collection[str]) -> tuple[str, ...]:
    """What is told of a new model of messages: those that were loaded before are not read again."""
    target = work.target
    if target.begins_whole or target.member in members or not target.roots & {*members}:
        return ()
    command = f"`millrace reload {target.cli_name} {target.member}`"
    return (
        f"it was never loaded, and messages are not read again: it holds those from now on ({command} adds the rest)",
    )


def _left_out(needs: Needs, works: Sequence[Work], applied_at: datetime) -> dict[str, tuple[str, ...]]:
    """What is told of models that are not declared any more and whose streams have new rows."""
    if not any(work.applied.changed for work in works if not work.target.is_model):
        return {}
    declared = {*needs.models, *(work.target.member for work in works)}
    told = "it is not declared any more: its table stays as it is"
    return dict.fromkeys(needs.forms.leave(declared, applied_at), (told,))


def _told_of_others(works: Sequence[Work], told: Mapping[str, Sequence[str]]) -> list[Work]:
    """What is told of models into which nothing was loaded is told with the first work."""
    here = {work.target.member for work in works}
    others = (f"{name}: {text}" for name, texts in told.items() if name not in here for text in texts)
    return [replace(work, warnings=tuple(others) if work is works[0] else ()) for work in works]


def _record(connection: Any, ledger: Ledger, work: Work, applied_at: datetime) -> LoadResult:
    """What was done, checked, and into the ledger."""
    target, batch, rows = work.target, work.batch, work.applied
    position = ledger.position(target.pipeline, target.member)
    result = LoadResult(
        batch.pipeline,
        batch.stream,
        target.name,
        batch.batch_id,
        batch.kind,
        read=batch.counts.read + rows.gone,
        inserted=rows.inserted,
        updated=rows.updated,
        deleted=rows.deleted,
        unchanged=batch.counts.matched + batch.written + batch.deleted + rows.gone - rows.changed,
        rejected=batch.counts.rejected,
        changes=(*map(str, work.changes), *work.told),
        warnings=(
            *filter(None, [batch.note]),
            *work.warnings,
            *unfilled(target, batch, work.changes),
            *reconcile(connection, target, batch, _rejected(ledger, batch), is_there=work.is_there),
        ),
        freshness=measure(connection, target, batch, position, datetime.now(UTC)),
    )
    ledger.record(batch, result, applied_at)
    if batch.written:
        ledger.record_columns(batch, target.keys, is_new=_is_made(work), held=work.held)
    return result


def _rejected(ledger: Ledger, batch: Batch) -> int:
    """Rows of the source that the target may lack: of this batch, and of those before that it did not read again."""
    former = [] if batch.visited_all_rows else ledger.open_rejects(batch.pipeline, batch.stream)
    return batch.counts.rejected + sum(one.rows for one in former)
