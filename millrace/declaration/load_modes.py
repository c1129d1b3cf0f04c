"""Load modes without times.

One row per key (`Merge`, `Append`), all rows of a snapshot (`Replace`), numbered versions (`History`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from millrace.base.naming import VERSION
from millrace.base.types import INT32, INT64, Column
from millrace.declaration.captures import DeletePolicy, Problem
from millrace.declaration.checks import Text, check_fields
from millrace.declaration.load_mode_base import DELETED_COLUMN, LoadMode

if TYPE_CHECKING:
    from millrace.declaration.model import Model
    from millrace.declaration.stream import Stream

VERSIONS_OF_A_KEY = 10_000
"""Record ids of a history leave room for so many versions of a key."""


@dataclass(frozen=True)
class Append(LoadMode):
    """Rows with a new key are inserted; no row changes or is deleted, for tables that only grow.

    Rows whose key exists with other content are skipped and counted in a warning.
    """

    takes_messages = True
    keeps_first_rows = True
    has_one_row_per_key = True

    @override
    def deletes(self, declared: DeletePolicy) -> DeletePolicy:
        """Ignore deletes, whatever is declared."""
        return "ignore"

    @override
    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        return ()

    @override
    def problem_with_stream(self, stream: Stream) -> Problem | None:
        return self.refuse_policy("soft") if stream.deletes == "soft" else None


@dataclass(frozen=True)
class Merge(LoadMode):
    """One row per key in the target; a changed row replaces the old one."""

    takes_messages = True
    has_one_row_per_key = True


@dataclass(frozen=True)
class Replace(LoadMode):
    """The target has exactly the rows of the last snapshot, whether or not rows are rejected.

    It needs no key: rows are identified by their content, and equal rows are counted.
    """

    needs_key = False
    replaces_table = True

    @override
    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        return ()

    @override
    def problem_with_stream(self, stream: Stream) -> Problem | None:
        if not stream.is_snapshot:
            return ("Replace needs the whole table at every run", "declare capture=Snapshot()")
        if not stream.reference.kind.has_snapshot:
            return (
                f"Replace counts equal rows, and {stream.reference.kind.title} may give a row twice",
                "declare load=Merge()",
            )
        return self.refuse_policy(stream.deletes) if stream.deletes != "hard" else None

    @override
    def problem_with_model(self, model: Model) -> Problem | None:
        return self.refuse_policy("ignore") if model.deletes == "ignore" else None


@dataclass(frozen=True)
class History(LoadMode):
    """Every version of a row is kept, also that it was deleted; ``_version`` counts them per key from 1."""

    keeps_versions = True
    column_options = ("record_id",)

    record_id: Text
    """Name of the column that numbers versions over the whole table, for ever (key * 10,000 + version)."""

    def __post_init__(self) -> None:
        check_fields(self, "History")

    @property
    @override
    def greatest_key(self) -> int:
        """The greatest key of which a record id can be made."""
        return (2**63 - 1) // VERSIONS_OF_A_KEY - 1

    @property
    @override
    def leading(self) -> tuple[Column, ...]:
        return (Column(self.record_id, self.record_id, INT64),)

    @override
    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        return (Column(VERSION, VERSION, INT32), DELETED_COLUMN)

    @override
    def index_columns(self, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [(*keys, VERSION)]

    @override
    def problem_with_stream(self, stream: Stream) -> Problem | None:
        return ("a history is kept of a model", "declare Scd2, or a model")

    @override
    def problem_with_model(self, model: Model) -> Problem | None:
        if len(model.keys) == 1 and model.schema.columns()[model.keys[0]].dtype.is_integer():
            return None
        return ("History needs a key of one integer column, from which it makes record ids", "declare such a key")
