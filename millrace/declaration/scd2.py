"""The load mode `Scd2`, slowly changing dimension of type 2: every version of a row with the time it was valid in.

Rules: docs/decisions/0010-versions.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import NaiveDatetime
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name
from millrace.base.types import BOOLEAN, INT64, TIMESTAMP, Column
from millrace.declaration.captures import DeletePolicy, Problem
from millrace.declaration.checks import Duration, Text, check_distinct, check_fields
from millrace.declaration.load_mode_base import DELETED_COLUMN, VERSION_HASH_COLUMN, LoadMode, Validity
from millrace.declaration.load_modes import Append

if TYPE_CHECKING:
    from millrace.declaration.stream import Stream

EVENTS = "$events"
"""Behind the name of a table: the table of the events that its versions are computed from."""
EVENT_STATED, EVENT_AT, EVENT_AFTER = "stated$", "at$", "after$"
"""Columns of an event: its time as the row says it, the time from which it holds, and the last deletion of its key that
had been seen when it came. All in UTC."""


@dataclass(frozen=True)
class Events(Append):
    """The table beside versions that are computed from a log: every row of the log as it came, and every deletion."""

    @override
    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        times = (Column(name, name, TIMESTAMP) for name in (EVENT_STATED, EVENT_AT, EVENT_AFTER))
        return (*times, VERSION_HASH_COLUMN)


@dataclass(frozen=True)
class Scd2(LoadMode):
    """Slowly changing dimension, type 2: every version of a row with the time it was valid in."""

    keeps_versions = True
    # Surrogate keys are made of the key, column by column.
    depends_on_key_order = True
    column_options = ("surrogate", "start", "end", "current")
    end_options = ("gap", "open_end")

    surrogate: Text
    """Name of the column of the version's own key."""
    effective_from: str = ""
    """The column that says since when a row is as it is ('': since the batch is effective). Of a model it is not kept,
    because ``start`` holds it."""
    untracked: Sequence[Text] = ()
    """Columns that change in place."""
    changes: bool = False
    """Whether rows are a log of changes, each for ever true of its time; otherwise they are states, of which the one
    that was read last is true now."""
    start: str = "start_date"
    """Name of the column of the time at which a version starts."""
    end: str = "end_date"
    """Name of the column of the time at which a version ends."""
    current: str = "is_current"
    """Name of the column that tells whether a version is valid now."""
    open_end: NaiveDatetime | None = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - UTC, as the columns are
    """The end of a version that is valid now (None: NULL)."""
    gap: Duration = timedelta(microseconds=1)
    """How long before the start of its successor a version ends."""
    beginning: NaiveDatetime = datetime(1900, 1, 1)  # noqa: DTZ001 - the same
    """The start of the first version of a key where it is unknown since when that is so."""
    tie_breaker: str = ""
    """A column of a log: of changes of one key and time the one with the greatest value there counts."""
    from_beginning: bool = False
    """Whether the first version of a key always starts at ``beginning``."""
    deletes_as_versions: bool = False
    """Whether a deletion is a version of its own, with the last values and ``_deleted_at`` set, and never current;
    otherwise it only ends the version before it."""

    def __post_init__(self) -> None:
        check_fields(self, "Scd2")
        for name in self.named:
            if column_name(name) != name:
                raise ConfigurationError(f"{name!r} is no name of a column ", place="Scd2", remedy="see docs/naming.md")
        check_distinct(self.untracked, "untracked column", "Scd2")
        if found := self._find_problem():
            problem, remedy = found
            raise ConfigurationError(problem, place="Scd2", remedy=remedy)

    def _find_problem(self) -> Problem | None:
        if len(set(self.named)) < len(self.named) or {self.effective_from, self.tie_breaker} & {*self.named}:
            return ("two of its columns have one name", "give each its own")
        if self.open_end is not None and self.beginning >= self.open_end:
            return ("it ends before it begins", "declare beginning before open_end")
        if self.changes and not self.effective_from:
            return ("changes need the column that dates them", "declare it as effective_from")
        if self.tie_breaker and not self.changes:
            return (
                "tie_breaker orders changes of one time, and rows are states",
                "declare changes=True, or no tie_breaker",
            )
        if self.tie_breaker and self.tie_breaker == self.effective_from:
            return (
                "tie_breaker is effective_from: it is the same where that is",
                "name a column that tells changes of one time apart",
            )
        return None

    @property
    @override
    def ordering(self) -> tuple[str, ...]:
        """The time, and what decides between rows of one time."""
        return tuple(filter(None, [self.effective_from, self.tie_breaker]))

    @property
    @override
    def asked(self) -> tuple[str, ...]:
        return (*self.ordering, *self.untracked)

    @property
    @override
    def leading(self) -> tuple[Column, ...]:
        return (Column(self.surrogate, self.surrogate, INT64),)

    @override
    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        times = (Column(name, name, TIMESTAMP) for name in (self.start, self.end))
        return (*times, Column(self.current, self.current, BOOLEAN), VERSION_HASH_COLUMN, DELETED_COLUMN)

    @property
    @override
    def beside(self) -> Mapping[str, LoadMode]:
        """The events that the versions of a log are computed from."""
        return {EVENTS: Events()} if self.changes else {}

    @property
    @override
    def effective(self) -> str:
        return self.effective_from

    @property
    @override
    def dated_by(self) -> str:
        """Several changes of one key may come at once."""
        return self.effective_from if self.changes else ""

    @property
    @override
    def is_log(self) -> bool:
        return self.changes

    @property
    @override
    def validity(self) -> Validity:
        return Validity(self.surrogate, self.start)

    @override
    def index_columns(self, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [(*keys, self.start), (self.surrogate,)]

    @override
    def tracked_of(self, names: Sequence[str], keys: Sequence[str]) -> list[str]:
        """Return all columns but the key, the time, and those that are untracked."""
        others = {*keys, *self.untracked, self.effective_from}
        return [name for name in names if name not in others]

    @override
    def problem_with_stream(self, stream: Stream) -> Problem | None:
        if problem := super().problem_with_stream(stream):
            return problem
        if self.changes:
            return ("what is read of a table are states, not changes", "declare a model of its rows")
        return None
