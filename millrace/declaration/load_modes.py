"""Load modes: how the rows of a batch become rows of a table, and which columns of our own the table has for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import NaiveDatetime

from millrace.base.errors import ConfigurationError
from millrace.base.naming import DELETED_AT, VERSION, VERSION_HASH, column_name
from millrace.base.types import BOOLEAN, INT32, INT64, TIMESTAMP, TIMESTAMP_UTC, Column, text
from millrace.declaration.captures import DeletePolicy
from millrace.declaration.checks import Duration, Text, check_distinct, check_fields

DELETED_COLUMN = Column(DELETED_AT, DELETED_AT, TIMESTAMP_UTC)
"""When a row was deleted at the source, NULL while it is there."""
VERSION_HASH_COLUMN = Column(VERSION_HASH, VERSION_HASH, text(39))
"""Of the tracked columns of a version."""
EVENTS = "$events"
"""Behind the name of a table: the table of the events that its versions are computed from."""
EVENT_STATED, EVENT_AT, EVENT_AFTER = "stated$", "at$", "after$"
"""Columns of an event: its time as the row says it, the time from which it holds, and the last deletion of its key that
had been seen when it came. All in UTC."""


VERSIONS_OF_A_KEY = 10_000
"""Record ids of a history leave room for so many versions of a key."""


@dataclass(frozen=True)
class LoadMode:
    """What every mode says of itself."""

    @property
    def leading(self) -> tuple[Column, ...]:
        """Columns of our own that stand before the others."""
        return ()

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """Columns of our own that stand behind the others."""
        return (DELETED_COLUMN,) if deletes == "soft" else ()

    def deletes(self, declared: DeletePolicy) -> DeletePolicy:
        """What becomes of rows that left the source."""
        return declared

    @property
    def keeps_versions(self) -> bool:
        """A key has several rows."""
        return False

    @property
    def effective(self) -> str:
        """The column that says since when a row is as it is; '' where none is asked for."""
        return ""

    @property
    def named(self) -> tuple[str, ...]:
        """Columns of our own whose names are chosen where the mode is declared."""
        return ()

    @property
    def beside(self) -> dict[str, LoadMode]:
        """What further tables are, by what stands behind the table's name in theirs."""
        return {}

    @property
    def ordering(self) -> tuple[str, ...]:
        """Columns that put rows of one key in order."""
        return ()

    @property
    def asked(self) -> tuple[str, ...]:
        """Columns that a row must have beside its key."""
        return ()

    @property
    def dated_by(self) -> str:
        """The column that dates several rows of one key in a batch; '' where a key comes once."""
        return ""

    def tracked_of(self, names: Sequence[str], keys: Sequence[str]) -> list[str] | None:
        """Columns (of ``names``) whose change makes a version; None where versions are not told by content."""
        del names, keys
        return None


@dataclass(frozen=True)
class Append(LoadMode):
    """Rows with a new key are put in. A row stays as it came first, and where its source has it no more: for tables
    that only grow. Rows that come again otherwise are not applied, and told as a warning."""

    def deletes(self, declared: DeletePolicy) -> DeletePolicy:
        """Nothing."""
        del declared
        return "ignore"

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """None."""
        del deletes
        return ()


@dataclass(frozen=True)
class Merge(LoadMode):
    """One row per key in the target; a changed row replaces the old one."""


@dataclass(frozen=True)
class Replace(LoadMode):
    """The target holds the rows of the last snapshot, and those alone, also where none was rejected before and some are
    now. Needs no key: rows are told apart by their content, as often as it occurs."""

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """None."""
        del deletes
        return ()


@dataclass(frozen=True)
class History(LoadMode):
    """Every version of a row is kept, also that it was deleted; ``_version`` counts them per key from 1.

    ``record_id`` names the column that numbers versions over the whole table, for ever (key * 10,000 + version).
    """

    record_id: Text

    def __post_init__(self) -> None:
        check_fields(self, "History")

    @property
    def greatest_key(self) -> int:
        """Of a greater one, or less than its negative, no record id can be made."""
        return (2**63 - 1) // VERSIONS_OF_A_KEY - 1

    @property
    def named(self) -> tuple[str, ...]:
        """The record id."""
        return (self.record_id,)

    @property
    def leading(self) -> tuple[Column, ...]:
        """The record id."""
        return (Column(self.record_id, self.record_id, INT64),)

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """Version and deletion."""
        del deletes
        return (Column(VERSION, VERSION, INT32), DELETED_COLUMN)

    @property
    def keeps_versions(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True)
