"""The table of the tests of schema changes, and what it needs to hold what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.base.types import Column, DataType
from millrace.warehouse.dialect import REDSHIFT_DIALECT, Dialect
from millrace.warehouse.schema.changes import Change
from millrace.warehouse.schema.difference import RecordedColumn, changes_for

SCHEMA, TABLE = "shop", "orders"


def columns(**types: DataType) -> list[Column]:
    return [Column(name, name, data_type) for name, data_type in types.items()]


def needed(
    held: Mapping[str, DataType | None] | None,
    wanted: list[Column],
    dialect: Dialect = REDSHIFT_DIALECT,
    longest: Mapping[str, int] | None = None,
    **further: Any,
) -> list[Change]:
    return changes_for(SCHEMA, TABLE, held, wanted, ["id"], longest or {}, dialect, **further)


def recorded(*names: str, keys: tuple[str, ...] = ("id",), left: tuple[str, ...] = ()) -> dict[str, RecordedColumn]:
    return {name: RecordedColumn(name, name, name in keys, name in left) for name in names}
