"""Read a span of the log of MySQL and MariaDB, from a position that the ledger has to where a snapshot is."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pymysql
from pymysql.constants import ER

from millrace.base.errors import FatalError, RetryableError
from millrace.change_logs.binlog_changes import BinlogChanges
from millrace.change_logs.binlog_position import BinlogPosition, order
from millrace.change_logs.binlog_stream import FIRST_EVENT, FURTHEST_BEGIN, LogEvent, stream_events
from millrace.change_logs.log_reader import LogReader
from millrace.drivers.pymysql_errors import code_of
from millrace.sources.table_driver import Connect

READERS = range(3_000_000_000, 4_000_000_000)
"""The numbers (``server_id``) by which servers know readers of Millrace. No server of yours should have one of them."""
PURGED = "the log was purged before it was read"
REPLACED = "the log is not the one any more that was read: the server was restored or replaced"
_PURGED_SIGN = "could not find first log file"
_REPLACED_SIGNS = ("impossible position", "binlog truncated", "bogus data", "crc check", "checksum")
_TAKEN_OVER_SIGN = "a slave with the same"


class LogGone(Exception):
    """The log does not go on at a position; the message says why."""


class BinlogReader:
    """Reads the log of one server for one reader, which the server knows by a number."""

    def __init__(self, connect: Connect, reader: LogReader) -> None:
        self._connect, self.place = connect, reader.place
        digest = hashlib.sha256(f"{reader.pipeline}/{reader.digest}".encode()).digest()
        self.number = READERS[int.from_bytes(digest[:8], "big") % len(READERS)]

    def read(self, changes: BinlogChanges, start: BinlogPosition, end: int) -> None:
        """Add the events after ``start`` up to the position with the ordinal ``end``.

        Raises LogGone when the log does not go on there, and RetryableError when it ends before.
        """
        last = start.ordinal
        if last == end:
            return
        with self._stream(start.file, start.begin) as events:
            if start.size:
                _recognize(events, start)
            for event in events:
                changes.add(event)
                last = order(event.file, event.end)
                if last >= end:
                    break
        if last != end:
            raise RetryableError(
                "the change log does not end where the server said", place=self.place, remedy="run again"
            )

    def find_time(self, file: str, begin: int = FIRST_EVENT) -> datetime | None:
        """Return when the first event from a position on was written; None: there is none. Raises LogGone."""
        with self._stream(file, begin) as events:
            first = next(events, None)
        return None if first is None else datetime.fromtimestamp(first.second, UTC)

    @contextmanager
    def _stream(self, file: str, begin: int) -> Iterator[Generator[LogEvent, None, None]]:
        if begin > FURTHEST_BEGIN:
            raise LogGone("its position lies beyond the first 4 GB of a file, where no reader can begin")
        with closing(self._connect()) as connection:
            try:
                with closing(stream_events(connection, self.number, file, begin)) as events:
                    yield events
            except pymysql.MySQLError as error:
                if code_of(error) != ER.MASTER_FATAL_ERROR_READING_BINLOG:
                    raise
                raise self._translate(error) from None

    def _translate(self, error: Exception) -> Exception:
        words = str(error.args[-1]).lower()
        if _PURGED_SIGN in words:
            return LogGone(PURGED)
        if any(sign in words for sign in _REPLACED_SIGNS):
            return LogGone(REPLACED)
        if _TAKEN_OVER_SIGN in words:
            return RetryableError(
                f"another reader of the change log has the number {self.number} too",
                place=self.place,
                remedy="run again; if it happens often, two runs read one log for one pipeline and warehouse",
            )
        return error


def _recognize(events: Iterator[LogEvent], start: BinlogPosition) -> None:
    """Raise LogGone unless the first event is the one that the position was recorded after."""
    try:
        event = next(events, None)
    except FatalError:
        # What lies there is no event.
        raise LogGone(REPLACED) from None
    if event is None or (event.end, event.checksum) != (start.end, start.checksum):
        raise LogGone(REPLACED)
