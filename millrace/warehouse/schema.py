"""A schema change as a value: what a target lacks to hold a batch. SQL comes last, and only from such values.

What does not belong here: running the changes (loader.py) and deciding on a stream's policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace.naming import LOADED_AT, ROW_HASH, quote
from millrace.shape.row_hash import HASH_LENGTH
from millrace.types import TIMESTAMP_UTC, Column, DataType, Kind, text
from millrace.warehouse.dialect import Dialect


@dataclass(frozen=True)
class CreateTable:
    """The target does not exist."""

    schema: str
    table: str
    columns: tuple[tuple[str, str, bool], ...]
    """Name, type, whether NULL is refused."""

    def sql(self) -> list[str]:
        """Additive, safe to repeat."""
        columns = ",\n    ".join(
            f"{quote(name)} {type_name}{' NOT NULL' if required else ''}" for name, type_name, required in self.columns
        )
        target = quote(self.schema, self.table)
        return [
            f"CREATE SCHEMA IF NOT EXISTS {quote(self.schema)}",
            f"CREATE TABLE IF NOT EXISTS {target} (\n    {columns}\n)",
        ]

    def __str__(self) -> str:
        return f"create table {self.schema}.{self.table}"


@dataclass(frozen=True)
class AddColumn:
    """The source has a column that the target lacks; older rows are NULL in it."""

    schema: str
    table: str
    name: str
    type_name: str

    def sql(self) -> list[str]:
        """Additive."""
        return [f"ALTER TABLE {quote(self.schema, self.table)} ADD COLUMN {quote(self.name)} {self.type_name}"]

    def __str__(self) -> str:
        return f"add column {self.name} {self.type_name} to {self.schema}.{self.table}"


@dataclass(frozen=True)
class WidenColumn:
    """A text is longer than its column; nothing already there changes."""

    schema: str
    table: str
    name: str
    type_name: str

    def sql(self) -> list[str]:
        """Additive; not inside a transaction on Redshift."""
        table, name = quote(self.schema, self.table), quote(self.name)
        return [f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {self.type_name}"]

    def __str__(self) -> str:
        return f"widen column {self.name} of {self.schema}.{self.table} to {self.type_name}"


@dataclass(frozen=True)
class Incompatible:
    """The target's column cannot hold the batch's type; no statement mends it without a person's decision."""

    schema: str
    table: str
    name: str
    held: str
    wanted: str

    def sql(self) -> list[str]:
        """None."""
        return []

    def __str__(self) -> str:
        return f"column {self.name} of {self.schema}.{self.table} is {self.held} and cannot hold {self.wanted}"


Change = CreateTable | AddColumn | WidenColumn | Incompatible

_INTEGERS = (Kind.INT16, Kind.INT32, Kind.INT64)
_FLOATS = (Kind.FLOAT32, Kind.FLOAT64)


def changes_for(
    schema: str,
    table: str,
    target: Mapping[str, DataType | None] | None,
    columns: Sequence[Column],
    keys: Sequence[str],
    longest_bytes: Mapping[str, int],
    dialect: Dialect,
) -> list[Change]:
    """What has to change so that ``target`` (None: there is no such table) holds ``columns``."""
    if target is None:
        return [_create(schema, table, columns, keys, longest_bytes, dialect)]
    changes = (_change(schema, table, target, column, longest_bytes.get(column.name, 0), dialect) for column in columns)
    return [change for change in changes if change is not None]


def _create(
    schema: str,
    table: str,
    columns: Sequence[Column],
    keys: Sequence[str],
    longest_bytes: Mapping[str, int],
    dialect: Dialect,
) -> CreateTable:
    declared = [
        (column.name, dialect.target_type(column.type, longest_bytes.get(column.name, 0)), column.name in keys)
        for column in columns
    ]
    row_hash = (ROW_HASH, dialect.target_type(text(HASH_LENGTH), HASH_LENGTH), True)
    loaded_at = (LOADED_AT, dialect.target_type(TIMESTAMP_UTC, 0), True)
    return CreateTable(schema, table, (*declared, row_hash, loaded_at))


def _change(
    schema: str,
    table: str,
    target: Mapping[str, DataType | None],
    column: Column,
    longest_bytes: int,
    dialect: Dialect,
) -> Change | None:
    if column.name not in target:
        return AddColumn(schema, table, column.name, dialect.target_type(column.type, longest_bytes))
    held = target[column.name]
    if held is None or not holds(held, column.type):
        return Incompatible(schema, table, column.name, str(held or "of a type unknown here"), str(column.type))
    if dialect.measures_text and held.length is not None and longest_bytes > held.length:
        return WidenColumn(schema, table, column.name, dialect.target_type(column.type, longest_bytes))
    return None


def holds(held: DataType, wanted: DataType) -> bool:
    """Whether every value of ``wanted`` is a value of ``held`` (lengths aside: they are measured)."""
    if held.kind is Kind.DECIMAL and wanted.kind is Kind.DECIMAL:
        scale, wanted_scale = held.scale or 0, wanted.scale or 0
        return scale >= wanted_scale and _whole_digits(held) >= _whole_digits(wanted)
    for family in (_INTEGERS, _FLOATS):
        if held.kind in family and wanted.kind in family:
            return family.index(held.kind) >= family.index(wanted.kind)
    return held.kind is wanted.kind


def _whole_digits(data_type: DataType) -> int:
    return (data_type.precision or 0) - (data_type.scale or 0)
