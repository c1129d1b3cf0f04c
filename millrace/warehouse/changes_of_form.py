"""Changes of a table's form as values: what they are called, which are made, and the SQL that makes them.

What does not belong here: which changes a declaration needs (form.py), changes of the source's columns (changes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from millrace.naming import quote
from millrace.warehouse.changes import Change, Step


@dataclass(frozen=True)
class AllowNull(Change):
    """The target refuses NULL in a column that may be NULL now, or that is given no more."""

    name: str

    def steps(self) -> list[Step]:
        """One statement."""
        return [Step((f"ALTER TABLE {self.target.quoted} ALTER COLUMN {quote(self.name)} DROP NOT NULL",))]

    def __str__(self) -> str:
        return f"let column {self.name} of {self.target} be NULL"


@dataclass(frozen=True)
class RenameColumn(Change):
    """A column of our own is declared with another name."""

    old: str
    new: str

    def steps(self) -> list[Step]:
        """One statement."""
        return [Step((f"ALTER TABLE {self.target.quoted} RENAME COLUMN {quote(self.old)} TO {quote(self.new)}",))]

    def __str__(self) -> str:
        return f"rename column {self.old} of {self.target} to {self.new}"


@dataclass(frozen=True)
class SettleEnds(Change):
    """Versions end by another rule than they did, or it is not known by which: the ``statement`` sets
    all that differ."""

    statement: str
    of_columns: ClassVar[bool] = False

    def steps(self) -> list[Step]:
        """One statement, which may be repeated."""
        return [Step((self.statement,))]

    def __str__(self) -> str:
        return f"settle where the versions of {self.target} end, by the declared gap and open_end"


@dataclass(frozen=True)
class Told(Change):
    """A declaration has changed so that nothing is done to the target, and a person should know what that means."""

    text: str
    of_columns: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class OtherForm(Change):
    """The target was loaded in another way than is declared, which would mix two kinds of rows. ``was`` says how,
    ``declared`` what is, ``ways`` how to go on."""

    was: str
    declared: str
    ways: str
    additive: ClassVar[bool] = False
    of_columns: ClassVar[bool] = False

    @property
    def remedy(self) -> str:
        """The ways."""
        return self.ways

    def __str__(self) -> str:
        return f"{self.target} {self.was}, and the declaration says {self.declared}"
