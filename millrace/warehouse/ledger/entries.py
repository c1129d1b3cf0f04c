"""What the ledger tells of a stream: columns, applied batches and open rejects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RecordedColumn:
    """A column of a target as the ledger recorded it."""

    name: str
    """Name of the column in the target."""
    path: str
    """The field of the source that the column holds; '': only the contract has named it until now."""
    is_key: bool
    """Whether the column was part of the key when the target was loaded."""
    is_not_read: bool
    """Whether it was recorded that the column is not read from the source any more."""


@dataclass(frozen=True)
class AppliedBatch:
    """A batch of a stream that was applied."""

    applied_at: datetime
    """When the batch was committed."""
    stream: str
    """Name of the stream."""
    manifest: str
    """Key of the batch's manifest in the landing zone."""
    rows: int
    """How many rows the batch read."""
    has_changes: bool
    """Whether the batch changed or rejected any row."""


@dataclass(frozen=True)
class OpenRejects:
    """Rows of one batch that were rejected for one reason and field, and that were not read again since."""

    reason: str
    """Why the rows were rejected."""
    field: str
    """The field that is wrong; '': the row as a whole."""
    rows: int
    """How many rows there are."""
    read_at: datetime
    """When the rows were read, by the clock of the source."""
    batch_id: str
    """Id of the batch that rejected the rows."""
    manifest: str
    """Key of the batch's manifest."""
