"""Where transactions begin and end in the log of MySQL and MariaDB, and how far the log was read."""

from __future__ import annotations

from array import array
from datetime import datetime
from struct import Struct
from uuid import UUID

import polars as pl
from typing_extensions import override

from millrace.change_logs.binlog_position import BinlogPosition, order
from millrace.change_logs.binlog_stream import FORMAT, LogEvent

XID, XA_PREPARE = 16, 38
GTID_OF_MARIADB, GTID_OF_MYSQL, NO_GTID_OF_MYSQL = 162, 33, 34
BEGINS = frozenset({GTID_OF_MARIADB, GTID_OF_MYSQL, NO_GTID_OF_MYSQL})
"""Events that stand before a transaction, or before a statement that is none."""
GROUPS = pl.Schema({"group": pl.Int64(), "at": pl.Int64(), "committed_at": pl.Datetime("us", "UTC")})
HELD_SECONDS = 60
"""For so long after its commit in the log a prepared transaction is read again by the next read. MariaDB writes that
commit before it makes it, and a snapshot in between has the position and not the rows."""
_MARIADB = Struct("<QIB")
"""Number, domain, flags."""
_STANDALONE = 1
_MYSQL = Struct("<B16sQ")
"""Flags, server, number."""
_PREPARED = Struct("<BIII")
"""Whether it is committed at once, the form of the name, the lengths of its two parts."""


class LoggedTransactions:
    """The transactions of a span of the log, and the statements that stand outside of any, numbered from 0.

    Only those count that ended. One that was prepared, for a commit in two steps, ends when it is committed.
    """

    def __init__(self, start: BinlogPosition) -> None:
        self.is_open = False
        """Whether the last event lies within a transaction, or before the statement that a GTID announces."""
        self.needs_end = False
        """Whether a further event ends it, and not the next statement."""
        self._position = start
        self._ends, self._seconds = array("q", [0]), array("q", [0])
        self.gtids = GtidSet()
        self._gtid = ""
        self._prepared: dict[str, tuple[BinlogPosition, int]] = {}
        self._held: list[tuple[BinlogPosition, int]] = []

    @property
    def number(self) -> int:
        """The number of the present transaction."""
        return len(self._ends) - 1

    def begin(self, event: LogEvent) -> None:
        """Begin what a GTID announces."""
        self._gtid, self.needs_end = parse_gtid(event)
        if event.kind == GTID_OF_MYSQL:
            self.gtids.add(self._gtid)
        self.is_open = True

    def end(self, event: LogEvent) -> None:
        """End the present transaction, whose changes count from now on."""
        self._ends[-1], self._seconds[-1] = order(event.file, event.end), event.second
        self.leave(event)

    def leave(self, event: LogEvent) -> None:
        """End the present transaction, whose changes do not count, or not yet."""
        self._ends.append(0)
        self._seconds.append(0)
        self.is_open = self.needs_end = False
        self.move(event)

    def prepare(self, name: str, event: LogEvent) -> None:
        """End the present transaction as one that is committed later, by its name."""
        self._prepared[name] = self._position, self.number
        self.leave(event)

    def is_prepared(self, name: str) -> bool:
        """Return whether the changes of a prepared transaction are known: they are not if it was prepared before."""
        return name in self._prepared

    def resolve(self, name: str, event: LogEvent, *, is_committed: bool) -> None:
        """End a prepared transaction, whose changes count if it is committed."""
        found = self._prepared.pop(name, None)
        if found and is_committed:
            before, number = found
            self._ends[number], self._seconds[number] = order(event.file, event.end), event.second
            self._held.append((before, event.second))
        self.end(event)

    def move(self, event: LogEvent) -> None:
        """Move the position behind an event that lies in no transaction."""
        # The server writes the first event of a file again when it closes the file.
        size, checksum = (0, 0) if event.kind == FORMAT else (event.end - event.begin, event.checksum)
        self._position = BinlogPosition(event.file, event.end, size, checksum, self._gtid or self._position.transaction)

    def find_position(self, now: datetime) -> BinlogPosition:
        """Return up to where all transactions ended, and are certain to be in the tables ``now``."""
        young = (before for before, second in self._held if second > now.timestamp() - HELD_SECONDS)
        waiting = (before for before, _ in self._prepared.values())
        return min([self._position, *young, *waiting], key=lambda position: position.ordinal)

    def list_ended(self) -> pl.DataFrame:
        """Return those that ended: number (``group``), where (``at``) and when (``committed_at``)."""
        moments = pl.col("committed_at") * 1_000_000
        found = pl.DataFrame(
            {"at": self._ends, "committed_at": self._seconds}, schema={"at": pl.Int64, "committed_at": pl.Int64}
        )
        return (
            found.with_row_index("group")
            .filter(pl.col("at") > 0)
            .select(pl.col("group").cast(pl.Int64), "at", moments.cast(GROUPS["committed_at"]))
        )


def parse_gtid(event: LogEvent) -> tuple[str, bool]:
    """Return the GTID that an event gives to what follows ('': none), and whether that is a transaction.

    MySQL does not say whether it is one: the statement that begins it follows.
    """
    if event.kind == GTID_OF_MARIADB:
        number, domain, flags = _MARIADB.unpack_from(event.body)
        return f"{domain}-{event.server}-{number}", not flags & _STANDALONE
    _, server, number = _MYSQL.unpack_from(event.body)
    return f"{UUID(bytes=server)}:{number}" if event.kind == GTID_OF_MYSQL else "", False


def parse_prepared(event: LogEvent) -> str:
    """Return the name of a prepared transaction as statements write it, in small letters; '': it was committed."""
    is_committed, form, first, second = _PREPARED.unpack_from(event.body)
    name = event.body[_PREPARED.size :].hex()
    return "" if is_committed else f"x'{name[: 2 * first]}',x'{name[2 * first : 2 * (first + second)]}',{form}"


class GtidSet:
    """GTIDs of MySQL, in the order of the log, as the set that its functions take."""

    def __init__(self) -> None:
        self._spans: dict[str, list[list[int]]] = {}

    def add(self, gtid: str) -> None:
        """Add a GTID: ``server:number``."""
        server, _, digits = gtid.rpartition(":")
        number, spans = int(digits), self._spans.setdefault(server, [])
        if spans and spans[-1][1] + 1 == number:
            spans[-1][1] = number
        else:
            spans.append([number, number])

    @override
    def __str__(self) -> str:
        return ",".join(
            ":".join([server, *(f"{first}-{last}" for first, last in spans)]) for server, spans in self._spans.items()
        )
