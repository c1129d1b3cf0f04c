"""Pauses: streams that no run reads until a person resumes them, as the ledger records them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from millrace.warehouse.ledger.ledger import OF_STREAM, Ledger

SINCE_VERSION = 4
"""The first version of the ledger that records pauses."""
MAX_BY, MAX_REASON = 256, 1024
"""The lengths of the ledger's columns, in bytes."""


@dataclass(frozen=True)
class Pause:
    """Why no run reads a stream."""

    stream: str
    """Name of the stream."""
    since: datetime
    """When it was paused."""
    by: str
    """Who paused it."""
    reason: str = ""
    """Why it was paused; '': nobody said it."""

    @property
    def note(self) -> str:
        """The sentence of a report."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"paused since {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC by {self.by}{reason}"


def list_pauses(ledger: Ledger, pipeline: str) -> dict[str, Pause]:
    """Return the pauses of a pipeline by stream."""
    rows = ledger.fetch_all(
        "SELECT stream, paused_at, paused_by, reason FROM millrace.pauses WHERE pipeline = %s ORDER BY stream",
        (pipeline,),
        since=SINCE_VERSION,
    )
    return {stream: Pause(stream, *rest) for stream, *rest in rows}


def record_pause(ledger: Ledger, pipeline: str, pause: Pause) -> Pause:
    """Record a pause, and return the one that holds: that of a stream which is paused already stays. Commits."""
    ledger.lock()
    recorded = list_pauses(ledger, pipeline).get(pause.stream)
    if recorded is None:
        with ledger.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO millrace.pauses (pipeline, stream, paused_at, paused_by, reason) "
                "VALUES (%s, %s, %s, %s, %s)",
                (pipeline, pause.stream, pause.since, pause.by, pause.reason),
            )
    ledger.connection.commit()
    return recorded or pause


def remove_pause(ledger: Ledger, pipeline: str, stream: str) -> Pause | None:
    """End a pause, and return it; None if the stream was not paused. Commits."""
    ledger.lock()
    recorded = list_pauses(ledger, pipeline).get(stream)
    if recorded is not None:
        with ledger.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM millrace.pauses WHERE {OF_STREAM}", (pipeline, stream))
    ledger.connection.commit()
    return recorded
