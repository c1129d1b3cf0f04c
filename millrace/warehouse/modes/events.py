"""Events: every row of a log, and every deletion, in a table beside the model's table (``<model>$events``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.base.naming import LOADED_AT, ROW_HASH, VERSION_HASH, quote, quote_list
from millrace.declaration.scd2 import EVENT_AFTER, EVENT_AT, EVENT_STATED, Scd2
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.versions import (
    DELETED,
    DELETION,
    NEVER,
    ROW,
    VERSION,
    find_stated_time,
    is_unbelieved,
    moment_literal,
    utc_literal,
)
from millrace.warehouse.session import fetch_count
from millrace.warehouse.statements import among, match
from millrace.warehouse.target import Target

STATED, AT, AFTER = quote(EVENT_STATED), quote(EVENT_AT), quote(EVENT_AFTER)


@dataclass(frozen=True)
class Arrived:
    """How many rows of a batch were events of each kind."""

    unbelieved: int
    """Number of events whose time lies after their read."""
    undated: int
    """Number of events without a time."""
    rejected: int
    """Number of rows with the key and the time of another row of the batch, but other content."""


class EventTable:
    """The events of one target. The table has the target's columns ``names``."""

    def __init__(self, target: Target, load: Scd2, names: Sequence[str]) -> None:
        (self._table,) = target.tables_beside
        self._target, self._load, self._names = target, load, list(names)
        self._temporary = target.temporary
        self._keys = quote_list(target.keys)

    @property
    def quoted(self) -> str:
        """Quoted ``schema.table`` of the table of events."""
        return self._table.quoted

    @property
    def order(self) -> str:
        """The order of events with the same key and place: the one that counts comes first.

        It is the event with the latest stated time, then with the greatest tie-breaker or, without one, the latest
        arrival.
        """
        tie = self._load.tie_breaker
        decides = f"{quote(tie)} DESC NULLS LAST" if tie else f"{quote(LOADED_AT)} DESC"
        return f"{STATED} DESC NULLS LAST, {decides}, {ROW} DESC"

    def prepare(self, cursor: Any, batch: Batch) -> None:
        """Make the table of events agree with the table of versions before a batch is applied.

        Versions that were loaded before there were events become events. If the table of versions was emptied by hand,
        its events are deleted.
        """
        has_versions = fetch_count(cursor, statements.count_first(self._target.quoted))
        has_events = fetch_count(cursor, statements.count_first(self.quoted))
        if has_events and not has_versions:
            cursor.execute(f"DELETE FROM {self.quoted}")
        if has_versions and not has_events:
            cursor.execute(self._insert_versions(batch))
            cursor.execute(self._insert_ends_of_versions(batch))

    def add(self, cursor: Any, batch: Batch, applied_at: datetime) -> Arrived:
        """Insert the staged rows as events. A row that is an event already is not inserted again."""
        cursor.execute(self.create_arrived(batch))
        cursor.execute(self._insert_arrived(), (applied_at,))
        counted = ("is_unbelieved$", "is_undated$", "is_rejected$")
        sums = ", ".join(f"coalesce(sum({quote(name)}), 0)" for name in counted)
        cursor.execute(f"SELECT {sums} FROM {quote(self._temporary.arrived_events)}")
        return Arrived(*map(int, cursor.fetchone()))

    def close(self, cursor: Any, batch: Batch, applied_at: datetime) -> int:
        """Insert a deletion for each deleted key with a valid version, after all of its events. Return how many."""
        target, since = self._target, utc_literal(batch.effective_at)
        events = self._of(self._temporary.deleted_keys)
        last = f"SELECT {self._keys}, max({AT}) AS last$ FROM {events} GROUP BY {self._keys}"
        at = f"CASE WHEN {since} > e.last$ THEN {since} ELSE e.last$ + INTERVAL '1 second' END"
        cursor.execute(
            f"INSERT INTO {self.quoted} ({quote_list([*self._names, EVENT_AT, ROW_HASH, VERSION_HASH, LOADED_AT])}) "
            f"SELECT {quote_list(self._names, 't.')}, {at}, t.{ROW}, {DELETION}, %s::TIMESTAMPTZ "
            f"FROM {target.quoted} AS t JOIN ({last}) AS e ON {match('t', 'e', target.keys)} "
            f"WHERE t.{quote(self._load.current)}",
            (applied_at,),
        )
        return int(cursor.rowcount)

    def create_arrived(self, batch: Batch) -> str:
        """Return the statement that finds the staged rows that may be events, and whether each is inserted.

        Identical rows are one event. There is one exception, where the source has only one row of a key and time: a row
        that equals an earlier event, but not the last one of its key and time, corrects the last one.
        """
        target, load, values = self._target, self._load, statements.staged_values(self._target, batch.columns)
        selected = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items() if name in self._names)
        stated, stage = find_stated_time(target, load, batch.columns), quote(self._temporary.stage)
        staged = f"SELECT DISTINCT {selected}, {stated} AS {STATED}, s.{ROW}, s.{VERSION} FROM {stage} AS s"
        is_late, effective = is_unbelieved(f"a.{STATED}", batch.read_at), utc_literal(batch.effective_at)
        at = f"CASE WHEN {is_late} THEN {effective} ELSE coalesce(a.{STATED}, {moment_literal(load.beginning)}) END"
        is_same = " AND ".join(
            [
                match("e", "a", target.keys),
                f"e.{ROW} = a.{ROW}",
                f"coalesce(e.{STATED}, {NEVER}) = coalesce(a.{STATED}, {NEVER})",
                f"coalesce(e.{AFTER}, {NEVER}) = coalesce(l.after$, {NEVER})",
            ]
        )
        tells_last = not load.tie_breaker and (bool(target.derivation.root_columns) or batch.holds_all_rows)
        is_again = "a.is_alone$ = 1 AND e.is_last$ = 0" if tells_last else "1 = 0"
        is_fresh = f"a.is_rejected$ = 0 AND (e.{quote(target.keys[0])} IS NULL OR {is_again})"
        return (
            f"CREATE TEMPORARY TABLE {quote(self._temporary.arrived_events)} AS WITH staged AS ({staged}), "
            f"events AS (SELECT * FROM {self._of(self._temporary.stage)}), arrived AS ({self._choose()}) "
            f"SELECT {quote_list(self._names, 'a.')}, a.{STATED}, a.{ROW}, a.{VERSION}, {at} AS {AT}, "
            f"l.after$ AS {AFTER}, a.is_rejected$, CASE WHEN {is_fresh} THEN 1 ELSE 0 END AS is_fresh$, "
            f"CASE WHEN {is_fresh} AND {is_late} THEN 1 ELSE 0 END AS is_unbelieved$, "
            f"CASE WHEN {is_fresh} AND a.{STATED} IS NULL THEN 1 ELSE 0 END AS is_undated$ FROM arrived AS a "
            f"LEFT JOIN ({self._last_deletions()}) AS l ON {match('l', 'a', target.keys)} "
            f"LEFT JOIN ({self._find_existing()}) AS e ON {is_same}"
        )

    def _find_existing(self) -> str:
        """Return a query for the events of rows, each with whether it arrived last of its key and time."""
        same = f"{self._keys}, {STATED}, {AFTER}"
        last = f"row_number() OVER (PARTITION BY {same} ORDER BY {quote(LOADED_AT)} DESC, {ROW} DESC) AS number$"
        numbered = f"SELECT {same}, {ROW}, {last} FROM events WHERE {VERSION} <> {DELETION}"
        is_last = "max(CASE WHEN number$ = 1 THEN 1 ELSE 0 END) AS is_last$"
        return f"SELECT {same}, {ROW}, {is_last} FROM ({numbered}) AS n GROUP BY {same}, {ROW}"

    def _choose(self) -> str:
        """Return a query for one staged row of each key and time, and for the rows that conflict with it.

        Rows conflict if nothing tells which of them is later. These are rejected.
        """
        same = f"PARTITION BY {self._keys}, {STATED}"
        tie = f"{quote(self._load.tie_breaker)} DESC NULLS LAST" if self._load.tie_breaker else ""
        is_tied = f"rank() OVER ({same} ORDER BY {tie})" if tie else "1"
        order = ", ".join(filter(None, [tie, f"{ROW} DESC"]))
        is_alone = f"CASE WHEN count(*) OVER ({same}) = 1 THEN 1 ELSE 0 END"
        number = f"row_number() OVER ({same} ORDER BY {order}) AS {quote(statements.ORDINAL)}"
        ranked = f"SELECT *, {is_alone} AS is_alone$, {is_tied} AS tie$, {number} FROM staged"
        rejected = f"CASE WHEN {quote(statements.ORDINAL)} > 1 THEN 1 ELSE 0 END AS is_rejected$"
        return f"SELECT *, {rejected} FROM ({ranked}) AS r WHERE tie$ = 1"

    def _last_deletions(self) -> str:
        """Return a query for the last deletion of each key, after which an event may bring the key back."""
        return (
            f"SELECT {self._keys}, max({AT}) AS after$ FROM events WHERE {VERSION} = {DELETION} GROUP BY {self._keys}"
        )

    def _insert_arrived(self) -> str:
        """Return the statement that inserts the fresh events. One parameter: the load time."""
        names = quote_list([*self._names, EVENT_STATED, EVENT_AT, EVENT_AFTER, ROW_HASH, VERSION_HASH])
        return (
            f"INSERT INTO {self.quoted} ({names}, {quote(LOADED_AT)}) "
            f"SELECT {names}, %s::TIMESTAMPTZ FROM {quote(self._temporary.arrived_events)} WHERE is_fresh$ = 1"
        )

    def _insert_versions(self, batch: Batch) -> str:
        start = quote(self._load.start)
        stated = f"CASE WHEN {start} = {moment_literal(self._load.beginning)} THEN NULL ELSE {start} END"
        deleted_at = f"max({DELETED} AT TIME ZONE 'UTC') OVER (PARTITION BY {self._keys} ORDER BY {start} "
        after = f"{deleted_at} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        names = [*self._names, EVENT_STATED, EVENT_AT, EVENT_AFTER, ROW_HASH, VERSION_HASH, LOADED_AT]
        return (
            f"INSERT INTO {self.quoted} ({quote_list(names)}) SELECT {quote_list(self._names)}, {stated}, "
            f"{self._begun(batch)}, {after}, {ROW}, {VERSION}, {quote(LOADED_AT)} FROM {self._target.quoted} "
            f"WHERE {VERSION} <> {DELETION}"
        )

    def _insert_ends_of_versions(self, batch: Batch) -> str:
        deleted_at, begun = f"{DELETED} AT TIME ZONE 'UTC'", self._begun(batch)
        is_late = is_unbelieved(deleted_at, batch.read_at)
        at = f"CASE WHEN {is_late} THEN {begun} + INTERVAL '1 second' ELSE {deleted_at} END"
        names = [*self._names, EVENT_AT, ROW_HASH, VERSION_HASH, LOADED_AT]
        return (
            f"INSERT INTO {self.quoted} ({quote_list(names)}) SELECT {quote_list(self._names)}, {at}, "
            f"{ROW}, {DELETION}, {quote(LOADED_AT)} FROM {self._target.quoted} WHERE {DELETED} IS NOT NULL"
        )

    def _begun(self, batch: Batch) -> str:
        """Return when a version began.

        That is when it was loaded, if its start was believed although it lies after the read.
        """
        start, loaded = quote(self._load.start), f"{quote(LOADED_AT)} AT TIME ZONE 'UTC'"
        is_late, effective = is_unbelieved(start, batch.read_at), utc_literal(batch.effective_at)
        return f"CASE WHEN {is_late} THEN least({loaded}, {effective}) ELSE {start} END"

    def _of(self, keys: str) -> str:
        """Return the FROM clause for the events whose keys are in a table."""
        return f"{self.quoted} WHERE {among(self._target.keys, keys, self.quoted)}"
