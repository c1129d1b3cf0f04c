"""What the wildcards of a pipeline stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from millrace.base.errors import MillraceError
from millrace.declaration.stream import Stream
from millrace.sources.found import FoundTable
from millrace.warehouse.ledger.recorded_streams import RecordedStream

Found = Sequence[FoundTable] | MillraceError
"""The tables of a catalog, or why they are not known."""


@dataclass
class Resolution:
    """What the wildcards of a pipeline stand for."""

    streams: list[Stream] = field(default_factory=list)
    """A stream for each table."""
    records: list[RecordedStream] = field(default_factory=list)
    """What the ledger is to record."""
    told: list[str] = field(default_factory=list)
    """What a person should know after each run: tables that are new, gone, or not replicated."""
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """Why each stream is read as it is, for a plan."""
    errors: dict[str, MillraceError] = field(default_factory=dict)
    """Why wildcards stand for nothing, or not for all of their tables, by wildcard."""
