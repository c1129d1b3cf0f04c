"""The change log of Postgres, read up to a snapshot: the log finds what changed, the snapshot tells what it is now.

The order of the steps is what makes it right, see docs/decisions/0024-change-logs.md: first the snapshot, then the log
beyond it; a position passes only transactions that the snapshot shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
from typing_extensions import override

from millrace.base.background import repeat_in_background
from millrace.base.errors import ConfigurationError, RetryableError
from millrace.base.naming import literal
from millrace.change_logs.changed_keys import ChangedKeys
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.lsn import format_lsn, parse_lsn
from millrace.change_logs.pgoutput import KeyDecoder
from millrace.change_logs.postgres_kept_logs import drop_kept_slot, list_kept_slots
from millrace.change_logs.postgres_peek import SlotMessages
from millrace.change_logs.postgres_slot import (
    Slot,
    advance,
    describe_open_transactions,
    drop_slot,
    ensure_slot,
    find_slot,
    wait_until,
)
from millrace.change_logs.postgres_tables import PublishedTable, find_published
from millrace.change_logs.reading import (
    ChangedTable,
    KeptLog,
    LogEntry,
    LogReading,
    SourceLog,
    find_commit_times,
)
from millrace.change_logs.retention import Retention
from millrace.change_logs.visibility import VisibleTransactions
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import database_errors, statement
from millrace.sources.postgres import PostgresDriver
from millrace.sources.table_driver import Connect, SharedSnapshot

KEPT_ALIVE_SECONDS = 60.0
"""How often the session of the snapshot says something: a server may end a session that is idle in a transaction."""
BUSY_SECONDS = 10
MOVED_BYTES = 64 * 1024 * 1024
"""A position that the log has left so far behind is recorded although nothing changed, so that the log can be freed."""
LONGEST_PUBLICATION = 54
"""The most characters of a publication's name: the name of its slot is nine longer, and Postgres takes 63."""
WRITTEN = "SELECT pg_current_wal_insert_lsn()::text"


