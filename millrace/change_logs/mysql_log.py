"""The change log of MySQL and MariaDB, read up to a snapshot: the log finds what changed, the snapshot tells the rows.

MariaDB tells the position in its log that a snapshot shows, so that both are of one moment. MySQL does not: the log is
read first, and the snapshot is taken when everything that was read is visible. It may show later changes already: the
log is read on up to its end, and the next read finds these changes again (docs/decisions/0026-the-log-of-mysql.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

from typing_extensions import override

from millrace.base.errors import ConfigurationError, RetryableError
from millrace.change_logs.binlog_changes import BinlogChanges
from millrace.change_logs.binlog_position import BinlogPosition, order
from millrace.change_logs.binlog_stream import FIRST_EVENT
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.mysql_consistency import await_visible, find_end_of_snapshot
from millrace.change_logs.mysql_reader import BinlogReader, LogGone
from millrace.change_logs.mysql_retention import find_retention, list_kept_log
from millrace.change_logs.mysql_server import MySQLLogServer, check_server
from millrace.change_logs.mysql_tables import FollowedTable, find_followed, hold_tables
from millrace.change_logs.reading import ChangedTable, KeptLog, LogEntry, LogReading, SourceLog, find_commit_times
from millrace.declaration.stream import Stream
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.sources.mysql import MySQLDriver
from millrace.sources.mysql_held import hold
from millrace.sources.mysql_sessions import SETTINGS, run
from millrace.sources.table_driver import Connect

MOVED_BYTES = 64 * 1024 * 1024
"""A position that the log has left so far behind is recorded although nothing changed: every read begins at it."""
NEW = "the log was not read for this stream before"
OTHER_SERVER = "the log is that of another server"
NOT_WRITTEN = "the log does not reach the position any more: the server was restored or replaced"
ALTERED = "the form of the table changed"


class MySQLLog(SourceLog):
    """The change log of one server, of which the server keeps nothing for the reader."""

    def __init__(self, connect: Connect, reader: LogReader) -> None:
        self._connect, self.place, self._reader = connect, reader.place, BinlogReader(connect, reader)

    @contextmanager
    @override
    def read(self, streams: Sequence[Stream], entries: Mapping[str, LogEntry]) -> Iterator[LogReading]:
        with mysql_errors(self.place), self._open_control() as control, closing(self._connect()) as connection:
            server = check_server(control, self.place)
            tables = find_followed(control, streams, server)
            span = _Span(self._reader, server, streams, tables, entries)
            driver = MySQLDriver()
            if server.tells_end_of_snapshot:
                moment = driver.open_snapshot(connection, self._connect)
                span.read(*find_end_of_snapshot(connection))
                position = span.find_position(moment.read_at)
            else:
                span.read(server.file, server.end)
                await_visible(control, span.changes.transactions.gtids, self.place)
                moment = driver.open_snapshot(connection, self._connect)
                position = span.find_position(moment.read_at)
                span.read_on(check_server(control, self.place))
            hold_tables(connection, streams)
            forms = [table.fingerprint for table in find_followed(connection, streams, server)]
            if forms != [table.fingerprint for table in tables]:
                raise RetryableError("a table was altered while the read began", place=self.place, remedy="run again")
            not_read = [entry for name, entry in entries.items() if name not in {stream.name for stream in streams}]
            retention, *_ = find_retention(control, self._reader, not_read, moment.read_at)
            yield LogReading(
                server.origin,
                str(position),
                span.changes.find_newest_commit(position),
                hold(connection, moment),
                {stream.name: span.describe(index) for index, stream in enumerate(streams)},
                retention,
                span.find_moved(position),
            )

    @override
    def check(self, streams: Sequence[Stream]) -> None:
        with mysql_errors(self.place), self._open_control() as control:
            server = check_server(control, self.place)
            find_followed(control, streams, server)
            # Only an attempt tells whether the user may.
            self._reader.find_time(server.file)

    @override
    def list_kept(self, entries: Mapping[str, LogEntry]) -> list[KeptLog]:
        with mysql_errors(self.place), self._open_control() as control:
            check_server(control, self.place)
            return [list_kept_log(control, self._reader, entries)]

    @override
    def drop_kept(self, kept: KeptLog) -> None:
        raise ConfigurationError(
            "the server keeps its change log by time and for nobody in particular",
            place=self.place,
            remedy="there is nothing to give up",
        )

    @contextmanager
    def _open_control(self) -> Iterator[Any]:
        with closing(self._connect()) as connection:
            connection.autocommit(True)
            run(connection, *SETTINGS)
            yield connection


class _Span:
    """The log from the oldest usable entry of the ledger to where the snapshot is, and what it tells of streams."""

    def __init__(
        self,
        reader: BinlogReader,
        server: MySQLLogServer,
        streams: Sequence[Stream],
        tables: Sequence[FollowedTable],
        entries: Mapping[str, LogEntry],
    ) -> None:
        self._reader, self._server, self._streams, self._tables = reader, server, streams, tables
        self._entries = entries
        self._usable: dict[str, BinlogPosition] = {}
        self._why_unusable: dict[str, str] = {}

    def read(self, file: str, end: int) -> None:
        """Read up to a position. An entry whose position the log does not have any more is left out."""
        self._choose_usable(file, end)
        while True:
            first = self._find_start(file, end)
            self.changes = BinlogChanges([table.key for table in self._tables], first)
            try:
                return self._reader.read(self.changes, first, order(file, end))
            except LogGone as gone:
                lost = [name for name, position in self._usable.items() if position.ordinal == first.ordinal]
                if not lost:
                    raise RetryableError(str(gone), place=self._reader.place, remedy="run again") from None
                for name in lost:
                    del self._usable[name]
                    self._why_unusable[name] = str(gone)

    def read_on(self, server: MySQLLogServer) -> None:
        """Read on to where the log ends now: a snapshot that was taken since shows no change that lies behind it.

        The keys of these changes are read as the snapshot shows them, so that all rows are of its moment.
        """
        end_of_read = BinlogPosition(self._server.file, self._server.end)
        try:
            self._reader.read(self.changes, end_of_read, order(server.file, server.end))
        except LogGone as gone:
            raise RetryableError(str(gone), place=self._reader.place, remedy="run again") from None

    def find_position(self, now: datetime) -> BinlogPosition:
        """Return up to where all transactions that were read are certain to be in the tables ``now``."""
        return self.changes.transactions.find_position(now)

    def describe(self, index: int) -> ChangedTable:
        """Return what the log tells of a stream."""
        name, fingerprint = self._streams[index].name, self._tables[index].fingerprint
        usable = self._usable.get(name)
        after = usable.ordinal if usable else 0
        keys = self.changes.of(index, after)
        gap = self._find_gap(name, fingerprint) or self.changes.find_gap(index, after)
        return ChangedTable(
            keys.drop("committed_at"), find_commit_times(keys), fingerprint, gap, name not in self._entries
        )

    def find_moved(self, position: BinlogPosition) -> frozenset[str]:
        """Return the streams whose entry must be brought up to the position although nothing changed."""
        return frozenset(
            name
            for name, former in self._usable.items()
            if former.file != position.file or position.end - former.end >= MOVED_BYTES
        )

    def _choose_usable(self, file: str, end: int) -> None:
        here = BinlogPosition(file, end)
        for name, entry in self._entries.items():
            position = BinlogPosition.parse(entry.position) if entry.origin == self._server.origin else None
            if position is None:
                self._why_unusable[name] = OTHER_SERVER
            elif position.base != here.base or position.ordinal > here.ordinal:
                self._why_unusable[name] = NOT_WRITTEN
            else:
                self._usable[name] = position

    def _find_start(self, file: str, end: int) -> BinlogPosition:
        """Return the oldest usable position. Without one, MariaDB's log begins at the snapshot.

        MySQL begins its present file when all transactions of the former one are visible: from there on it is waited
        for them.
        """
        if self._usable:
            return min(self._usable.values(), key=lambda position: position.ordinal)
        return BinlogPosition(file, end if self._server.tells_end_of_snapshot else FIRST_EVENT)

    def _find_gap(self, name: str, fingerprint: str) -> str:
        if name not in self._entries:
            return NEW
        if name in self._why_unusable:
            return f"{self._why_unusable[name]}, so that it does not go on where the last read ended"
        return "" if self._entries[name].fingerprint == fingerprint else ALTERED
