"""How long a server of MySQL or MariaDB keeps its log, which it keeps by time and size, whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from millrace.change_logs.binlog_position import BinlogPosition
from millrace.change_logs.mysql_reader import BinlogReader, LogGone
from millrace.change_logs.reading import KeptLog, LogEntry
from millrace.change_logs.retention import Retention

KEPT, LOST = "kept", "lost"


def find_retention(control: Any, reader: BinlogReader, read_until: datetime) -> Retention:
    """Return how much time is left for a position of a moment, if the server goes on to keep as much as it has now.

    No setting tells that: RDS removes files by a procedure of its own, and others by size.
    """
    with control.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        oldest = cursor.fetchone()[0]
    began_at = reader.find_time(oldest)
    return Retention(remaining_seconds=None if began_at is None else (read_until - began_at).total_seconds())


def list_kept_log(control: Any, reader: BinlogReader, entries: Mapping[str, LogEntry], place: str) -> KeptLog:
    """Return the log that the server keeps, and how long it reaches back behind the oldest entry of the ledger."""
    positions = [BinlogPosition.parse(entry.position) for entry in entries.values()]
    position = min(positions, key=lambda each: each.ordinal, default=None)
    status, until = KEPT, None
    if position is not None:
        try:
            until = reader.find_time(position.file, position.begin)
        except LogGone:
            status = LOST
    retention = (
        Retention(remaining_seconds=0.0)
        if status == LOST
        else find_retention(control, reader, until or datetime.now(UTC))
    )
    return KeptLog(place, "", True, False, status, str(position or ""), retention)
