"""`Scd2` of a log of changes: each row is true for ever at its own time, and a late row is put at its place.

The versions of the keys that a batch touches are computed from all events of these keys (events.py), so that they do
not depend on the order in which rows came. Events of a key are in the order of their times. Neighbours with equal
tracked content are an island: it is one version, which starts with its first event and has the values of its last
(docs/decisions/0010-versions.md, 0019-models-that-cannot-be-declared-wrongly.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from millrace.base.naming import quote, quote_list
from millrace.base.types import Column
from millrace.declaration.scd2 import Scd2
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.applier import Application, Applied
from millrace.warehouse.modes.events import AFTER, AT, Arrived, EventTable
from millrace.warehouse.modes.versions import DELETED, DELETION, EXISTS, ROW, VERSION, Scd2Applier, moment_literal
from millrace.warehouse.session import analyze_temporary
from millrace.warehouse.statements import IS_NEW, among, match
from millrace.warehouse.target import Target

_ORDINAL = quote(statements.ORDINAL)


class LogApplier(Scd2Applier):
    """Applies rows that are changes, each of its own time."""

    def __init__(self, load: Scd2, target: Target) -> None:
        super().__init__(load, target)
        self._columns = target.derivation.columns
        self._events = EventTable(target, load, [column.name for column in target.derivation.columns])

    @override
    def apply(self, application: Application) -> Applied:
        """Insert the events, then compute the versions of their keys."""
        cursor, batch, applied_at = application.cursor, application.batch, application.applied_at
        cursor.execute(self._create_touched())
        if not (batch.written or batch.deleted or batch.coverage.absent_means_deleted or batch.files.root_keys):
            return Applied()
        cursor.execute(self._create_concerned())
        self._events.prepare(cursor, batch)
        done = super().apply(application)
        analyze_temporary(cursor, self.target.dialect, self.temporary.concerned_keys)
        cursor.execute(self._create_computed())
        analyze_temporary(cursor, self.target.dialect, self.temporary.computed_versions)
        vanished = self._remove_vanished(cursor)
        cursor.execute(self._create_changed(by_value=batch.coverage.by_value))
        inserted, changed = self.count_changed(cursor)
        if changed:
            self._replace(cursor, self._columns, applied_at)
        cursor.execute(self._write_ends(quote(self.temporary.computed_versions)), (applied_at,))
        # One row may change two versions, and counts once.
        inserted, changed = min(inserted, batch.written), min(changed + vanished, batch.written)
        return replace(done, inserted=inserted, updated=changed - inserted)

    @override
    def upsert(self, application: Application) -> Applied:
        """Insert the events. Versions are computed later."""
        cursor, batch = application.cursor, application.batch
        values = statements.staged_values(self.target, batch.columns)
        keys = ", ".join(values[key] for key in self.target.keys)
        concerned, stage = quote(self.temporary.concerned_keys), quote(self.temporary.stage)
        cursor.execute(f"INSERT INTO {concerned} SELECT DISTINCT {keys} FROM {stage} AS s")
        arrived = self._events.add(cursor, batch, application.applied_at)
        return Applied(warnings=self._warnings(arrived, batch))

    @override
    def delete(self, application: Application) -> int:
        """Insert an event for each deletion, with every delete policy."""
        closed = self._events.close(application.cursor, application.batch, application.applied_at)
        concerned, deleted = quote(self.temporary.concerned_keys), quote(self.temporary.deleted_keys)
        application.cursor.execute(f"INSERT INTO {concerned} SELECT {self._keys} FROM {deleted}")
        return closed

    @override
    def plan(self, columns: Sequence[Column]) -> list[str]:
        computed = [self._create_concerned(), self._create_computed(), self._create_vanished(), self._delete_vanished()]
        written = [self._create_changed(), self._delete_replaced(), self._insert_changed(self._columns)]
        return [
            self._create_touched(),
            *computed,
            *written,
            self._write_ends(quote(self.temporary.computed_versions)),
        ]

    def _warnings(self, arrived: Arrived, batch: Batch) -> tuple[str, ...]:
        dated_by = self.load.effective_from
        warnings = [*self._warn_of_unbelieved(arrived.unbelieved, batch)]
        if arrived.undated:
            warnings.append(
                f"{arrived.undated} rows have no time in {dated_by}: they stand before all others of their key, "
                f"since {self.load.beginning:%Y-%m-%d}"
            )
        if arrived.rejected:
            same = f"{dated_by} and in {self.load.tie_breaker}" if self.load.tie_breaker else dated_by
            warnings.append(
                f"{arrived.rejected} rows were rejected: another row of this batch has the same key, the same value in "
                f"{same}, and other content, and nothing says which came later: declare a column that does "
                "(tie_breaker)"
            )
        return tuple(warnings)

    def _create_concerned(self) -> str:
        target = self.target
        concerned = quote(self.temporary.concerned_keys)
        return f"CREATE TEMPORARY TABLE {concerned} AS SELECT {self._keys} FROM {target.quoted} WHERE 1 = 0"

    def _create_computed(self) -> str:
        """Return the statement that computes all versions of the keys that the batch concerns."""
        load = self.load
        names = quote_list((column.name for column in self._columns), "v.")
        is_open, is_deletion = "v.next_start$ IS NULL", f"v.{VERSION} = {DELETION}"
        ends = self._end_before("v.start$", "v.next_start$")
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.computed_versions)} AS "
            f"WITH events AS ({self._find_concerned_events()}), placed AS ({self._place_events()}), "
            f"timeline AS ({self._order_events()}), islands AS ({self._number_islands()}) "
            f"SELECT {names}, v.{ROW}, v.{VERSION}, {self._surrogate(self._columns, 'v', 'v.start$')} "
            f"AS {quote(load.surrogate)}, v.start$ AS {self._start}, "
            f"{self._find_deleted_at(is_deletion)} AS {DELETED}, "
            f"CASE WHEN {is_open} THEN {moment_literal(load.open_end)} ELSE {ends} END AS {quote(load.end)}, "
            f"CASE WHEN {is_open} AND NOT {is_deletion} THEN TRUE ELSE FALSE END AS {quote(load.current)} "
            f"FROM ({self._find_versions()}) AS v WHERE {self._is_version(is_deletion)}"
        )

    def _find_deleted_at(self, is_deletion: str) -> str:
        if self.load.deletes_as_versions:
            return f"CASE WHEN {is_deletion} THEN v.start$ END"
        return f"CASE WHEN v.next_hash$ = {DELETION} THEN v.next_start$ END"

    def _is_version(self, is_deletion: str) -> str:
        """Return the condition that an island is a version.

        A deletion is a version if that is declared and the key did not return at the same time.
        """
        if self.load.deletes_as_versions:
            return f"NOT {is_deletion} OR v.next_start$ IS NULL OR v.next_start$ > v.start$"
        return f"NOT {is_deletion}"

    def _find_concerned_events(self) -> str:
        events = self._events.quoted
        return f"SELECT * FROM {events} WHERE {among(self.target.keys, self.temporary.concerned_keys, events)}"

    def _place_events(self) -> str:
        """Return a query for the events, each with its place in the order.

        If events of a key came after its deletion was seen, the last of them says that the key is there again, so that
        it is not placed before the deletion; it is placed after it, if the deletion is a version. A deletion is placed
        before a row of the same time.
        """
        latest = f"row_number() OVER (PARTITION BY {self._keys}, {AFTER} ORDER BY {AT} DESC, {self._events.order})"
        back = f"{AFTER} + INTERVAL '0.000001 seconds'" if self.load.deletes_as_versions else AFTER
        return (
            f"SELECT *, CASE WHEN {AFTER} >= {AT} AND {latest} = 1 THEN {back} ELSE {AT} END AS place$, "
            f"CASE WHEN {VERSION} = {DELETION} THEN 0 ELSE 1 END AS is_row$ FROM events"
        )

    def _order_events(self) -> str:
        """Return a query for one event of each place, and whether it starts an island."""
        same = f"PARTITION BY {self._keys}, place$, is_row$"
        numbered = f"SELECT *, row_number() OVER ({same} ORDER BY {self._events.order}) AS {_ORDINAL} FROM placed"
        before = f"lag({VERSION}) OVER (PARTITION BY {self._keys} ORDER BY place$, is_row$)"
        return (
            f"SELECT *, CASE WHEN {before} = {VERSION} THEN 0 ELSE 1 END AS begins$ "
            f"FROM ({numbered}) AS n WHERE {_ORDINAL} = 1"
        )

    def _number_islands(self) -> str:
        over = f"PARTITION BY {self._keys} ORDER BY place$, is_row$ ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        names = quote_list(column.name for column in self._columns)
        return f"SELECT {names}, {ROW}, {VERSION}, place$, sum(begins$) OVER ({over}) AS island$ FROM timeline"

    def _find_versions(self) -> str:
        """Return a query for the last event of each island, with the start of the island and of the next one."""
        island = f"PARTITION BY {self._keys}, island$"
        start = f"min(place$) OVER ({island})"
        if self.load.from_beginning:
            first = f"least({start}, {moment_literal(self.load.beginning)})"
            start = f"CASE WHEN island$ = 1 THEN {first} ELSE {start} END"
        numbered = (
            f"SELECT *, {start} AS start$, row_number() OVER ({island} ORDER BY place$ DESC) AS last$ FROM islands"
        )
        next_of = f"OVER (PARTITION BY {self._keys} ORDER BY island$)"
        return (
            f"SELECT *, lead(start$) {next_of} AS next_start$, lead({VERSION}) {next_of} AS next_hash$ "
            f"FROM ({numbered}) AS l WHERE last$ = 1"
        )

    def _remove_vanished(self, cursor: Any) -> int:
        """Delete the rows that are no versions any more. Return how many."""
        cursor.execute(self._create_vanished())
        analyze_temporary(cursor, self.target.dialect, self.temporary.vanished_versions)
        cursor.execute(self._delete_vanished())
        vanished = int(cursor.rowcount)
        cursor.execute(
            f"INSERT INTO {quote(self.temporary.touched_keys)} SELECT {self._keys}, {self._start} "
            f"FROM {quote(self.temporary.vanished_versions)}"
        )
        return vanished

    def _create_vanished(self) -> str:
        target = self.target
        same = f"{match('c', 't', target.keys)} AND c.{self._start} = t.{self._start}"
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.vanished_versions)} AS "
            f"SELECT {quote_list(target.keys, 't.')}, t.{self._start} "
            f"FROM {target.quoted} AS t LEFT JOIN {quote(self.temporary.computed_versions)} AS c ON {same} "
            f"WHERE {among(target.keys, self.temporary.concerned_keys, 't')} AND c.{quote(target.keys[0])} IS NULL"
        )

    def _delete_vanished(self) -> str:
        target = self.target
        same = f"{match(target.quoted, 'v$', target.keys)} AND {target.quoted}.{self._start} = v$.{self._start}"
        return f"DELETE FROM {target.quoted} USING {quote(self.temporary.vanished_versions)} AS v$ WHERE {same}"

    def _create_changed(self, *, by_value: bool = False) -> str:
        """Return the statement that finds the versions that the table lacks, or has with other values."""
        target = self.target
        computed = {column.name: f"c.{quote(column.name)}" for column in self._columns}
        is_altered = statements.holds_other_values(target, self._columns, "h", computed) if by_value else "1 = 0"
        is_concerned = among(target.keys, self.temporary.concerned_keys, target.quoted)
        existing = f"(SELECT * FROM {target.quoted} WHERE {is_concerned})"
        existing_keys = f"(SELECT DISTINCT {self._keys} FROM {existing} AS k)"
        first = quote(target.keys[0])
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.changed_rows)} AS SELECT c.*, "
            f"CASE WHEN h.{first} IS NULL THEN 0 ELSE 1 END AS {EXISTS}, "
            f"CASE WHEN k.{first} IS NULL THEN 1 ELSE 0 END AS {quote(IS_NEW)} "
            f"FROM {quote(self.temporary.computed_versions)} AS c "
            f"LEFT JOIN {existing} AS h ON {match('h', 'c', target.keys)} AND h.{self._start} = c.{self._start} "
            f"LEFT JOIN {existing_keys} AS k ON {match('k', 'c', target.keys)} "
            f"WHERE h.{first} IS NULL OR h.{ROW} <> c.{ROW} OR {is_altered}"
        )
