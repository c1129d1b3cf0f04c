"""Changes of a table's form as values: their names, which of them are made, and the SQL that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from millrace.base.naming import quote
from millrace.warehouse.schema.column_changes import Change, Step, create_index
from millrace.warehouse.statements import ORDINAL

ROWS_OF_A_STEP = 500_000
"""How many rows of a table are written again in one step."""


@dataclass(frozen=True)
class AllowNull(Change):
    """The target refuses NULL in a column that may be NULL now, or that gets no values any more."""

    name: str

    @override
    def steps(self) -> list[Step]:
        """Return one statement."""
        return [Step((f"ALTER TABLE {self.table.quoted} ALTER COLUMN {quote(self.name)} DROP NOT NULL",))]

    @override
    def __str__(self) -> str:
        return f"let column {self.name} of {self.table} be NULL"


@dataclass(frozen=True)
class RenameColumn(Change):
    """An added column is declared with another name."""

    old: str
    new: str

    @override
    def steps(self) -> list[Step]:
        """Return one statement."""
        return [Step((f"ALTER TABLE {self.table.quoted} RENAME COLUMN {quote(self.old)} TO {quote(self.new)}",))]

    @override
    def __str__(self) -> str:
        return f"rename column {self.old} of {self.table} to {self.new}"


@dataclass(frozen=True)
class SettleEnds(Change):
    """Versions end by another rule than before, or by an unknown one: the ``statement`` sets all ends that differ."""

    statement: str
    of_columns: ClassVar[bool] = False

    @override
    def steps(self) -> list[Step]:
        """Return one statement, which may be repeated."""
        return [Step((self.statement,))]

    @override
    def __str__(self) -> str:
        return f"settle where the versions of {self.table} end, by the declared gap and open_end"


@dataclass(frozen=True)
class Notice(Change):
    """A changed declaration that changes nothing in the target, but that a person should know about."""

    text: str
    of_columns: ClassVar[bool] = False

    @override
    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class RefusedForm(Change):
    """A change that is never made."""

    ways: str
    """What a person can do instead."""
    additive: ClassVar[bool] = False
    of_columns: ClassVar[bool] = False

    @property
    @override
    def remedy(self) -> str:
        """What a person can do instead."""
        return self.ways


@dataclass(frozen=True)
class OtherForm(RefusedForm):
    """The target was loaded in another way than is declared now, which would mix two kinds of rows."""

    was: str
    """The way in which it was loaded."""
    declared: str
    """The way that is declared."""

    @override
    def __str__(self) -> str:
        return f"{self.table} {self.was}, and the declaration says {self.declared}"


@dataclass(frozen=True)
class LeftOut(RefusedForm):
    """Rows of the streams of a model were loaded while the model was not declared, so that its target lacks them."""

    @override
    def __str__(self) -> str:
        return f"rows were loaded while the model of {self.table} was not declared, and it lacks them"


@dataclass(frozen=True)
class BindRows(Change):
    """A bind is new or has changed, and the rows that are there are not bound by it."""

    column: str
    """The column that is bound."""
    dimension: str
    """``schema.table`` of the dimension."""
    rows: int
    """How many rows the table has."""
    drop: str
    """The statement that drops the temporary table of rows to be written."""
    find: str
    """The statement that creates this temporary table, with rows that are numbered from 1."""
    write: str
    """The statement that writes these rows."""
    of_columns: ClassVar[bool] = False

    @override
    def steps(self) -> list[Step]:
        """Return steps of ``ROWS_OF_A_STEP`` rows each. All may be repeated."""
        firsts = range(0, max(self.rows, 1), ROWS_OF_A_STEP)
        last = firsts[-1]
        conditions = [
            f"b$.{ORDINAL} > {first}" + ("" if first == last else f" AND b$.{ORDINAL} <= {first + ROWS_OF_A_STEP}")
            for first in firsts
        ]
        return [
            Step((self.drop, self.find)),
            *(Step((f"{self.write} AND {condition}",)) for condition in conditions),
            Step((self.drop,)),
        ]

    @override
    def __str__(self) -> str:
        return f"bind {self.column} of all {self.rows} rows of {self.table} to {self.dimension}"


@dataclass(frozen=True)
class CompleteReference(Change):
    """A reference is new, or refers to another dimension, which may lack keys of rows that are there.

    These keys are inserted when the load is committed.
    """

    column: str
    dimension: str
    of_columns: ClassVar[bool] = False

    @override
    def __str__(self) -> str:
        return f"add the keys in {self.column} of all rows of {self.table} that {self.dimension} lacks"


@dataclass(frozen=True)
class CreateIndex(Change):
    """The target has no index on columns by which its rows are found."""

    columns: tuple[str, ...]
    """The columns that are indexed."""
    where: str = ""
    """The condition of the rows that are indexed; '': all rows."""
    of_columns: ClassVar[bool] = False

    @override
    def steps(self) -> list[Step]:
        """Return one statement, during which writers wait."""
        return [Step((create_index(self.table, self.columns, self.where),))]

    @override
    def __str__(self) -> str:
        rows = " for rows that are not bound" if self.where else ""
        return f"create an index on {self.table} ({', '.join(self.columns)}){rows}"


@dataclass(frozen=True)
class DropIndex(Change):
    """The target's index cannot hold a text that will be loaded."""

    index: str
    columns: tuple[str, ...]
    of_columns: ClassVar[bool] = False

    @override
    def steps(self) -> list[Step]:
        """Return one statement."""
        return [Step((f"DROP INDEX IF EXISTS {quote(self.table.schema, self.index)}",))]

    @override
    def __str__(self) -> str:
        names = ", ".join(self.columns)
        return f"drop the index on {self.table} ({names}): a text is longer than an index holds"
