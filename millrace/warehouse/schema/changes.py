"""A schema change as a value: what it is called, whether anything is lost by it, and the SQL that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from millrace.base.naming import distinct_column_name, quote, quote_list
from millrace.base.types import DataType
from millrace.warehouse.table import Table


def create_index(table: Table, columns: Sequence[str], where: str) -> str:
    """Return the statement that creates an index on columns, for the rows of a condition ('': for all)."""
    return f"CREATE INDEX ON {table.quoted} ({quote_list(columns)}){where and f' WHERE {where}'}"


@dataclass(frozen=True)
class Step:
    """Statements that are run as one transaction, or each by itself and outside of any."""

    statements: tuple[str, ...]
    in_transaction: bool = True


@dataclass(frozen=True)
class Change:
    """A difference between a target and what is to be loaded into it; as text, what a person is told of it.

    ``additive``: nothing that was there is lost, neither a value nor a meaning. The others are never made;
    ``remedy`` says what a person can do instead. ``of_columns``: columns of the table change, or their types.
    """

    table: Table
    additive: ClassVar[bool] = True
    of_columns: ClassVar[bool] = True
    way_out: ClassVar[str] = ""

    @property
    def remedy(self) -> str:
        """What a person can do where it is refused."""
        return self.way_out

    def steps(self) -> list[Step]:
        """How it is made, none where nothing is done."""
        return []

    def sql(self) -> list[str]:
        """Every statement in order, for a plan."""
        return [statement for step in self.steps() for statement in step.statements]


@dataclass(frozen=True)
class CreateTable(Change):
    """The target does not exist. ``columns``: name, type, whether NULL is refused; ``sorted_by``: one, if any;
    ``indexes``: of columns each, and of which rows ('': all)."""

    columns: tuple[tuple[str, str, bool], ...]
    sorted_by: str = ""
    indexes: tuple[tuple[tuple[str, ...], str], ...] = ()

    @override
    def steps(self) -> list[Step]:
        """Safe to repeat."""
        columns = ",\n    ".join(
            f"{quote(name)} {type_name}{' NOT NULL' if required else ''}" for name, type_name, required in self.columns
        )
        sorting = self.table.dialect.sorting.format(quote(self.sorted_by)) if self.sorted_by else ""
        return [
            Step((f"CREATE SCHEMA IF NOT EXISTS {quote(self.table.schema)}",)),
            Step(
                (
                    f"CREATE TABLE IF NOT EXISTS {self.table.quoted} (\n    {columns}\n){sorting}",
                    *(create_index(self.table, names, where) for names, where in self.indexes),
                )
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"create table {self.table}"


@dataclass(frozen=True)
class AddColumn(Change):
    """The target lacks a column; the rows it holds are NULL in it until they are delivered again."""

    name: str
    type_name: str

    @override
    def steps(self) -> list[Step]:
        """One statement."""
        return [Step((f"ALTER TABLE {self.table.quoted} ADD COLUMN {quote(self.name)} {self.type_name}",))]

    @override
    def __str__(self) -> str:
        return f"add column {self.name} {self.type_name} to {self.table}"


@dataclass(frozen=True)
class WidenText(Change):
    """A text is longer than its VARCHAR."""

    name: str
    type_name: str

    @override
    def steps(self) -> list[Step]:
        """One statement, which Redshift refuses inside a transaction."""
        alter = f"ALTER TABLE {self.table.quoted} ALTER COLUMN {quote(self.name)} TYPE {self.type_name}"
        return [Step((alter,), in_transaction=False)]

    @override
    def __str__(self) -> str:
        return f"widen column {self.name} of {self.table} to {self.type_name}"


@dataclass(frozen=True)
class WidenType(Change):
    """A column of the type ``held`` gets one that holds its values and those to come."""

    name: str
    held: DataType
    type_name: str

    @override
    def steps(self) -> list[Step]:
        """One transaction, in which readers wait."""
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
        return f"widen column {self.name} of {self.table} from {self.held} to {self.type_name}"


@dataclass(frozen=True)
class ColumnLeft(Change):
    """The source's table has the column no more. The target keeps it, NULL in every row that is replaced from now."""

    name: str

    @override
    def __str__(self) -> str:
        return f"column {self.name} of {self.table} has left the source; it is NULL in rows delivered from now on"


@dataclass(frozen=True)
class Incompatible(Change):
    """The target's column cannot hold the batch's type, and no type holds the values of both."""

    name: str
    held: str
    wanted: str
    additive: ClassVar[bool] = False
    way_out: ClassVar[str] = (
        "declare the type that the target has in the stream's types; or, for the source's own, drop the target: the "
        "next run loads all of it"
    )

    @override
    def __str__(self) -> str:
        return f"column {self.name} of {self.table} is {self.held} and cannot hold {self.wanted}"


@dataclass(frozen=True)
class KeyChanged(Change):
    """The target was loaded with another key: its rows would no longer be found, and come twice."""

    loaded: tuple[str, ...]
    declared: tuple[str, ...]
    additive: ClassVar[bool] = False
    way_out: ClassVar[str] = "declare the former key, or another target in the stream and load all of it again"

    @override
    def __str__(self) -> str:
        loaded, declared = ", ".join(self.loaded), ", ".join(self.declared)
        return f"{self.table} was loaded with the key ({loaded}), and the declaration says the key ({declared})"


@dataclass(frozen=True)
class OwnColumnsLost(Change):
    """The target lacks columns without which its rows are not told apart: filled with NULL, every row would come
    twice."""

    names: tuple[str, ...]
    additive: ClassVar[bool] = False
    way_out: ClassVar[str] = "put the column back with its values, or drop the target: the next run loads all of it"

    @override
    def __str__(self) -> str:
        return f"{self.table} has no column {', '.join(self.names)}, which a load needs"
