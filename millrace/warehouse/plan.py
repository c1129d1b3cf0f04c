"""Tell people what a load would do: schema changes and statements. Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.schema.column_changes import Change, CreateTable
from millrace.warehouse.schema.columns import ArrivingColumns
from millrace.warehouse.schema.form import other_function
from millrace.warehouse.schema.make_changes import allows, remedy_of
from millrace.warehouse.schema.needed import needs_of
from millrace.warehouse.target import Target


def plan_load(
    connection: Any, target: Target, arriving: ArrivingColumns, models: Mapping[str, Target]
) -> tuple[list[str], list[str]]:
    """Return the schema changes that loading these columns would make, and every statement of the load.

    Nobody knows the statement that makes a table as long as nobody knows its columns.
    """
    needs = needs_of(connection, Ledger(connection), [target], models)
    changes = needs.find_changes(target, arriving)
    known = [change for change in changes if arriving.columns or not isinstance(change, CreateTable)]
    statements = [command for change in known for command in change.sql()]
    if arriving.columns:
        statements += applier_of(target).plan(arriving.columns)
    remarks = filter(None, [other_function(target, needs.forms.find(target))])
    return [*(_describe(target, change) for change in changes), *remarks], statements


def _describe(target: Target, change: Change) -> str:
    policy = target.policies.schema_policy
    if allows(policy, change):
        return str(change)
    return f"{change}: the load would be refused ({remedy_of(change, policy)})"
