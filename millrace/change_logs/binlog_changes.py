"""The changed keys of a span of the log of MySQL and MariaDB, and why they may not be all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace.change_logs.binlog_position import BinlogPosition
from millrace.change_logs.binlog_rows import (
    ROWS,
    TABLE_MAP,
    LoggedForm,
    LoggedKeyColumn,
    UnreadableRows,
    parse_table_map,
    parse_table_number,
    read_keys,
)
from millrace.change_logs.binlog_statements import COMPRESSED_QUERY, QUERY, LoggedStatement, Role
from millrace.change_logs.binlog_stream import FORMAT, LogEvent
from millrace.change_logs.binlog_transactions import (
    BEGINS,
    XA_PREPARE,
    XID,
    LoggedTransactions,
    parse_prepared,
)
from millrace.change_logs.logged_keys import LoggedKeys

HARMLESS = frozenset({3, 4, 5, 13, 14, 28, 29, 35, 36, 37, 160, 161, 163, 164})
"""Events that tell no change: ends of files, what is said at their beginnings, variables, texts of statements."""
IGNORABLE = 0x80
"""The flag of events that readers may leave out."""
WHY_UNREADABLE = {
    26: "the server lost changes of its log",
    39: "the log holds parts of JSON values (binlog_row_value_options)",
    40: "the log holds compressed transactions (binlog_transaction_compression)",
}


@dataclass(frozen=True)
class TableKey:
    """A table whose changes are looked for, and the columns of its key."""

    schema: str
    table: str
    columns: Sequence[LoggedKeyColumn]


class BinlogChanges:
    """What the log tells of tables: ``add`` its events in their order, from ``start`` on."""

    def __init__(self, tables: Sequence[TableKey], start: BinlogPosition) -> None:
        self.transactions = LoggedTransactions(start)
        self._tables = tables
        self._keys = [LoggedKeys(len(table.columns)) for table in tables]
        self._forms: dict[int, tuple[LoggedForm, list[int]]] = {}
        self._gaps: list[tuple[int, int, str]] = []

    def add(self, event: LogEvent) -> None:
        """Add what an event says."""
        kind, transactions = event.kind, self.transactions
        if kind in ROWS:
            self._add_rows(event)
        elif kind == TABLE_MAP:
            self._add_form(event)
        elif kind in BEGINS:
            transactions.begin(event)
        elif kind == XID:
            transactions.end(event)
        elif kind in {QUERY, COMPRESSED_QUERY}:
            self._add_statement(event, LoggedStatement(kind, event.body))
        elif kind == XA_PREPARE:
            name = parse_prepared(event)
            transactions.prepare(name, event) if name else transactions.end(event)
        else:
            self._add_other(event)

    def find_gap(self, table: int, after: int) -> str:
        """Return why the changed keys of a table are not all that changed after a position; '': they are."""
        reasons = {group: reason for group, number, reason in reversed(self._gaps) if number == table}
        ended = self.transactions.list_ended().filter(pl.col("group").is_in(list(reasons)), pl.col("at") > after)
        return next((reasons[group] for group in ended["group"]), "")

    def of(self, table: int, after: int) -> pl.DataFrame:
        """Return the keys of a table that changed after a position.

        Each key comes once, with ``is_deleted`` (its last change was a delete) and ``committed_at``.
        """
        keys = self._keys[table]
        found = keys.find_ended(self.transactions.list_ended()).filter(pl.col("at") > after)
        return found.select("is_deleted", "committed_at", *keys.names)

    def find_newest_commit(self, position: BinlogPosition) -> datetime | None:
        """Return when the newest transaction up to a position was committed; None: there is none."""
        newest = self.transactions.list_ended().filter(pl.col("at") <= position.ordinal)["committed_at"].max()
        return newest if isinstance(newest, datetime) else None

    def _add_rows(self, event: LogEvent) -> None:
        form, tables = self._forms[parse_table_number(event.body)]
        for table in tables:
            try:
                rows = read_keys(event.kind, event.body, form, self._tables[table].columns)
            except UnreadableRows as error:
                self._add_gap(str(error), table)
            else:
                self._keys[table].add(rows, self.transactions)

    def _add_form(self, event: LogEvent) -> None:
        number = parse_table_number(event.body)
        if number not in self._forms:
            form = parse_table_map(event.body)
            names = [(table.schema, table.table) for table in self._tables]
            self._forms[number] = form, [index for index, name in enumerate(names) if name == (form.schema, form.table)]

    def _add_statement(self, event: LogEvent, statement: LoggedStatement) -> None:
        transactions = self.transactions
        match statement.role:
            case Role.BEGIN:
                transactions.is_open = transactions.needs_end = True
            case Role.END:
                transactions.end(event)
            case Role.XA_END:
                is_committed, name = statement.xa
                if is_committed and not transactions.is_prepared(name):
                    self._add_gap("a transaction that was prepared before was committed")
                transactions.resolve(name, event, is_committed=is_committed)
            case Role.CHANGE:
                for index, table in enumerate(self._tables):
                    if statement.may_change(table.schema, table.table):
                        self._add_gap(f"the log tells a statement ({statement.verb}) and not its rows", index)
                if not transactions.needs_end:
                    transactions.end(event)
            case Role.WITHIN:
                pass

    def _add_other(self, event: LogEvent) -> None:
        if event.kind == FORMAT:
            # Numbers of tables begin again with the server.
            self._forms.clear()
        elif event.kind not in HARMLESS and not event.flags & IGNORABLE:
            unknown = f"the log holds an event of a kind that is not known ({event.kind})"
            self._add_gap(WHY_UNREADABLE.get(event.kind, unknown))
            if not self.transactions.needs_end:
                self.transactions.end(event)
        if not self.transactions.is_open:
            self.transactions.move(event)

    def _add_gap(self, reason: str, table: int | None = None) -> None:
        tables = range(len(self._tables)) if table is None else [table]
        self._gaps += [(self.transactions.number, each, reason) for each in tables]
