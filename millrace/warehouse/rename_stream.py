"""Rename a stream: the ledger's entries, the lease and, if the declaration names another table, the target.

Batches in the lake stay where they are; the ledger knows them by their keys (runs/reload.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.base.naming import quote
from millrace.declaration.children import make_children
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.rename import find_target, rename_entries, rename_lease
from millrace.warehouse.schema.catalog import look_up
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.target import Target
from millrace.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class Renamed:
    """A stream that goes by another name."""

    former: str
    """The former name of the stream."""
    stream: str
    """Its name."""
    former_target: str
    """``schema.table`` of its target before."""
    target: str
    """``schema.table`` of its target."""
    children: tuple[str, ...] = ()
    """Names of its children: their keys are named after the stream, so each must be reloaded after the rename."""


def check_rename(warehouse: Warehouse, pipeline: Pipeline, old: str, stream: Stream) -> Renamed:
    """Return what a rename would do. Changes nothing.

    Raises ConfigurationError when the declaration still has the old name, when nothing or both were loaded, when the
    new table exists already or lies in another schema, and for a queue.
    """
    with warehouse.open_ledger(_place(pipeline, stream)) as ledger:
        return _check(ledger, warehouse, pipeline, old, stream)


def rename_stream(warehouse: Warehouse, pipeline: Pipeline, old: str, stream: Stream, holder: str) -> Renamed:
    """Let a stream go by its declared name. Raises what ``check_rename`` raises, and StreamBusy."""
    former = replace(stream, name=old)
    check_rename(warehouse, pipeline, old, stream)
    with warehouse.lease(pipeline, former, holder) as token:
        try:
            # Before, for a rename that dies after its commit; after, for a run that asked before the commit.
            warehouse.forget_states(pipeline, [old, stream.name])
            with warehouse.open_ledger(_place(pipeline, stream)) as ledger:
                connection = ledger.connection
                done = retry_on_conflict(connection, lambda: _rename(ledger, warehouse, pipeline, old, stream))
                retry_on_conflict(connection, lambda: rename_lease(connection, pipeline.name, old, stream.name))
            warehouse.forget_states(pipeline, [old, stream.name])
            warehouse.forget_pauses(pipeline)
        finally:
            # The lease goes by the new name now, unless it is kept in the lake.
            warehouse.release(pipeline, {old: token, stream.name: token})
    return done


def _rename(ledger: Ledger, warehouse: Warehouse, pipeline: Pipeline, old: str, stream: Stream) -> Renamed:
    ledger.ensure()
    ledger.lock()
    plan = _check(ledger, warehouse, pipeline, old, stream)
    target = target_of(pipeline, stream, warehouse.dialect)
    former = _make_named(target, plan.former_target)
    with ledger.connection.cursor() as cursor:
        for table, renamed in zip((former, *former.tables_beside), (target, *target.tables_beside), strict=True):
            if table.name != renamed.name and look_up(ledger.connection, table).columns is not None:
                cursor.execute(f"ALTER TABLE {table.quoted} RENAME TO {quote(renamed.table.name)}")
    rename_entries(ledger, pipeline.name, old, stream.name, target.name)
    ledger.connection.commit()
    return plan


def _check(ledger: Ledger, warehouse: Warehouse, pipeline: Pipeline, old: str, stream: Stream) -> Renamed:
    target, former = (
        target_of(pipeline, stream, warehouse.dialect),
        find_target(ledger, pipeline.name, old),
    )
    children = tuple(child.name for child in make_children(stream))
    plan = Renamed(old, stream.name, former, target.name, children)
    if found := _find_problem(ledger.connection, ledger, pipeline, stream, plan, target):
        problem, remedy = found
        raise ConfigurationError(problem, place=_place(pipeline, stream), remedy=remedy)
    return plan


def _find_problem(
    connection: Any, ledger: Ledger, pipeline: Pipeline, stream: Stream, plan: Renamed, target: Target
) -> tuple[str, str] | None:
    """Return why a stream cannot be renamed, and what to do; None if it can."""
    if plan.former in [member.name for member in pipeline.members]:
        return f"the pipeline still declares {plan.former}", f"give that declaration the name {stream.name}"
    if not stream.capture.keeps_rows:
        return (
            "collected messages lie in the lake below the name of the stream, and would be missed",
            f"keep the name {plan.former}; target= names another table",
        )
    if not plan.former_target:
        return f"no stream {plan.former} was ever loaded", "see the former name in millrace.batches"
    if stream.name in ledger.list_members(pipeline.name):
        return (
            f"both {plan.former} and {stream.name} were loaded",
            f"keep {stream.name}, and drop {plan.former_target} if nobody needs it",
        )
    if plan.former_target == target.name:
        return None
    if plan.former_target.rpartition(".")[0] != target.table.schema:
        return (
            f"the target is {plan.former_target}, and no table is moved to another schema",
            f"declare the schema of {plan.former_target}, or load it as a new stream",
        )
    if look_up(connection, target).columns is not None:
        return f"there is a table {target.name} already", f'declare target="{plan.former_target.rpartition(".")[2]}"'
    return None


def _make_named(target: Target, name: str) -> Target:
    return replace(target, table=replace(target.table, name=name.rpartition(".")[2]))


def _place(pipeline: Pipeline, stream: Stream) -> str:
    return f"stream {pipeline.name}.{stream.name}"
