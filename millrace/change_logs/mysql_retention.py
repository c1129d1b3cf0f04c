"""How long a server of MySQL or MariaDB keeps its log, which it keeps by time or size, whoever reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from millrace.change_logs.binlog_position import BinlogPosition
from millrace.change_logs.mysql_reader import BinlogReader, LogGone
from millrace.change_logs.reading import KEPT, LOST, KeptLog, LogEntry
from millrace.change_logs.retention import Retention

FIRST_FILE = 1
LEAST_KEPT_SECONDS = 60.0
"""A log that goes back for less was cut by hand: that does not tell how much the server keeps, and events tell whole
seconds."""


def find_retention(
    control: Any, reader: BinlogReader, entries: Iterable[LogEntry], now: datetime
) -> tuple[Retention, BinlogPosition | None, str]:
    """Return how much time is left for the oldest of these entries of the ledger, its position, and KEPT or LOST.

    The server is expected to keep as much as it keeps now: no setting tells that, because RDS removes files by a
    procedure of its own, and others by size. As long as it has its first file, nothing was ever removed.
    """
    with control.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        file = cursor.fetchone()[0]
    positions = (BinlogPosition.parse(entry.position) for entry in entries)
    oldest = min(positions, key=lambda position: position.ordinal, default=None)
    try:
        read_until = (oldest and reader.find_time(oldest.file, oldest.begin)) or now
    except LogGone:
        return Retention(remaining_seconds=0.0), oldest, LOST
    began_at = reader.find_time(file)
    if began_at is None or int(file.rpartition(".")[2]) == FIRST_FILE:
        return Retention(), oldest, KEPT
    remaining, kept = ((until - began_at).total_seconds() for until in (read_until, now))
    if kept < LEAST_KEPT_SECONDS:
        return Retention(), oldest, KEPT
    return Retention(remaining_seconds=remaining, kept_seconds=kept), oldest, KEPT


def list_kept_log(control: Any, reader: BinlogReader, entries: Mapping[str, LogEntry]) -> KeptLog:
    """Return the log that the server keeps, with the oldest entry of the ledger."""
    retention, oldest, status = find_retention(control, reader, entries.values(), datetime.now(UTC))
    position = f"{oldest.file}:{oldest.end}" if oldest else ""
    return KeptLog(reader.place, "", True, False, status, position, retention)
