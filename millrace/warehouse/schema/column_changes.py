"""A schema change as a value: its name, whether something is lost by it, and the SQL that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from millrace.base.naming import distinct_column_name, literal, quote, quote_list
from millrace.base.types import DataType
from millrace.warehouse.table import Table


def find_schema(name: str) -> str:
    """Return a query that returns a row if there is a schema of this name."""
    return f"SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {literal(name)}"


def create_index(table: Table, columns: Sequence[str], where: str) -> str:
    """Return the statement that creates an index on columns, for rows with a condition ('': all rows)."""
    return f"CREATE INDEX ON {table.quoted} ({quote_list(columns)}){where and f' WHERE {where}'}"


@dataclass(frozen=True)
class Step:
    """Statements that belong together."""

    statements: tuple[str, ...]
    """The statements, in order."""
    unless: str = ""
    """A query: nothing is run if it returns a row."""
    in_transaction: bool = True
    """Whether they are run in one transaction; otherwise each is run outside of any."""


@dataclass(frozen=True)
class Change:
    """A difference between a target and what will be loaded into it. Its text is what people read."""

    table: Table
    """The table that changes."""
    additive: ClassVar[bool] = True
    """Whether nothing is lost by it, neither a value nor a meaning. Other changes are never made."""
    of_columns: ClassVar[bool] = True
    """Whether columns of the table change, or their types."""
    way_out: ClassVar[str] = ""
    """What a person can do if it is refused; ``remedy`` returns it."""

    @property
    def remedy(self) -> str:
        """What a person can do if it is refused."""
        return self.way_out

    def steps(self) -> list[Step]:
        """Return the steps that make it; none if nothing is done."""
        return []

    def sql(self) -> list[str]:
        """Return every statement in order, for a plan."""
        return [statement for step in self.steps() for statement in step.statements]


@dataclass(frozen=True)
class CreateTable(Change):
    """The target does not exist."""

    columns: tuple[tuple[str, str, bool], ...]
    """Name and type of each column, and whether it refuses NULL."""
    sorted_by: str = ""
    """The column by which the table is sorted ('': none)."""
    distributed_by: str = ""
    """The column by which its rows are distributed over nodes; '': the warehouse decides."""
    indexes: tuple[tuple[tuple[str, ...], str], ...] = ()
    """The columns of each index, and the condition of its rows ('': all)."""

    @override
    def steps(self) -> list[Step]:
        """Return statements that may be repeated."""
        columns = ",\n    ".join(
            f"{quote(name)} {type_name}{' NOT NULL' if required else ''}" for name, type_name, required in self.columns
        )
        dialect = self.table.dialect
        design = dialect.distribution.format(quote(self.distributed_by)) if self.distributed_by else ""
        design += dialect.sorting.format(quote(self.sorted_by)) if self.sorted_by else ""
        return [
            # It is not sent where the schema is there: IF NOT EXISTS needs the right to create schemas all the same.
            Step((f"CREATE SCHEMA IF NOT EXISTS {quote(self.table.schema)}",), unless=find_schema(self.table.schema)),
            Step(
                (
                    f"CREATE TABLE IF NOT EXISTS {self.table.quoted} (\n    {columns}\n){design}",
                    *(create_index(self.table, names, where) for names, where in self.indexes),
                )
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"create table {self.table}"


@dataclass(frozen=True)
class ReplaceTable(CreateTable):
    """A new table takes the place of the target, or is its first one."""

    @override
    def __str__(self) -> str:
        return f"replace table {self.table} by a new one"


@dataclass(frozen=True)
class AddColumn(Change):
    """The target lacks a column. Its rows are NULL in the new column until they are loaded again."""

    name: str
    type_name: str

    @override
    def steps(self) -> list[Step]:
        """Return one statement."""
        return [Step((f"ALTER TABLE {self.table.quoted} ADD COLUMN {quote(self.name)} {self.type_name}",))]

    @override
    def __str__(self) -> str:
        return f"add column {self.name} {self.type_name} to {self.table}"


@dataclass(frozen=True)
class WidenLength(Change):
    """A value is longer than its VARCHAR or VARBYTE."""

    name: str
    """Name of the column."""
    former: DataType
    """Its type now."""
    type_name: str
    """Its type afterwards."""

    @property
    def by_copy(self) -> WidenType:
        """Change that replaces the column by a wider one, for a column with a length that cannot be altered."""
        return WidenType(self.table, self.name, self.former, self.type_name)

    @override
    def steps(self) -> list[Step]:
        """Return one statement, which Redshift refuses inside a transaction."""
        alter = f"ALTER TABLE {self.table.quoted} ALTER COLUMN {quote(self.name)} TYPE {self.type_name}"
        return [Step((alter,), in_transaction=False)]

    @override
    def __str__(self) -> str:
        return f"widen column {self.name} of {self.table} to {self.type_name}"


@dataclass(frozen=True)
class WidenType(Change):
    """The type of a column is widened, so that it holds its values and the new ones."""

    name: str
    """Name of the column."""
    former: DataType
    """Its type now."""
    type_name: str
    """Its type afterwards."""

    @override
    def steps(self) -> list[Step]:
        """Return one transaction, in which readers wait."""
        table, name = self.table.quoted, quote(self.name)
        if self.table.dialect.alters_types:
            return [Step((f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {self.type_name}",))]
        wider = quote(distinct_column_name(f"{self.name} wider"))
        return [
            Step(
                (
                    f"ALTER TABLE {table} ADD COLUMN {wider} {self.type_name}",
                    f"UPDATE {table} SET {wider} = {name}",
                    f"ALTER TABLE {table} DROP COLUMN {name}",
                    f"ALTER TABLE {table} RENAME COLUMN {wider} TO {name}",
                )
            )
        ]

    @override
    def __str__(self) -> str:
        return f"widen column {self.name} of {self.table} from {self.former} to {self.type_name}"


@dataclass(frozen=True)
class ColumnNotRead(Change):
    """A column is not read from the source any more. The target keeps it, with NULL in rows that are replaced later."""

    name: str

    @override
    def __str__(self) -> str:
        return f"column {self.name} of {self.table} is not read any more; it is NULL in rows delivered from now on"


@dataclass(frozen=True)
class Incompatible(Change):
    """The target's column cannot hold the batch's type, and no type holds the values of both."""

    name: str
    """Name of the column."""
    former: str
    """The type of the column in the target."""
    wanted: str
    """The type of the column in the batch."""
    additive: ClassVar[bool] = False
    way_out: ClassVar[str] = (
        "declare the type that the target has in the stream's types; or, for the source's own, drop the target: the "
        "next run loads all of it"
    )

    @override
    def __str__(self) -> str:
        return f"column {self.name} of {self.table} is {self.former} and cannot hold {self.wanted}"


@dataclass(frozen=True)
class KeyChanged(Change):
    """The target was loaded with another key: its rows would not be found any more, and would come twice."""

    loaded: tuple[str, ...]
    """The key with which it was loaded."""
    declared: tuple[str, ...]
    """The declared key."""
    additive: ClassVar[bool] = False
    way_out: ClassVar[str] = "declare the former key, or another target in the stream and load all of it again"

    @override
    def __str__(self) -> str:
        loaded, declared = ", ".join(self.loaded), ", ".join(self.declared)
        return f"{self.table} was loaded with the key ({loaded}), and the declaration says the key ({declared})"


@dataclass(frozen=True)
class AddedColumnsLost(Change):
    """The target lacks added columns that tell its rows apart.

    If they were added with NULL, every row would come twice.
    """

    names: tuple[str, ...]
    additive: ClassVar[bool] = False
    way_out: ClassVar[str] = "put the column back with its values, or drop the target: the next run loads all of it"

    @override
    def __str__(self) -> str:
        return f"{self.table} has no column {', '.join(self.names)}, which a load needs"
