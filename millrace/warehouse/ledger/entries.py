"""What the ledger tells of a stream: columns, applied batches, open rejects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RecordedColumn:
    """A column of a target as the ledger knows it."""

    name: str
    """Its name in the target."""
    path: str
    """The field of the source that it holds."""
    is_key: bool
    """Whether the target was loaded with it in the key."""
    has_left: bool
    """Whether it was recorded that the source has no such column any more."""


@dataclass(frozen=True)
class AppliedBatch:
    """A batch of a stream that was applied."""

    applied_at: datetime
    """When it was committed."""
    stream: str
    """Name of the stream."""
    manifest: str
    """Key of its manifest in the landing zone."""
    rows: int
    """How many rows it read."""
    has_changes: bool
    """Whether it changed or rejected any."""


@dataclass(frozen=True)
class OpenRejects:
    """Rows of one batch that were rejected for one reason and field, and not read again since."""

    reason: str
    """Why they were rejected."""
    field: str
    """The field that is wrong ('': the row as a whole)."""
    rows: int
    """How many they are."""
    read_at: datetime
    """When they were read, by the clock of the source."""
    batch_id: str
    """The batch that rejected them."""
    manifest: str
    """Key of its manifest."""
