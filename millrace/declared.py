"""Small words of a declaration: how changes are found, how rows are applied, what becomes of what left the source.

What does not belong here: what is replicated (pipeline.py, model.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from millrace.errors import ConfigurationError

DeletePolicy = Literal["hard", "soft", "ignore"]
"""What a row that left the source becomes: taken out, kept and marked (``_deleted_at``), or left as it is."""
SchemaPolicy = Literal["evolve", "freeze", "quarantine"]
"""What a changed source does to the target: additive changes are made, the load is refused, or the rows that would
need a change are rejected."""
LandingFormat = Literal["parquet", "csv"]
"""Of a batch's files in the landing zone."""


@dataclass(frozen=True)
class Incremental:
    """Capture by cursor: rows whose ``cursor`` is at or after the position, and rows where it is NULL.

    ``overlap`` is subtracted from the position: it covers clocks that differ and writers whose transactions the
    source does not show. Rows read again are recognised by their hash and counted as unchanged.
    Default: 1 second where the source shows open transactions (Postgres), 60 seconds elsewhere (the longest a
    MongoDB transaction lives by default).
    """

    cursor: str
    overlap: timedelta | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None and self.overlap < timedelta(0):
            raise ConfigurationError(f"overlap of cursor {self.cursor!r} is negative")

    @property
    def stamp(self) -> str:
        """The field that says when a row was changed."""
        return self.cursor


@dataclass(frozen=True)
class Snapshot:
    """Capture of the whole table at every run; a key that it lacks has left the source. For tables that are small.

    ``stamp`` names the field that says when a row was changed, if there is one: by it freshness is measured.
    """

    stamp: str = ""

    @property
    def cursor(self) -> str:
        """None: nothing selects rows."""
        return ""

    @property
    def overlap(self) -> timedelta | None:
        """None: each read stands alone."""
        return None


@dataclass(frozen=True)
class Merge:
    """Load mode: one row per key in the target; a changed row replaces the old one."""


@dataclass(frozen=True)
class History:
    """Load mode: every version of a row is kept, also that it was deleted; ``_version`` counts them per key from 1.

    ``record_id`` names the column that numbers versions over the whole table, for ever (key * 10,000 + version).
    """

    record_id: str


@dataclass(frozen=True)
class Reconcile:
    """After each load, before it commits, compare the target with the source as it was at the read: the number of
    rows, and the row hashes of about ``rows`` rows chosen by chance. A difference fails the load or is reported.

    Exact where the source gives a snapshot (Postgres) and deletes are swept; elsewhere use ``warn``.
    """

    rows: int = 1_000
    policy: Literal["fail", "warn"] = "fail"
