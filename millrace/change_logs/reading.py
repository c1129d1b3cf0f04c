"""What a read of a change log gives to the rest of the engine, whatever the kind of database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace.lake.batch import CommitTimes
from millrace.sources.table_driver import SharedSnapshot


@dataclass(frozen=True)
class LogEntry:
    """How far the target of a stream has come in a change log, as the ledger recorded it."""

    origin: str
    """The server, timeline, database and slot that the position belongs to."""
    position: str
    """All changes that were committed up to here are in the target."""
    fingerprint: str
    """The form of the table then: see ``ChangedTable.fingerprint``."""


@dataclass(frozen=True)
class ChangedTable:
    """What the log says of one stream since its entry in the ledger."""

    keys: pl.DataFrame
    """Each changed key once, as text in the form of the log, and ``is_deleted``: its last change was a delete. The
    columns of the key are in the order of the declaration, under names that no column of a table has."""
    commit_times: CommitTimes | None
    """When the last changes of these keys were committed; None: there are no keys."""
    fingerprint: str
    """It changes with everything that moves rows or values of the table and that the log does not tell."""
    gap: str
    """Why the changed keys are not all that may have changed, so that the whole table must be compared; '': they
    are."""
    is_new: bool
    """Whether the ledger has no entry of the stream."""


@dataclass(frozen=True)
class LogReading:
    """A change log, read up to a snapshot: every change that the snapshot shows is in ``tables``.

    Rows that are read in ``snapshot`` by these keys bring a target to the state of the source in that snapshot.
    """

    origin: str
    """The server, timeline, database and slot that positions belong to."""
    position: str
    """Every transaction that was committed up to here is visible in the snapshot."""
    committed_at: datetime | None
    """When the newest of these transactions was committed; None: there is none since the last read."""
    snapshot: SharedSnapshot
    tables: Mapping[str, ChangedTable]
    """What changed, by name of the stream."""
    retained_bytes: int
    """How much log the server keeps for this reader."""
    moved_bytes: Mapping[str, int]
    """How far the position moved since the entry of each stream in the ledger."""
