"""`Scd2` of states: for each key, the row that was read last is true now.

An arriving row is compared with the latest version of its key: it is that version, or a correction of it, or the next
version (docs/decisions/0010-versions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from millrace.base.naming import DELETED_AT, LOADED_AT, VERSION_HASH, quote, quote_list
from millrace.base.types import Column
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.distribution import distribution_of_batch
from millrace.warehouse.modes.applier import Application, Applied
from millrace.warehouse.modes.versions import (
    DELETED,
    DELETION,
    EXISTS,
    ROW,
    UNBELIEVED,
    VERSION,
    Scd2Applier,
    find_stated_time,
    is_unbelieved,
    moment_literal,
    utc_literal,
)
from millrace.warehouse.session import analyze_temporary, fetch_count
from millrace.warehouse.statements import IS_NEW, among, match

_AT, _FORMER_START, _FORMER_VERSION, _FORMER_ROW, _DELETED_AT = (
    quote(name) for name in ("at$", "former_start$", "former_version$", "former_hash$", "deleted_at$")
)


class StateApplier(Scd2Applier):
    """Applies rows that are states, each true from its time on."""

    @override
    def apply(self, application: Application) -> Applied:
        """Apply the batch, then set the ends of the versions that it touched."""
        cursor = application.cursor
        cursor.execute(self._create_touched())
        done = super().apply(application)
        if fetch_count(cursor, statements.count_first(quote(self.temporary.touched_keys))):
            analyze_temporary(cursor, self.target.dialect, self.temporary.touched_keys)
            cursor.execute(self._settle(), (application.applied_at,))
        return done

    @override
    def upsert(self, application: Application) -> Applied:
        """Insert and correct versions. Raises FatalError when two versions have one surrogate key."""
        cursor, batch = application.cursor, application.batch
        warnings = self._begin_now(cursor, batch, self.temporary.stage)
        read_at, effective_at = batch.read_at, batch.effective_at
        delta = self._create_changed(
            batch.columns,
            read_at,
            effective_at,
            self.latest(batch),
            by_value=batch.coverage.by_value,
            rows=batch.written,
        )
        cursor.execute(delta)
        inserted, changed = self.count_changed(cursor)
        if changed:
            self._replace(cursor, batch.columns, application.applied_at)
            unbelieved = fetch_count(
                cursor, f"SELECT coalesce(sum({UNBELIEVED}), 0) FROM {quote(self.temporary.changed_rows)}"
            )
            warnings += self._warn_of_unbelieved(unbelieved, batch)
        return Applied(inserted, changed - inserted, warnings=warnings)

    @override
    def delete(self, application: Application) -> int:
        """Close the versions that were valid, with every delete policy."""
        cursor, batch = application.cursor, application.batch
        since = utc_literal(batch.effective_at)
        self._begin_now(cursor, batch, self.temporary.deleted_keys)
        if self.load.deletes_as_versions:
            cursor.execute(self._insert_deletions(batch.columns, since), (application.applied_at,))
        else:
            cursor.execute(self._mark_deletions(since))
        closed = int(cursor.rowcount)
        touched, deleted = quote(self.temporary.touched_keys), quote(self.temporary.deleted_keys)
        cursor.execute(f"INSERT INTO {touched} SELECT {self._keys}, {since} FROM {deleted}")
        return closed

    def _end_of_deleted(self, version: str, since: str) -> str:
        """Return when a deleted version ends.

        A version that starts later than the batch is valid ends one second after its start.
        """
        start = f"{version}.{self._start}"
        return f"CASE WHEN {since} > {start} THEN {since} ELSE {start} + INTERVAL '1 second' END"

    def _mark_deletions(self, since: str) -> str:
        table = self.target.quoted
        alive = f"{table}.{quote(self.load.current)} AND {match(table, 'd$', self.target.keys)}"
        return (
            f"UPDATE {table} SET {DELETED} = ({self._end_of_deleted(table, since)}) AT TIME ZONE 'UTC' "
            f"FROM {quote(self.temporary.deleted_keys)} AS d$ WHERE {alive}"
        )

    def _insert_deletions(self, columns: Sequence[Column], since: str) -> str:
        """Return the statement that inserts a version for each deletion, with the last values.

        One parameter: the load time.
        """
        target, load = self.target, self.load
        added = {*target.added_columns, LOADED_AT}
        names = [name for name in target.columns or () if name not in added]
        added_names = [load.start, DELETED_AT, load.end, VERSION_HASH, load.surrogate, load.current, LOADED_AT]
        surrogate = self._surrogate(columns, "g", "g.at$")
        deleted = (
            f"SELECT t.*, {self._end_of_deleted('t', since)} AS at$ FROM {target.quoted} AS t "
            f"WHERE t.{quote(load.current)} AND {among(target.keys, self.temporary.deleted_keys, 't')}"
        )
        return (
            f"INSERT INTO {target.quoted} ({quote_list([*names, *added_names])}) "
            f"SELECT {quote_list(names, 'g.')}, g.at$, g.at$ AT TIME ZONE 'UTC', "
            f"{moment_literal(load.open_end)}, {DELETION}, {surrogate}, FALSE, "
            f"%s::TIMESTAMPTZ FROM ({deleted}) AS g"
        )

    @override
    def plan(self, columns: Sequence[Column]) -> list[str]:
        now = datetime.now(UTC)
        delta = self._create_changed(columns, now, now, None)
        return [self._create_touched(), delta, self._delete_replaced(), self._insert_changed(columns), self._settle()]

    def _create_changed(
        self,
        columns: Sequence[Column],
        read_at: datetime,
        effective_at: datetime,
        latest: str | None,
        *,
        by_value: bool = False,
        rows: int = 0,
    ) -> str:
        """Return the statement that finds the rows that are new versions, or replace a version."""
        target = self.target
        arriving = {column.name: f"a.{quote(column.name)}" for column in columns}
        is_altered = statements.holds_other_values(target, columns, "h", arriving) if by_value else "1 = 0"
        names = quote_list((column.name for column in columns), "a.")
        start = f"CASE WHEN a.{EXISTS} = 1 THEN a.{_FORMER_START} ELSE a.{_AT} END"
        surrogate = f"{self._surrogate(columns, 'a', start)} AS {quote(self.load.surrogate)}"
        is_there = f"({_DELETED_AT} IS NULL AND {_FORMER_VERSION} = {VERSION}) OR {_FORMER_START} = {_AT}"
        former = f"{target.quoted} AS h ON {match('h', 'a', target.keys)} AND h.{self._start} = a.{_FORMER_START}"
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.changed_rows)}{distribution_of_batch(target, rows)} AS "
            f"WITH arrived AS ({self._select_arrived(columns, read_at, effective_at, latest)}), "
            f"compared AS (SELECT *, CASE WHEN {is_there} THEN 1 ELSE 0 END AS {EXISTS} FROM arrived) "
            f"SELECT {names}, a.{ROW}, a.{VERSION}, a.{quote(IS_NEW)}, a.{UNBELIEVED}, a.{EXISTS}, "
            f"{start} AS {self._start}, {surrogate}, NULL::TIMESTAMP AS {DELETED}, "
            f"{moment_literal(self.load.open_end)} AS {quote(self.load.end)}, TRUE AS {quote(self.load.current)} "
            f"FROM compared AS a LEFT JOIN {former} WHERE a.{EXISTS} = 0 OR a.{_FORMER_ROW} <> a.{ROW} OR {is_altered}"
        )

    def _select_arrived(
        self, columns: Sequence[Column], read_at: datetime, effective_at: datetime, latest: str | None
    ) -> str:
        """Return a query for the staged rows, with the time from which each is valid and its key's latest version."""
        target, values, stated = (
            self.target,
            statements.staged_values(self.target, columns),
            find_stated_time(self.target, self.load, columns),
        )
        selected = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        matches = " AND ".join(f"l.{quote(key)} = {values[key]}" for key in target.keys)
        is_new = f"CASE WHEN l.{quote(target.keys[0])} IS NULL THEN 1 ELSE 0 END"
        concerned = f"{target.quoted} WHERE {among(target.keys, self.temporary.stage, target.quoted)}"
        former = statements.first_of_each(concerned, target.keys, f"{self._start} DESC")
        return (
            f"SELECT {selected}, s.{ROW}, s.{VERSION}, {is_new} AS {quote(IS_NEW)}, "
            f"CASE WHEN {is_unbelieved(stated, read_at)} THEN 1 ELSE 0 END AS {UNBELIEVED}, "
            f"{self._since(stated, utc_literal(read_at), utc_literal(effective_at))} AS {_AT}, "
            f"l.{self._start} AS {_FORMER_START}, l.{VERSION} AS {_FORMER_VERSION}, l.{ROW} AS {_FORMER_ROW}, "
            f"l.{DELETED} AS {_DELETED_AT} "
            f"FROM {statements.staged_rows(target, latest)} AS s LEFT JOIN {former} AS l ON {matches}"
        )

    def _since(self, stated: str, read_at: str, effective_at: str) -> str:
        """Return from when a row is valid, by the rules of decision 10.

        ``l`` is the latest version of its key, if any.
        """
        unknown = moment_literal(self.load.beginning) if self.load.effective_from else effective_at
        deleted_at = f"l.{DELETED} AT TIME ZONE 'UTC'"
        first = f"CASE WHEN {stated} > {read_at} THEN {effective_at} ELSE coalesce({stated}, {unknown}) END"
        if self.load.from_beginning:
            first = f"least({stated}, {moment_literal(self.load.beginning)})"
        is_later = f"{stated} > l.{self._start} AND (l.{DELETED} IS NULL OR {stated} >= {deleted_at})"
        return (
            f"CASE WHEN l.{quote(self.target.keys[0])} IS NULL THEN {first} "
            f"WHEN {stated} <= {read_at} AND {is_later} THEN {stated} "
            f"ELSE greatest({effective_at}, l.{self._start}, {deleted_at}) END"
        )

    def _begin_now(self, cursor: Any, batch: Batch, keys: str) -> tuple[str, ...]:
        """Let versions that start after the read start when they were loaded. Return what a person should know.

        An earlier version of Millrace believed such times. If a key has several such versions, only the last one stays.
        Only the keys of a table are looked at.
        """
        target, start, read_at = self.target, self._start, utc_literal(batch.read_at)
        concerned = f"{target.quoted} WHERE {among(target.keys, keys, target.quoted)}"
        if not fetch_count(cursor, f"SELECT count(*) FROM {concerned} AND {start} > {read_at}"):
            return ()
        cursor.execute(statements.drop_temporary(self.temporary.moved_versions))
        cursor.execute(self._create_moved(batch, concerned))
        former_start, surrogate = f"{target.quoted}.{start}", quote(self.load.surrogate)
        touched, versions = quote(self.temporary.touched_keys), quote(self.temporary.moved_versions)
        same, moved = match(target.quoted, "m$", target.keys), f"{versions} AS m$"
        replaced = f"{former_start} > {read_at} AND {former_start} < m$.{start}"
        cursor.execute(f"DELETE FROM {target.quoted} USING {moved} WHERE {same} AND {replaced}")
        deleted_at = f"CASE WHEN {target.quoted}.{DELETED} IS NULL THEN NULL ELSE m$.{_AT} + INTERVAL '1 second' END"
        cursor.execute(
            f"UPDATE {target.quoted} SET {start} = m$.{_AT}, {surrogate} = m$.{surrogate}, "
            f"{DELETED} = ({deleted_at}) AT TIME ZONE 'UTC' FROM {moved} WHERE {same} AND {former_start} = m$.{start}"
        )
        rows = int(cursor.rowcount)
        cursor.execute(f"INSERT INTO {touched} SELECT {self._keys}, {_AT} FROM {versions}")
        return (f"{rows} versions started after they were read, and start now when they were loaded",)

    def _create_moved(self, batch: Batch, concerned: str) -> str:
        """Return the statement that finds the last version of each key that starts after the read, with its new start.

        The new start is not before the version that is valid.
        """
        keys, start, read_at = self.target.keys, self._start, utc_literal(batch.read_at)
        before = f"max(CASE WHEN {start} <= {read_at} THEN {start} END) OVER (PARTITION BY {self._keys}) AS before$"
        latest = statements.first_of_each(f"(SELECT *, {before} FROM {concerned}) AS c", keys, f"{start} DESC")
        loaded = f"least({quote(LOADED_AT)} AT TIME ZONE 'UTC', {utc_literal(batch.effective_at)})"
        at = f"greatest({loaded}, before$ + INTERVAL '0.000001 seconds') AS {_AT}"
        found = f"SELECT {self._keys}, {start}, {at} FROM {latest} AS l WHERE {start} > {read_at}"
        surrogate = f"{self._surrogate(batch.columns, 'f', f'f.{_AT}')} AS {quote(self.load.surrogate)}"
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.moved_versions)} AS "
            f"SELECT {quote_list(keys, 'f.')}, f.{start}, f.{_AT}, {surrogate} FROM ({found}) AS f"
        )
