"""Make schema changes, if the stream's policy allows them.

All are checked before any is made. Each step is a transaction of its own, before that of the load: a crash between two
steps leaves a target with the values that it held, and the next load reads the catalog again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import psycopg2

from millrace.base.errors import Conflict, SchemaConflict
from millrace.base.redact import redact
from millrace.declaration.captures import SchemaPolicy
from millrace.warehouse.schema.column_changes import (
    Change,
    ColumnNotRead,
    CreateTable,
    Step,
    WidenLength,
    WidenType,
)
from millrace.warehouse.schema.storage import read_storage
from millrace.warehouse.session import lock_table

_OTHERS_DEPEND_ON_IT = frozenset({"2BP01", "0A000"})
"""Codes that mean that a view reads the column: Redshift will not drop it, Postgres will not alter it."""


def make_changes(connection: Any, changes: Sequence[Change], policy: SchemaPolicy, place: str) -> None:
    """Make the changes; commits. Afterwards the target takes the rows that will be loaded.

    ``evolve`` makes the additive changes, ``freeze`` creates the target and makes no changes afterwards, ``quarantine``
    is like ``freeze``, but a column may be missing in the source: rows that would need another change were rejected
    when they were read. Raises SchemaConflict, before anything is done, for a change that the policy refuses, and when
    something in the warehouse depends on a column that must be widened; Conflict when another load changed the column
    meanwhile.
    """
    refuse(changes, policy, place)
    connection.rollback()
    for change in changes:
        _make(connection, change, place)


def refuse(changes: Sequence[Change], policy: SchemaPolicy, place: str) -> None:
    """Raise SchemaConflict that names every change that the policy does not allow."""
    refused = [change for change in changes if not allows(policy, change)]
    if not refused:
        return
    remedies = dict.fromkeys(remedy_of(change, policy) for change in refused)
    raise SchemaConflict("; ".join(map(str, refused)), place=place, remedy="; ".join(remedies))


def allows(policy: SchemaPolicy, change: Change) -> bool:
    """Return whether a load makes this change; otherwise the load fails. Policies are about columns only."""
    if not change.of_columns:
        return change.additive
    match policy:
        case "evolve":
            return change.additive
        case "quarantine":
            return isinstance(change, CreateTable | ColumnNotRead)
        case "freeze":
            return isinstance(change, CreateTable)
        case _:
            assert_never(policy)


def remedy_of(change: Change, policy: SchemaPolicy) -> str:
    """Return what a person can do about a change that the policy does not allow."""
    remedy = f"the schema policy is {policy}: change the target by hand, or run once with schema_policy='evolve'"
    return remedy if change.additive else change.remedy


def _make(connection: Any, change: Change, place: str) -> None:
    """Make a change. A column that cannot be dropped because it is part of a key is taken out of the key meanwhile."""
    if not isinstance(change, WidenLength | WidenType):
        return _run_all(connection, change, place)
    storage = read_storage(connection, change.table)
    connection.rollback()
    if isinstance(change, WidenLength):
        if not storage.is_fixed(change.name):
            return _run_all(connection, change, place)
        change = change.by_copy
    _run(connection, change, Step(storage.release(change.table, change.name), in_transaction=False), place)
    try:
        return _run_all(connection, change, place)
    finally:
        connection.rollback()
        _run(connection, change, Step(storage.restore(change.table, change.name), in_transaction=False), place)


def _run_all(connection: Any, change: Change, place: str) -> None:
    for step in change.steps():
        _run(connection, change, step, place)


def _run(connection: Any, change: Change, step: Step, place: str) -> None:
    connection.autocommit = not step.in_transaction
    try:
        with connection.cursor() as cursor:
            if isinstance(change, WidenType) and step.in_transaction:
                lock_table(connection, change.table.quoted)
                _refuse_outdated(cursor, change, place)
            for statement in () if _is_done(cursor, step) else step.statements:
                cursor.execute(statement)
        if step.in_transaction:
            connection.commit()
    except psycopg2.Error as error:
        if error.pgcode not in _OTHERS_DEPEND_ON_IT:
            raise
        raise _depended_on(error, change, place) from None
    finally:
        if not step.in_transaction:
            connection.autocommit = False


def _is_done(cursor: Any, step: Step) -> bool:
    if not step.unless:
        return False
    cursor.execute(step.unless)
    return cursor.fetchone() is not None


def _refuse_outdated(cursor: Any, change: WidenType, place: str) -> None:
    """Raise Conflict when another load made the column still wider.

    To make it narrower again would round its values silently.
    """
    cursor.execute(change.table.describe_column(change.name))
    described = cursor.fetchone()
    if described is None or change.table.dialect.column_type(*described) != change.former:
        raise Conflict(
            f"column {change.name} of {change.table} was changed by another load",
            place=place,
            remedy="run again; the catalog is read again",
        )


def _depended_on(error: psycopg2.Error, change: Change, place: str) -> SchemaConflict:
    said = redact(f"{error.diag.message_primary} ({error.diag.message_detail or 'no detail'})")
    return SchemaConflict(
        f"{change}: {said}",
        place=place,
        remedy="drop the view or key that depends on the column, run again and make it again; "
        "on Redshift a view WITH NO SCHEMA BINDING does not depend on columns",
    )