class PostgresLog(SourceLog):
    """The change log of one database, kept for one reader by a replication slot.

    The publication with the tables has the name of the pipeline; the slot is named by it and the reader. The log up to
    the oldest entry is given up at the next read.
    """

    def __init__(self, connect: Connect, reader: LogReader) -> None:
        self._connect, self.place = connect, reader.place
        self._publication = f"millrace_{reader.pipeline}"[:LONGEST_PUBLICATION]
        self._slot = f"{self._publication}_{reader.digest}"

    @contextmanager
    @override
    def read(self, streams: Sequence[Stream], entries: Mapping[str, LogEntry]) -> Iterator[LogReading]:
        with database_errors(self.place), closing(self._connect()) as control:
            control.autocommit = True
            origin = self._check_server(control)
            before = find_published(control, streams, self._publication)
            slot, is_new = ensure_slot(control, self._slot, self.place)
            written = _fetch(control, WRITTEN)
            usable = {} if is_new else _usable_entries(entries, origin, slot.confirmed, written)
            self._await_reader(control)
            if usable:
                advance(control, self._slot, slot, _find_oldest(usable))
            # Also after the slot was created: a transaction that waits for its standby may lie before its beginning.
            if _is_any_form_new(streams, before, usable):
                self._await_open_transactions(control)
            with closing(self._connect()) as connection, self._open_snapshot(connection) as (snapshot, visible):
                tables = find_published(connection, streams, self._publication)
                if [table.fingerprint for table in tables] != [table.fingerprint for table in before]:
                    # Transactions that were open then have not been waited for.
                    raise RetryableError(
                        "a table or its publication was altered while the read began",
                        place=self.place,
                        remedy="run again",
                    )
                yield self._read_log(control, origin, slot, snapshot, visible, _Known(streams, tables, entries, usable))

    @override
    def check(self, streams: Sequence[Stream]) -> None:
        with database_errors(self.place), closing(self._connect()) as control:
            control.autocommit = True
            self._check_server(control)
            find_published(control, streams, self._publication)

    @override
    def list_kept(self, entries: Mapping[str, LogEntry]) -> list[KeptLog]:
        return list_kept_slots(self._connect, self._slot, self.place)

    @override
    def drop_kept(self, kept: KeptLog) -> None:
        drop_kept_slot(self._connect, kept)

    def _check_server(self, control: Any) -> str:
        """Return which log it is."""
        with control.cursor() as cursor:
            cursor.execute(statement("postgres_log_server"), {"publication": self._publication})
            wal_level, is_replica, may_replicate, _, log = cursor.fetchone()
        if is_replica:
            raise ConfigurationError(
                "this server is a replica, and a change log is read from the primary",
                place=self.place,
                remedy="name the primary in the URL of the connection",
            )
        if wal_level != "logical":
            raise ConfigurationError(
                f"wal_level is {wal_level}: the log does not tell which rows changed",
                place=self.place,
                remedy="set wal_level = logical and restart the server; on RDS and Aurora set "
                "rds.logical_replication = 1 in the parameter group and reboot",
            )
        if not may_replicate:
            raise ConfigurationError(
                "the user of this connection may not read the change log",
                place=self.place,
                remedy="ALTER ROLE … REPLICATION; on RDS and Aurora GRANT rds_replication TO …",
            )
        return f"{log}/{self._slot}"

    def _await_open_transactions(self, control: Any) -> None:
        """Wait until every transaction that is open now has ended.

        A change that was made before its table was published is not in the log, also if it is committed later.
        """
        first_unborn = _fetch(control, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        query = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        if not wait_until(lambda: _fetch(control, query) >= first_unborn):
            raise RetryableError(
                "a table was published or changed its form, and transactions that began before are still open: "
                f"{describe_open_transactions(control)}",
                place=self.place,
                remedy="end them, or run again when they have ended",
            )

    @contextmanager
    def _open_snapshot(self, connection: Any) -> Iterator[tuple[SharedSnapshot, VisibleTransactions]]:
        moment = PostgresDriver().open_snapshot(connection, self._connect)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot(), pg_current_snapshot()::text")
            name, visible = cursor.fetchone()
        with repeat_in_background(lambda: _fetch(connection, "SELECT 1"), KEPT_ALIVE_SECONDS, "log-snapshot"):
            yield SharedSnapshot(name, moment), VisibleTransactions.parse(visible)

    def _read_log(
        self,
        control: Any,
        origin: str,
        slot: Slot,
        snapshot: SharedSnapshot,
        visible: VisibleTransactions,
        known: _Known,
    ) -> LogReading:
        end = self._find_end(control)
        changed = ChangedKeys(known.key_columns, visible)
        decoder = KeyDecoder(known.key_columns, visible.shows(pl.col("xid")))
        first = _find_oldest(known.usable) if known.usable else slot.confirmed
        with closing(self._connect()) as connection:
            messages = SlotMessages(self._slot, self._publication, first, end)
            is_told_whole = messages.read(connection, lambda frame: changed.add(decoder.decode(frame)))
        self._refuse_moved_slot(control, known)
        if not is_told_whole:
            self._begin_again(control)
        position = changed.find_position(parse_lsn(slot.confirmed), parse_lsn(end))
        return LogReading(
            origin,
            format_lsn(position),
            changed.find_newest_commit(position),
            snapshot,
            {name: known.describe(name, changed) for name in known.names},
            Retention(slot.retained_bytes, slot.safe_bytes),
            frozenset(
                name for name, entry in known.usable.items() if position - parse_lsn(entry.position) >= MOVED_BYTES
            ),
        )

    def _find_end(self, control: Any) -> str:
        """Return a position beyond every transaction that a snapshot shows, once the log is on disk up to it.

        A transaction that does not wait for its log is visible before the log is on disk, from where it is read. What
        is no end of a transaction may stay in memory as long as nothing else is written: so something is, which waits
        for the disk of this server and for no other server.
        """
        end: str = _fetch(control, WRITTEN)
        if not _fetch(control, f"SELECT pg_current_wal_flush_lsn() >= '{end}'::pg_lsn"):
            # One transaction: behind a pooler the next statement may be in another session of the server.
            with control.cursor() as cursor:
                cursor.execute("BEGIN READ WRITE; SET LOCAL synchronous_commit = local")
                cursor.execute("SELECT pg_logical_emit_message(true, 'millrace', '')")
                cursor.execute("COMMIT")
            if not _fetch(control, f"SELECT pg_current_wal_flush_lsn() >= '{end}'::pg_lsn"):
                raise RetryableError(
                    "the server did not write its log to disk up to the snapshot",
                    place=self.place,
                    remedy="run again; see that fsync and synchronous_commit are not refused to this user if it stays",
                )
        return end

    def _await_reader(self, control: Any) -> None:
        """Wait until nobody reads the slot: the server notices late that the connection of a reader is gone."""
        of_slot = f"slot_name = {literal(self._slot)}"
        readers = f"SELECT count(active_pid) FROM pg_catalog.pg_replication_slots WHERE {of_slot}"
        if not wait_until(lambda: _fetch(control, readers) == 0, BUSY_SECONDS):
            raise RetryableError(
                f"another session reads replication slot {self._slot}",
                place=self.place,
                remedy="run again when it has ended; a slot has one reader",
            )

    def _refuse_moved_slot(self, control: Any, known: _Known) -> None:
        """Raise RetryableError when the slot may not have told all changes, because another run replaced or moved it.

        It was looked at before it was read. A slot never goes back, so one that is not beyond the ledger now was not
        when it was read.
        """
        slot = find_slot(control, self._slot)
        is_beyond = (
            slot is not None and known.usable and parse_lsn(slot.confirmed) > parse_lsn(_find_oldest(known.usable))
        )
        if slot is None or is_beyond:
            raise RetryableError(
                f"replication slot {self._slot} was moved, dropped or created again while it was read",
                place=self.place,
                remedy="run again; see that nobody but Millrace uses this slot if it stays",
            )

    def _begin_again(self, control: Any) -> None:
        """Drop the slot, so that the next run compares whole tables. Raises RetryableError, which says so."""
        self._await_reader(control)
        drop_slot(control, self._slot)
        raise RetryableError(
            f"publication {self._publication} did not exist when a change was made, so the log lacks it",
            place=self.place,
            remedy="run again: the log begins now, and the tables are compared as a whole",
        )


@dataclass(frozen=True)
class _Known:
    """What is known of the streams of a log before it is read."""

    streams: Sequence[Stream]
    tables: Sequence[PublishedTable]
    entries: Mapping[str, LogEntry]
    usable: Mapping[str, LogEntry]
    """Entries whose position the log goes on from."""

    @property
    def names(self) -> list[str]:
        return [stream.name for stream in self.streams]

    @property
    def key_columns(self) -> dict[int, Sequence[str]]:
        """The columns of the key by number of the relation. Several streams of one table have the same key."""
        return {table.relation: stream.keys for stream, table in zip(self.streams, self.tables, strict=True)}

    def describe(self, name: str, changed: ChangedKeys) -> ChangedTable:
        table = self.tables[self.names.index(name)]
        entry = self.usable.get(name)
        after = parse_lsn(entry.position) if entry else 0
        gap = self._find_gap(name, table) or changed.find_gap(table.relation, after)
        keys = changed.of(table.relation, after)
        return ChangedTable(
            keys.drop("committed_at"),
            find_commit_times(keys),
            table.fingerprint,
            gap,
            name not in self.entries,
            table.estimated_rows if table.estimated_rows >= 0 else None,
        )

    def _find_gap(self, name: str, table: PublishedTable) -> str:
        entry = self.usable.get(name)
        if name not in self.entries:
            return "the log was not read for this stream before"
        if entry is None:
            return (
                "the log does not go on where the last read ended: the slot was lost, created again or moved, or the "
                "server was restored or replaced"
            )
        if entry.fingerprint != table.fingerprint:
            return "the form of the table or its publication changed, or it was rewritten"
        return ""


def _usable_entries(entries: Mapping[str, LogEntry], origin: str, confirmed: str, written: str) -> dict[str, LogEntry]:
    """Return the entries that the log goes on from: it has everything since their position.

    A slot that is behind an entry is normal: it is moved on after the commit, and forgets that in a crash. A position
    that was not ``written`` yet is one of a server that was restored.
    """
    first, last = parse_lsn(confirmed), parse_lsn(written)
    return {
        name: entry
        for name, entry in entries.items()
        if entry.origin == origin and first <= parse_lsn(entry.position) <= last
    }


def _find_oldest(entries: Mapping[str, LogEntry]) -> str:
    return min((entry.position for entry in entries.values()), key=parse_lsn)


def _is_any_form_new(
    streams: Sequence[Stream], tables: Sequence[PublishedTable], usable: Mapping[str, LogEntry]
) -> bool:
    forms = {stream.name: table.fingerprint for stream, table in zip(streams, tables, strict=True)}
    return any(name not in usable or usable[name].fingerprint != form for name, form in forms.items())


def _fetch(connection: Any, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, ())
        (value,) = cursor.fetchone()
    return value