class Events(LoadMode):
    """Every row of a log as it came, and every deletion."""

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """Times, and what tells versions."""
        del deletes
        moments = (Column(name, name, TIMESTAMP) for name in (EVENT_STATED, EVENT_AT, EVENT_AFTER))
        return (*moments, VERSION_HASH_COLUMN)

    @property
    def keeps_versions(self) -> bool:
        """A key has several events."""
        return True


@dataclass(frozen=True)
class Scd2(LoadMode):
    """Slowly changing dimension, type 2: every version of a row with the time it was valid in. Rules:
    docs/decisions/0010-versions.md.

    ``surrogate`` names the column of the version's own key. ``effective_from`` is the column that says since when a row
    is as it is ('': since the batch is effective); of a model it is not kept, as ``start`` holds it. ``untracked``
    columns change in place. ``changes``: rows are a log of changes, each for ever true of its time; otherwise they are
    states, of which the one that was read last is true now. A version ends ``gap`` before its successor starts, the
    last one at ``open_end`` (None: NULL). The first version of a key starts at ``beginning`` where it is unknown since
    when it is so, and always if ``from_beginning``. ``deletes_as_versions``: a deletion is a version of its own, with
    the last values and ``_deleted_at`` set, and is never current; otherwise it only ends the version before it.
    ``tie_breaker`` is a column of a log: of changes of one key and time the one with the greatest value there counts.
    """

    surrogate: Text
    effective_from: str = ""
    untracked: Sequence[Text] = ()
    changes: bool = False
    start: str = "start_date"
    end: str = "end_date"
    current: str = "is_current"
    open_end: NaiveDatetime | None = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - UTC, as the columns are
    gap: Duration = timedelta(microseconds=1)
    beginning: NaiveDatetime = datetime(1900, 1, 1)  # noqa: DTZ001 - the same
    tie_breaker: str = ""
    from_beginning: bool = False
    deletes_as_versions: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "Scd2")
        for name in self.named:
            if column_name(name) != name:
                raise ConfigurationError(f"{name!r} is no name of a column ", place="Scd2", remedy="see docs/naming.md")
        check_distinct(self.untracked, "untracked column", "Scd2")
        if len(set(self.named)) < len(self.named) or {self.effective_from, self.tie_breaker} & {*self.named}:
            raise ConfigurationError("two of its columns have one name", place="Scd2", remedy="give each its own")
        if self.open_end is not None and self.beginning >= self.open_end:
            raise ConfigurationError(
                "it ends before it begins", place="Scd2", remedy="declare beginning before open_end"
            )
        if self.changes and not self.effective_from:
            raise ConfigurationError(
                "changes need the column that dates them", place="Scd2", remedy="declare it as effective_from"
            )
        if self.tie_breaker and not self.changes:
            raise ConfigurationError(
                "tie_breaker orders changes of one time, and rows are states",
                place="Scd2",
                remedy="declare changes=True, or no tie_breaker",
            )
        if self.tie_breaker and self.tie_breaker == self.effective_from:
            raise ConfigurationError(
                "tie_breaker is effective_from: it is the same where that is",
                place="Scd2",
                remedy="name a column that tells changes of one time apart",
            )

    @property
    def named(self) -> tuple[str, ...]:
        """Those that people see."""
        return (self.surrogate, self.start, self.end, self.current)

    @property
    def ordering(self) -> tuple[str, ...]:
        """The time, and what decides between rows of one time."""
        return tuple(filter(None, [self.effective_from, self.tie_breaker]))

    @property
    def asked(self) -> tuple[str, ...]:
        """The time, and what is untracked."""
        return (*self.ordering, *self.untracked)

    @property
    def leading(self) -> tuple[Column, ...]:
        """The surrogate key."""
        return (Column(self.surrogate, self.surrogate, INT64),)

    def trailing(self, deletes: DeletePolicy) -> tuple[Column, ...]:
        """Validity, what it is told by, and deletion."""
        del deletes
        moments = (Column(name, name, TIMESTAMP) for name in (self.start, self.end))
        return (*moments, Column(self.current, self.current, BOOLEAN), VERSION_HASH_COLUMN, DELETED_COLUMN)

    @property
    def keeps_versions(self) -> bool:
        """It does."""
        return True

    @property
    def beside(self) -> dict[str, LoadMode]:
        """The events of a log."""
        return {EVENTS: Events()} if self.changes else {}

    @property
    def effective(self) -> str:
        """As declared."""
        return self.effective_from

    @property
    def dated_by(self) -> str:
        """Changes come several at once."""
        return self.effective_from if self.changes else ""

    def tracked_of(self, names: Sequence[str], keys: Sequence[str]) -> list[str]:
        """All but the key, the time, and what is untracked."""
        others = {*keys, *self.untracked, self.effective_from}
        return [name for name in names if name not in others]


AnyLoadMode = Append | Merge | Replace | History | Scd2
"""The modes that a warehouse knows."""
