"""`Scd2`: every version of a row with the time in which it was valid; what logs and states have in common.

These are surrogate keys, the insertion of versions, and their ends, which are set from the next versions
(docs/decisions/0010-versions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from typing_extensions import override

from millrace.base.errors import FatalError
from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, VERSION_HASH, literal, quote, quote_list
from millrace.base.types import Column, Kind
from millrace.declaration.scd2 import Scd2
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.applier import Applier
from millrace.warehouse.session import fetch_count
from millrace.warehouse.statements import among, match
from millrace.warehouse.target import Target

EXISTS = quote("exists$")
"""Column of the changed rows: 1 where a version replaces one with the same start."""
UNBELIEVED = quote("unbelieved$")
"""Column of arriving rows: 1 where the time of the row lies after its read."""
ROW, VERSION, DELETED = quote(ROW_HASH), quote(VERSION_HASH), quote(DELETED_AT)
DELETION = literal("-")
"""A deletion has this in the place of the hash of tracked columns. It equals no hash."""
SINCE = "since$"
"""Column of the touched keys: the time from which their versions changed."""


class Scd2Applier(Applier):
    """Inserts a further version if a row differs from the version that was valid at its time."""

    load: Scd2

    def __init__(self, load: Scd2, target: Target) -> None:
        super().__init__(load, target)
        self._keys, self._start = quote_list(target.keys), quote(load.start)

    @property
    @override
    def live_rows(self) -> str:
        """The versions that are valid now."""
        return f"(SELECT * FROM {self.target.quoted} WHERE {quote(self.load.current)})"

    def _replace(self, cursor: Any, columns: Sequence[Column], applied_at: datetime) -> None:
        """Insert the changed rows, and delete the versions with the same key and start.

        Raises FatalError when two versions have one surrogate key.
        """
        rows = fetch_count(cursor, statements.count_all(quote(self.temporary.changed_rows)))
        replaced = fetch_count(cursor, f"SELECT coalesce(sum({EXISTS}), 0) FROM {quote(self.temporary.changed_rows)}")
        cursor.execute(self._delete_replaced())
        found = cursor.rowcount
        self.check(f"{replaced} versions were to be replaced and {found} were found", holds=found == replaced)
        self._check_surrogates(cursor)
        cursor.execute(self._insert_changed(columns), (applied_at,))
        self.check(f"{rows} rows were to be put in and {cursor.rowcount} were", holds=cursor.rowcount == rows)
        cursor.execute(
            f"INSERT INTO {quote(self.temporary.touched_keys)} SELECT {self._keys}, min({self._start}) "
            f"FROM {quote(self.temporary.changed_rows)} GROUP BY {self._keys}"
        )

    def _check_surrogates(self, cursor: Any) -> None:
        surrogate, delta = quote(self.load.surrogate), quote(self.temporary.changed_rows)
        twice = f"SELECT 1 AS one FROM {delta} GROUP BY {surrogate} HAVING count(*) > 1"
        taken = f"SELECT 1 AS one FROM {delta} AS d$ JOIN {self.target.quoted} AS t ON t.{surrogate} = d$.{surrogate}"
        if shared := fetch_count(cursor, statements.count_query(f"{twice} UNION ALL {taken}")):
            raise FatalError(
                f"{shared} versions would have the surrogate key of another",
                place=self.target.place,
                remedy="report it: 60 bits of a hash met by chance; nothing was committed",
            )

    def _warn_of_unbelieved(self, rows: int, batch: Batch) -> tuple[str, ...]:
        """Return what a person should know of rows whose time was not believed."""
        if not rows:
            return ()
        effective = batch.effective_at.astimezone(UTC)
        return (
            f"{rows} rows have a time in {self.load.effective_from} that lies after their read: they are taken to be "
            f"so since the batch is effective ({effective:%Y-%m-%d %H:%M:%S} UTC). See why: a clock that is ahead, a "
            "time zone that is not declared (stamps_in), a date that means never",
        )

    def _create_touched(self) -> str:
        target = self.target
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.touched_keys)} AS "
            f"SELECT {self._keys}, {self._start} AS {quote(SINCE)} FROM {target.quoted} WHERE 1 = 0"
        )

    def _surrogate(self, columns: Sequence[Column], row: str, start: str) -> str:
        """Return the surrogate key of a ``row``.

        It is made of the natural key, each column with its length before it, and of the start.
        """
        kinds = _kinds([*self.target.derivation.columns, *columns])
        texts = [_text(f"{row}.{quote(key)}", kinds.get(key)) for key in self.target.keys]
        parts = [f"length({text})::VARCHAR || ':' || {text}" for text in texts]
        moment = f"to_char({start}, 'YYYY-MM-DD HH24:MI:SS.US')"
        return self.target.dialect.number_of_hex.format(f"substring(md5({' || '.join([*parts, moment])}), 1, 15)")

    def _delete_replaced(self) -> str:
        target = self.target
        same = f"{match(target.quoted, 'd$', target.keys)} AND {target.quoted}.{self._start} = d$.{self._start}"
        changed = quote(self.temporary.changed_rows)
        return f"DELETE FROM {target.quoted} USING {changed} AS d$ WHERE {same} AND d$.{EXISTS} = 1"

    def _insert_changed(self, columns: Sequence[Column]) -> str:
        """Return the statement that inserts the changed versions. One parameter: the load time."""
        target, load = self.target, self.load
        stored = [column.name for column in columns if column.name not in target.consumed_columns]
        names = [*stored, ROW_HASH, VERSION_HASH, load.surrogate, load.start, load.end, load.current]
        return (
            f"INSERT INTO {target.quoted} ({quote_list([*names, DELETED_AT, LOADED_AT])}) SELECT "
            f"{quote_list(names, 'd$.')}, d$.{DELETED} AT TIME ZONE 'UTC', %s::TIMESTAMPTZ "
            f"FROM {quote(self.temporary.changed_rows)} AS d$"
        )

    @override
    def settle_ends(self) -> str:
        return self._settle("1 = 1", f"({self.target.dialect.clock} AT TIME ZONE 'UTC')")

    def _settle(self, concerned: str = "", loaded_at: str = "%s::TIMESTAMPTZ") -> str:
        """Return the statement that sets the ends of the versions of the ``concerned`` keys, by default the touched.

        A version ends at the start of the next one, or at the deletion if it was valid then. One parameter: the load
        time.
        """
        target, load = self.target, self.load
        over = f"PARTITION BY {self._keys} ORDER BY {self._start}"
        ordered = (
            f"SELECT {self._keys}, {self._start}, lead({self._start}) OVER ({over}) AS next_start$, "
            f"CASE WHEN {VERSION} = {DELETION} THEN 1 ELSE 0 END AS is_deletion$, "
            f"max({DELETED} AT TIME ZONE 'UTC') OVER ({over} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) "
            f"AS deleted$ FROM {target.quoted} "
            f"WHERE {concerned or among(target.keys, self.temporary.touched_keys, target.quoted)}"
        )
        owned = (
            f"SELECT {self._keys}, {self._start}, next_start$, is_deletion$, CASE WHEN deleted$ > {self._start} "
            f"AND (next_start$ IS NULL OR deleted$ <= next_start$) THEN deleted$ END AS deleted$ FROM ({ordered}) AS o"
        )
        is_last = "deleted$ IS NULL AND next_start$ IS NULL"
        deleted = f"CASE WHEN is_deletion$ = 1 THEN {self._start} ELSE deleted$ END"
        ends = self._end_before(self._start, "coalesce(deleted$, next_start$)")
        settled = (
            f"SELECT {self._keys}, {self._start}, {deleted} AS {DELETED}, "
            f"CASE WHEN {is_last} AND is_deletion$ = 0 THEN TRUE ELSE FALSE END AS {quote(load.current)}, "
            f"CASE WHEN {is_last} THEN {moment_literal(load.open_end)} ELSE {ends} END AS {quote(load.end)} "
            f"FROM ({owned}) AS w"
        )
        return self._write_ends(f"({settled})", loaded_at)

    def _end_before(self, start: str, successor: str) -> str:
        return f"greatest({start}, {successor} - INTERVAL '{_seconds(self.load.gap)} seconds')"

    def _write_ends(self, versions: str, loaded_at: str = "%s::TIMESTAMPTZ") -> str:
        """Return the statement that sets the ends that differ from those of a relation.

        One parameter: the load time.
        """
        load, table = self.load, self.target.quoted
        end, current = quote(load.end), quote(load.current)
        same = f"{match(table, 'n$', self.target.keys)} AND {table}.{self._start} = n$.{self._start}"
        ends = f"coalesce({table}.{end}, {NEVER}) <> coalesce(n$.{end}, {NEVER})"
        # The end of a version that is shorter than the gap may stay, though its deletion is another version's now.
        is_deleted_otherwise = (
            f"coalesce({table}.{DELETED} AT TIME ZONE 'UTC', {NEVER}) <> coalesce(n$.{DELETED}, {NEVER})"
        )
        changed = f"{ends} OR {table}.{current} <> n$.{current} OR {is_deleted_otherwise}"
        return (
            f"UPDATE {table} SET {end} = n$.{end}, {current} = n$.{current}, "
            f"{DELETED} = n$.{DELETED} AT TIME ZONE 'UTC', {quote(LOADED_AT)} = {loaded_at} "
            f"FROM {versions} AS n$ WHERE {same} AND ({changed})"
        )


def find_stated_time(target: Target, load: Scd2, columns: Sequence[Column]) -> str:
    """Return the time from which a row ``s`` of the stage says that it is valid, in UTC; NULL if it does not say it."""
    kinds, dated_by = _kinds(columns), load.effective_from
    return moment(f"s.{quote(dated_by)}", kinds[dated_by], target.time_zone) if dated_by in kinds else "NULL::TIMESTAMP"


def is_unbelieved(stated: str, read_at: datetime) -> str:
    """Return the condition that a time lies after the read of its row, and so is not believed."""
    return f"{stated} > {utc_literal(read_at)}"


def utc_literal(moment: datetime) -> str:
    """Return a moment as SQL, in UTC and without zone."""
    return moment_literal(moment.astimezone(UTC).replace(tzinfo=None))


def moment_literal(moment: datetime | None) -> str:
    """Return a time without zone, or NULL, as SQL."""
    return "NULL::TIMESTAMP" if moment is None else f"{literal(moment.isoformat(sep=' '))}::TIMESTAMP"


NEVER = moment_literal(datetime(1, 1, 1))  # noqa: DTZ001 - it has no zone
"""Stands for NULL where times are compared."""


def moment(value: str, kind: Kind, zone: str) -> str:
    """Return a value in UTC, without a zone.

    A value that names no zone is in ``zone`` ('': UTC). Of an hour that comes twice there the server takes the second
    one, and for an hour that is left out the hour after it.
    """
    if kind is Kind.TIMESTAMP_UTC:
        return f"({value} AT TIME ZONE 'UTC')"
    return f"(({value}::TIMESTAMP AT TIME ZONE {literal(zone)}) AT TIME ZONE 'UTC')" if zone else f"{value}::TIMESTAMP"


def _kinds(columns: Sequence[Column]) -> dict[str, Kind]:
    return {column.name: column.type.kind for column in columns}


def _text(value: str, kind: Kind | None) -> str:
    return f"CASE WHEN {value} THEN 'true' ELSE 'false' END" if kind is Kind.BOOLEAN else f"{value}::VARCHAR"


def _seconds(gap: timedelta) -> str:
    return f"{gap.total_seconds():f}".rstrip("0").rstrip(".") or "0"
