"""What a change log is asked for and gives to the rest of the engine, whatever the kind of database.

Every kind has one class with the methods of ``SourceLog``. Positions, snapshots and the spelling of keys are known to
that class and to the source of the same kind alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from millrace.change_logs.retention import Retention
from millrace.declaration.stream import Stream
from millrace.lake.batch import CommitTimes

MIDDLE_SHARE, EARLY_SHARE = 0.5, 0.05
MOST_KEYS = 500_000
"""With more changed keys than this, all rows are compared."""


@dataclass(frozen=True)
class LogEntry:
    """How far the target of a stream has come in a change log, as the ledger recorded it."""

    origin: str
    """Which log the position belongs to: the server, and what else tells it from other logs."""
    position: str
    """All changes that were committed up to here are in the target. Only the log itself can read it."""
    fingerprint: str
    """The form of the table then: see ``ChangedTable.fingerprint``."""


@dataclass(frozen=True)
class ChangedTable:
    """What the log says of one stream since its entry in the ledger."""

    keys: pl.DataFrame
    """Each changed key, in the form that ``LogSource.type_keys`` of its source takes, and ``is_deleted``: a row that
    is not found by this key is deleted without a second look at all rows."""
    commit_times: CommitTimes | None
    """When the last changes of these keys were committed; None: there are no keys."""
    fingerprint: str
    """It changes with everything that moves rows or values of the table and that the log does not tell."""
    gap: str
    """Why the changed keys are not all that may have changed, so that the whole table must be compared; '': they
    are."""
    is_new: bool
    """Whether the ledger has no entry of the stream."""
    estimated_rows: int | None = None
    """About how many rows the table has; None: the server does not know it, or was not asked."""


@dataclass(frozen=True)
class LogReading:
    """A change log, read up to a snapshot: every change that the snapshot shows is in ``tables``.

    Rows that are read in ``snapshot`` by these keys bring a target to the state of the source in that snapshot.
    """

    origin: str
    """Which log positions belong to."""
    position: str
    """Every transaction that was committed up to here is visible in the snapshot."""
    committed_at: datetime | None
    """When the newest of these transactions was committed; None: there is none since the last read."""
    snapshot: Any
    """What ``LogSource.within`` of the source takes."""
    tables: Mapping[str, ChangedTable]
    """What changed, by name of the stream."""
    retention: Retention
    moved: frozenset[str]
    """Streams whose entry in the ledger the position has left so far behind that it is recorded although nothing
    changed, because the log up to the entry is kept for it or may be lost."""


KEPT, LOST = "kept", "lost"
"""Status of a log: it goes on where a reader ended, or not any more."""


@dataclass(frozen=True)
class KeptLog:
    """A change log that a server keeps, for one reader or for all."""

    connection: str
    """The source, as a stream names it."""
    slot: str
    """The name of the replication slot that keeps the log; '': the server keeps it without one."""
    is_own: bool
    """Whether runs of the pipeline read it, with the warehouse that it has now. Another one may be of another pipeline
    or warehouse, or nobody reads it any more."""
    is_active: bool
    """Whether a session reads it now."""
    status: str
    """``reserved``, ``extended``, ``unreserved`` (the log may be removed soon), ``kept`` or ``lost``."""
    position: str
    """Up to here the log is not needed any more."""
    retention: Retention


class SourceLog(Protocol):
    """The change log of one source, read for one pipeline and one warehouse. Methods block: a worker thread runs them.

    An error names ``place``, the source as a whole.
    """

    place: str

    def read(self, streams: Sequence[Stream], entries: Mapping[str, LogEntry]) -> AbstractContextManager[LogReading]:
        """Read what was committed since the entries of the ledger, and keep the snapshot until the context ends.

        ``entries`` are those of all streams that this log is kept for, by name, also of streams that are not read now;
        a stream without an entry was never loaded by the log. Nothing before the oldest entry is needed any more.
        Raises ConfigurationError, with what to run, when something is not set up for it.
        """
        ...

    def check(self, streams: Sequence[Stream]) -> None:
        """Raise what ``read`` would raise because something is not set up. Nothing is changed."""
        ...

    def list_kept(self, entries: Mapping[str, LogEntry]) -> list[KeptLog]:
        """Return what log the server keeps for readers of Millrace, this one and others."""
        ...

    def drop_kept(self, kept: KeptLog) -> None:
        """Let the server free the log of a slot. Raises ConfigurationError while a session reads it."""
        ...


def find_commit_times(keys: pl.DataFrame) -> CommitTimes | None:
    """Return when the last changes of keys were committed (column ``committed_at``); None if there are no keys."""
    if not keys.height:
        return None
    moments = [keys["committed_at"].quantile(share, "lower") for share in (MIDDLE_SHARE, EARLY_SHARE, 0)]
    return CommitTimes(keys.height, *moments)  # type: ignore[arg-type] # a quantile of times is a time
