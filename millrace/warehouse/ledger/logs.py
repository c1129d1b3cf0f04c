"""How far streams have come in change logs: read before a read of a log, compared and set when a batch is applied."""

from __future__ import annotations

import hashlib
from datetime import datetime

from millrace.base.errors import Superseded
from millrace.change_logs.reading import LogEntry
from millrace.lake.batch import Batch
from millrace.warehouse.ledger.ledger import OF_STREAM, Ledger

SINCE_VERSION = 5
"""The first version of the ledger that has the table."""


def find_entry(ledger: Ledger, pipeline: str, stream: str) -> LogEntry | None:
    """Return how far a stream has come in its log; None if it was never loaded by one."""
    rows = ledger.fetch_all(
        f"SELECT origin, position, fingerprint FROM millrace.logs WHERE {OF_STREAM}",
        (pipeline, stream),
        since=SINCE_VERSION,
    )
    return LogEntry(*rows[0]) if rows else None


def name_ledger(ledger: Ledger) -> str:
    """Return eight characters that tell this ledger from others: readers of a log are named by it.

    Two warehouses may be fed by one pipeline from one database, and each needs a reader of its own.
    """
    row = ledger.fetch_first("SELECT min(since) FROM millrace.version", ())
    since: datetime | None = row[0] if row else None
    return hashlib.sha256(f"{since.timestamp() if since else 0}".encode()).hexdigest()[:8]


def refuse_moved_log(ledger: Ledger, batch: Batch) -> None:
    """Raise Superseded when the position in the log is not the one any more that the batch was read from."""
    log = batch.progress.log
    if log is None:
        return
    entry = find_entry(ledger, batch.pipeline, batch.stream)
    if (entry.position if entry else None) != log.lower:
        raise Superseded(
            f"batch {batch.batch_id} was read from a position of the change log that was passed since",
            place=f"pipeline {batch.pipeline}, stream {batch.stream}",
            remedy="run again: the next read starts where the applied one ended",
        )


def record_log(ledger: Ledger, batch: Batch, applied_at: datetime) -> None:
    """Set the position in the log. The caller commits it together with the rows."""
    log, of_stream = batch.progress.log, (batch.pipeline, batch.stream)
    if log is None:
        return
    with ledger.connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM millrace.logs WHERE {OF_STREAM}", of_stream)
        cursor.execute(
            "INSERT INTO millrace.logs (pipeline, stream, origin, position, fingerprint, committed_at, updated_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (*of_stream, log.origin, log.position, log.fingerprint, log.committed_at, applied_at),
        )
