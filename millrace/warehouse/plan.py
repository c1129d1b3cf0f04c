"""Tell people what a load would do: schema changes and statements. Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.base.types import Column
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.schema.column_changes import Change
from millrace.warehouse.schema.columns import ArrivingColumns
from millrace.warehouse.schema.form import other_function
from millrace.warehouse.schema.make_changes import allows, remedy_of
from millrace.warehouse.schema.needed import needs_of
from millrace.warehouse.target import Target


def plan_load(
    connection: Any, target: Target, columns: Sequence[Column], models: Mapping[str, Target]
) -> tuple[list[str], list[str]]:
    """Return the schema changes that loading these columns would make, and every statement of the load."""
    needs = needs_of(connection, Ledger(connection), [target], models)
    changes = needs.find_changes(target, ArrivingColumns(columns, are_all=bool(columns)))
    statements = [command for change in changes for command in change.sql()]
    if columns:
        statements += applier_of(target).plan(columns)
    remarks = filter(None, [other_function(target, needs.forms.find(target))])
    return [*(_describe(target, change) for change in changes), *remarks], statements


def _describe(target: Target, change: Change) -> str:
    policy = target.policies.schema_policy
    if allows(policy, change):
        return str(change)
    return f"{change}: the load would be refused ({remedy_of(change, policy)})"
