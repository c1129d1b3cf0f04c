"""The table of the tests of schema changes, and what it needs to hold what is wanted."""

from __future__ import annotations

from collections.abc import Mapping

from millrace.base.types import Column, DataType
from millrace.declaration.captures import DeletePolicy
from millrace.warehouse.dialect import REDSHIFT_DIALECT, Dialect
from millrace.warehouse.ledger.entries import RecordedColumn
from millrace.warehouse.schema.column_changes import Change
from millrace.warehouse.schema.columns import ArrivingColumns, find_column_changes
from millrace.warehouse.table import Table
from millrace.warehouse.target import Owner, Policies, Target

SCHEMA, TABLE = "shop", "orders"
OWNER = Owner("shop", "orders", "stream shop.orders", "shop")


def columns(**types: DataType) -> list[Column]:
    return [Column(name, name, data_type) for name, data_type in types.items()]


def needed(
    held: Mapping[str, DataType | None] | None,
    wanted: list[Column],
    dialect: Dialect = REDSHIFT_DIALECT,
    longest: Mapping[str, int] | None = None,
    *,
    recorded: Mapping[str, RecordedColumn] | None = None,
    is_whole: bool = False,
    deletes: DeletePolicy = "hard",
) -> list[Change]:
    target = Target(OWNER, Table(SCHEMA, TABLE, dialect), ("id",), policies=Policies(deletes))
    arriving = ArrivingColumns(wanted, longest or {}, is_whole)
    return find_column_changes(target, held, recorded or {}, arriving)


def recorded(*names: str, keys: tuple[str, ...] = ("id",), left: tuple[str, ...] = ()) -> dict[str, RecordedColumn]:
    return {name: RecordedColumn(name, name, name in keys, name in left) for name in names}
