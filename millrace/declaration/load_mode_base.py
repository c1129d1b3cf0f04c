"""What a load mode says of itself: which columns it adds, what it asks of rows, and which declarations it fits.

The modes are in load_modes.py and scd2.py. Whatever depends on the mode is a question here, with the answer that most
modes give. Only recorded forms know modes by their names (warehouse/schema/other_form.py), as the ledger does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from millrace.base.naming import DELETED_AT, VERSION_HASH
from millrace.base.types import TIMESTAMP_UTC, Column, text
from millrace.declaration.captures import DeletePolicy, Problem

if TYPE_CHECKING:
    from millrace.declaration.model import Model
    from millrace.declaration.stream import Stream

DELETED_COLUMN = Column(DELETED_AT, DELETED_AT, TIMESTAMP_UTC)
"""The time at which a row was deleted at the source, NULL while it is there."""
VERSION_HASH_COLUMN = Column(VERSION_HASH, VERSION_HASH, text(39))
"""The hash of the tracked columns of a version."""


@dataclass(frozen=True)
class Validity:
    """The columns of a table of versions that tell which one was valid at a time."""

    surrogate: str
    """The column of the version's own key."""
    start: str
    """The column of the time at which a version starts."""


@dataclass(frozen=True)
class LoadMode:
    """How the rows of a batch become rows of a table."""

    needs_key: ClassVar[bool] = True
    """Whether rows are told apart by a key."""
    takes_messages: ClassVar[bool] = False
    """Whether rows may come twice and in any order."""
    replaces_table: ClassVar[bool] = False
    """Whether each batch holds all rows and, if it differs, takes the place of the whole table."""
    keeps_first_rows: ClassVar[bool] = False
    """Whether a row stays as it came first."""
    keeps_versions: ClassVar[bool] = False
    """Whether a key has several rows."""
    has_one_row_per_key: ClassVar[bool] = False
    """Whether its tables can be loaded on by another mode that has one row per key."""
    depends_on_key_order: ClassVar[bool] = False
    """Whether values depend on the order in which the columns of the key are declared."""
    column_options: ClassVar[tuple[str, ...]] = ()
    """Options that name added columns: where one changes, the column is renamed."""
    end_options: ClassVar[tuple[str, ...]] = ()
    """Options that say where versions end: where one changes, all ends are set again."""

    @property
    def leading(self) -> tuple[Column, ...]:
        """Added columns that stand before the others."""
        return ()

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """Return the added columns that stand after the others, where deleted rows are treated so."""
        return (DELETED_COLUMN,) if deletes == "soft" else ()

    def deletes(self, declared: DeletePolicy) -> DeletePolicy:
        """Return what happens to deleted rows, where a member declares this policy."""
        return declared

    @property
    def named(self) -> tuple[str, ...]:
        """Names of added columns that are chosen where the mode is declared."""
        return tuple(getattr(self, option) for option in self.column_options)

    @property
    def effective(self) -> str:
        """The column that says since when a row is as it is; '' where none is asked for."""
        return ""

    @property
    def asked(self) -> tuple[str, ...]:
        """Columns that a row must have beside its key."""
        return ()

    @property
    def ordering(self) -> tuple[str, ...]:
        """Columns that put rows of one key in order."""
        return ()

    @property
    def dated_by(self) -> str:
        """The column that dates several rows of one key in a batch; '' where a key comes once."""
        return ""

    @property
    def is_log(self) -> bool:
        """Whether rows are changes, each for ever true of its time."""
        return False

    @property
    def validity(self) -> Validity | None:
        """The columns that tell which version was valid at a time; None where versions have no times."""
        return None

    @property
    def greatest_key(self) -> int | None:
        """The greatest key, and its negative the least, that it can load; None: any key."""
        return None

    @property
    def beside(self) -> Mapping[str, LoadMode]:
        """Further tables that it keeps, by what stands behind the name of the table in theirs."""
        return {}

    def index_columns(self, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the columns of each index by which it finds rows."""
        return [keys] if keys else []

    def tracked_of(self, names: Sequence[str], keys: Sequence[str]) -> list[str] | None:  # noqa: ARG002 - modes that override it ask
        """Return the columns (of ``names``) whose change makes a version; None where content tells no versions."""
        return None

    def problem_with_stream(self, stream: Stream) -> Problem | None:
        """Return why a stream cannot be loaded by this mode; None if it can."""
        if not stream.capture.keeps_rows and not self.takes_messages:
            return ("messages come twice and in any order", "declare Append or Merge")
        return None

    def problem_with_model(self, model: Model) -> Problem | None:  # noqa: ARG002 - modes that override it ask
        """Return why a model cannot be loaded by this mode; None if it can."""
        return None

    def refuse_policy(self, deletes: DeletePolicy) -> Problem:
        """Return why this policy of deletes does not fit the mode."""
        return (f"{type(self).__name__} does not do deletes={deletes!r}", "leave deletes out, or declare Merge()")


def load_mode_named(name: str) -> type[LoadMode] | None:
    """Return the load mode that a form in the ledger names; None if there is no such mode."""
    return next((mode for mode in _list_modes(LoadMode) if mode.__name__ == name), None)


def _list_modes(base: type[LoadMode]) -> list[type[LoadMode]]:
    """Return all classes that inherit from a load mode, directly or not."""
    return [mode for direct in base.__subclasses__() for mode in (direct, *_list_modes(direct))]
