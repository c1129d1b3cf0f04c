"""`Scd2`: every version of a row with the time it was valid in.

Rows that arrive and versions that are there stand on one timeline per key; a row that starts an island of equal tracked
content is a version, with the values of the island's last row. Then the ends of the versions concerned are settled from
their successors (docs/decisions/0010-versions.md).
What does not belong here: facts that are bound to versions (bind.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.errors import FatalError
from millrace.lake.batch import Batch
from millrace.load_modes import Scd2
from millrace.naming import DELETED_AT, LOADED_AT, ROW_HASH, VERSION_HASH, literal, quote, quote_list
from millrace.types import Column, Kind
from millrace.warehouse import statements
from millrace.warehouse.modes.mode import Applied, Mode
from millrace.warehouse.session import count
from millrace.warehouse.statements import IS_NEW, among, match
from millrace.warehouse.target import Target

_START, _EXISTS, _HELD_HASH, _ARRIVED, _BEGINS, _ISLAND = (
    quote(name) for name in ("start$", "exists$", "held_hash$", "arrived$", "begins$", "island$")
)
_ROW, _VERSION, _DELETED = quote(ROW_HASH), quote(VERSION_HASH), quote(DELETED_AT)
SINCE = "since$"
"""Of the table of keys that were touched: from when on their versions changed."""


class Scd2Mode(Mode):
    """A row that differs from the version valid at its time is a further one."""

    def __init__(self, target: Target, load: Scd2) -> None:
        super().__init__(target)
        self.load = load
        self._keys, self._start = quote_list(target.keys), quote(load.start)

    @property
    def present(self) -> str:
        """The versions that are valid now."""
        return f"(SELECT * FROM {self.target.quoted} WHERE {quote(self.load.current)})"

    def apply(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> Applied:
        """As ``Mode.apply``; the temporary table ``touched`` holds the keys whose versions changed, and since when."""
        cursor.execute(self._create_touched())
        done = super().apply(cursor, batch, applied_at, held)
        cursor.execute(self._settle(), (applied_at,))
        return done

    def put_in(self, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
        """Raises FatalError when two versions have one surrogate key."""
        target = self.target
        delta = self._create_delta(batch.columns, batch.effective_at, self.latest(batch), by_value=batch.by_value)
        cursor.execute(delta)
        inserted, changed = self.count_delta(cursor)
        if changed:
            self._take_out_replaced(cursor)
            self._check_surrogates(cursor)
            cursor.execute(self._insert_delta(batch.columns), (applied_at,))
            self.check(f"{changed} rows were to be put in and {cursor.rowcount} were", holds=cursor.rowcount == changed)
            cursor.execute(
                f"INSERT INTO {quote(target.touched)} SELECT {self._keys}, min({self._start}) "
                f"FROM {quote(target.delta)} GROUP BY {self._keys}"
            )
        return Applied(inserted, changed - inserted)

    def take_out(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> int:
        """The versions that were valid are closed, whatever the policy for other tables is."""
        del applied_at, held
        target, since = self.target, _literal(batch.effective_at)
        alive = f"{target.quoted}.{quote(self.load.current)} AND {match(target.quoted, 'd$', target.keys)}"
        later = f"{target.quoted}.{self._start} + INTERVAL '1 second'"
        cursor.execute(
            f"UPDATE {target.quoted} SET {_DELETED} = (CASE WHEN {since} > {target.quoted}.{self._start} "
            f"THEN {since} ELSE {later} END) AT TIME ZONE 'UTC' FROM {quote(target.gone)} AS d$ WHERE {alive}"
        )
        closed = int(cursor.rowcount)
        cursor.execute(f"INSERT INTO {quote(target.touched)} SELECT {self._keys}, {since} FROM {quote(target.gone)}")
        return closed

    def planned(self, columns: Sequence[Column]) -> list[str]:
        """As ``Mode.planned``."""
        delta = self._create_delta(columns, datetime.now(UTC), None)
        return [self._create_touched(), delta, self._delete_replaced(), self._insert_delta(columns), self._settle()]

    def _take_out_replaced(self, cursor: Any) -> None:
        replaced = count(cursor, f"SELECT coalesce(sum({_EXISTS}), 0) FROM {quote(self.target.delta)}")
        cursor.execute(self._delete_replaced())
        found = cursor.rowcount
        self.check(f"{replaced} versions were to be replaced and {found} were found", holds=found == replaced)

    def _check_surrogates(self, cursor: Any) -> None:
        surrogate, delta = quote(self.load.surrogate), quote(self.target.delta)
        twice = f"SELECT 1 AS one FROM {delta} GROUP BY {surrogate} HAVING count(*) > 1"
        taken = f"SELECT 1 AS one FROM {delta} AS d$ JOIN {self.target.quoted} AS t ON t.{surrogate} = d$.{surrogate}"
        if shared := count(cursor, statements.count(f"{twice} UNION ALL {taken}")):
            raise FatalError(
                f"{shared} versions would have the surrogate key of another",
                place=self.target.place,
                remedy="report it: 60 bits of a hash met by chance; nothing was committed",
            )

    def _create_touched(self) -> str:
        target = self.target
        return (
            f"CREATE TEMPORARY TABLE {quote(target.touched)} AS "
            f"SELECT {self._keys}, {self._start} AS {quote(SINCE)} FROM {target.quoted} WHERE 1 = 0"
        )

    def _create_delta(
        self, columns: Sequence[Column], effective_at: datetime, latest: str | None, *, by_value: bool = False
    ) -> str:
        """The rows that are new versions, or take the place of one."""
        target = self.target
        arriving = {column.name: f"a.{quote(column.name)}" for column in columns}
        is_altered = statements.holds_other_values(target, columns, "h", arriving) if by_value else "1 = 0"
        held = f"{target.quoted} AS h ON {match('h', 'i', target.keys)} AND h.{self._start} = i.{_BEGINS}"
        names = quote_list((column.name for column in columns), "a.")
        surrogate = f"{self._surrogate(columns)} AS {quote(self.load.surrogate)}"
        return (
            f"CREATE TEMPORARY TABLE {quote(target.delta)} AS "
            f"WITH arrived AS ({self._arrived(columns, effective_at, latest)}), "
            f"timeline AS ({self._timeline()}), "
            f"marked AS (SELECT *, {self._begins()} AS {_BEGINS} FROM timeline), "
            f"numbered AS (SELECT *, sum({_BEGINS}) OVER ({self._before()} AND CURRENT ROW) AS {_ISLAND} FROM marked), "
            f"islands AS ({self._islands()}) "
            f"SELECT {names}, a.{_ROW}, a.{_VERSION}, a.{quote(IS_NEW)}, i.{_EXISTS}, i.{_DELETED}, "
            f"i.{_BEGINS} AS {self._start}, {surrogate} FROM islands AS i "
            f"JOIN arrived AS a ON {match('a', 'i', target.keys)} AND a.{_START} = i.{_START} "
            f"LEFT JOIN {held} WHERE i.{_EXISTS} = 0 OR i.{_HELD_HASH} <> a.{_ROW} OR {is_altered}"
        )

    def _arrived(self, columns: Sequence[Column], effective_at: datetime, latest: str | None) -> str:
        """The staged rows, each with the time from which it holds."""
        target, values = self.target, statements.staged_values(self.target, columns)
        own = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        matches = " AND ".join(f"l.{quote(key)} = {values[key]}" for key in target.keys)
        is_new = f"CASE WHEN l.{quote(target.keys[0])} IS NULL THEN 1 ELSE 0 END"
        concerned = f"{target.quoted} WHERE {among(target.keys, target.stage)}"
        held = statements.first_of_each(concerned, target.keys, f"{self._start} DESC")
        return (
            f"SELECT {own}, s.{_ROW}, s.{_VERSION}, {is_new} AS {quote(IS_NEW)}, "
            f"{self._since(columns, _literal(effective_at))} AS {_START} "
            f"FROM {statements.staged_rows(target, latest)} AS s LEFT JOIN {held} AS l ON {matches}"
        )

    def _since(self, columns: Sequence[Column], effective_at: str) -> str:
        """From when a row holds, by the rules of decision 10. ``l`` is the latest version of its key, if any."""
        kinds = {column.name: column.type.kind for column in columns}
        own = self.load.effective_from
        stated = moment(f"s.{quote(own)}", kinds[own], self.target.stamps_in) if own in kinds else "NULL::TIMESTAMP"
        unknown = _moment_literal(self.load.beginning) if own else effective_at
        gone = f"l.{_DELETED} AT TIME ZONE 'UTC'"
        now = f"greatest({effective_at}, l.{self._start}, {gone})"
        if self.load.changes:
            believed = f"{stated} IS NOT NULL"
        else:
            believed = f"{stated} > l.{self._start} AND (l.{_DELETED} IS NULL OR {stated} >= {gone})"
        return (
            f"CASE WHEN l.{quote(self.target.keys[0])} IS NULL THEN coalesce({stated}, {unknown}) "
            f"WHEN {believed} THEN {stated} ELSE {now} END"
        )

    def _timeline(self) -> str:
        """What arrived, and the versions of the same keys but for those that start when a row does."""
        target = self.target
        keys_and_start = f"{match('t', 'a', target.keys)} AND t.{self._start} = a.{_START}"
        deleted = f"t.{_DELETED} AT TIME ZONE 'UTC' AS {_DELETED}"
        first = quote(target.keys[0])
        return (
            f"SELECT {quote_list(target.keys, 'a.')}, a.{_START}, a.{_VERSION}, t.{_ROW} AS {_HELD_HASH}, {deleted}, "
            f"1 AS {_ARRIVED}, CASE WHEN t.{first} IS NULL THEN 0 ELSE 1 END AS {_EXISTS} "
            f"FROM arrived AS a LEFT JOIN {target.quoted} AS t ON {keys_and_start} UNION ALL "
            f"SELECT {quote_list(target.keys, 't.')}, t.{self._start}, t.{_VERSION}, t.{_ROW}, {deleted}, 0, 1 "
            f"FROM {target.quoted} AS t LEFT JOIN arrived AS a ON {keys_and_start} "
            f"WHERE a.{first} IS NULL AND {among(target.keys, target.stage, 't.')}"
        )

    def _begins(self) -> str:
        """Whether a row of the timeline starts an island: a version that is there, or what differs from the row before
        it, or follows a deletion."""
        over = f"OVER (PARTITION BY {self._keys} ORDER BY {_START})"
        gone = f"max({_DELETED}) OVER ({self._before()} AND 1 PRECEDING)"
        differs = f"lag({_VERSION}) {over} IS NULL OR lag({_VERSION}) {over} <> {_VERSION}"
        after_gap = f"({gone} <= {_START} AND {gone} > lag({_START}) {over})"
        return f"CASE WHEN {_EXISTS} = 1 OR {differs} OR {after_gap} THEN 1 ELSE 0 END"

    def _before(self) -> str:
        return f"PARTITION BY {self._keys} ORDER BY {_START} ROWS BETWEEN UNBOUNDED PRECEDING"

    def _islands(self) -> str:
        """Per island that something arrived in: its start, its last row, and the version that it is already."""
        island = f"PARTITION BY {self._keys}, {_ISLAND}"
        numbered = (
            f"SELECT {self._keys}, {_START}, {_ARRIVED}, min({_START}) OVER ({island}) AS {_BEGINS}, "
            f"max({_EXISTS}) OVER ({island}) AS {_EXISTS}, max({_HELD_HASH}) OVER ({island}) AS {_HELD_HASH}, "
            f"max({_DELETED}) OVER ({island}) AS {_DELETED}, "
            f"row_number() OVER ({island} ORDER BY {_START} DESC) AS {quote(statements.ORDINAL)} FROM numbered"
        )
        return f"SELECT * FROM ({numbered}) AS n WHERE {quote(statements.ORDINAL)} = 1 AND {_ARRIVED} = 1"

    def _surrogate(self, columns: Sequence[Column]) -> str:
        """Made of the natural key, each column with its length before it, and the start."""
        kinds = {column.name: column.type.kind for column in columns}
        texts = [_text(f"a.{quote(key)}", kinds[key]) for key in self.target.keys]
        parts = [f"length({text})::VARCHAR || ':' || {text}" for text in texts]
        start = f"to_char(i.{_BEGINS}, 'YYYY-MM-DD HH24:MI:SS.US')"
        return self.target.dialect.number_of_hex.format(f"substring(md5({' || '.join([*parts, start])}), 1, 15)")

    def _delete_replaced(self) -> str:
        target = self.target
        same = f"{match(target.quoted, 'd$', target.keys)} AND {target.quoted}.{self._start} = d$.{self._start}"
        return f"DELETE FROM {target.quoted} USING {quote(target.delta)} AS d$ WHERE {same} AND d$.{_EXISTS} = 1"

    def _insert_delta(self, columns: Sequence[Column]) -> str:
        """One parameter: the load time. Ends are settled afterwards."""
        target, load = self.target, self.load
        stored = [column.name for column in columns if column.name not in target.consumed]
        names = [*stored, ROW_HASH, VERSION_HASH, load.surrogate, load.start]
        return (
            f"INSERT INTO {target.quoted} ({quote_list([*names, DELETED_AT, load.end, load.current, LOADED_AT])}) "
            f"SELECT {quote_list(names, 'd$.')}, d$.{_DELETED} AT TIME ZONE 'UTC', {_moment_literal(load.open_end)}, "
            f"TRUE, %s::TIMESTAMPTZ FROM {quote(target.delta)} AS d$"
        )

    def _settle(self) -> str:
        """Ends of the touched keys' versions: at the successor's start or at the deletion, which belongs to the version
        that was valid then. One parameter: the load time."""
        target, load, table = self.target, self.load, self.target.quoted
        end, current = quote(load.end), quote(load.current)
        over = f"PARTITION BY {self._keys} ORDER BY {self._start}"
        ordered = (
            f"SELECT {self._keys}, {self._start}, lead({self._start}) OVER ({over}) AS next_start$, "
            f"max({_DELETED} AT TIME ZONE 'UTC') OVER ({over} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) "
            f"AS gone$ FROM {table} WHERE {among(target.keys, target.touched)}"
        )
        owned = (
            f"SELECT {self._keys}, {self._start}, next_start$, CASE WHEN gone$ > {self._start} "
            f"AND (next_start$ IS NULL OR gone$ <= next_start$) THEN gone$ END AS gone$ FROM ({ordered}) AS o"
        )
        gap = f"INTERVAL '{_seconds(load.gap)} seconds'"
        settled = (
            f"SELECT {self._keys}, {self._start}, gone$, CASE WHEN gone$ IS NULL AND next_start$ IS NULL THEN TRUE "
            f"ELSE FALSE END AS is_last$, CASE WHEN gone$ IS NULL AND next_start$ IS NULL "
            f"THEN {_moment_literal(load.open_end)} ELSE greatest({self._start}, coalesce(gone$, next_start$) - {gap}) "
            f"END AS ends$ FROM ({owned}) AS w"
        )
        same = f"{match(table, 'n$', target.keys)} AND {table}.{self._start} = n$.{self._start}"
        changed = f"{table}.{end} <> n$.ends$ OR {table}.{current} <> n$.is_last$"
        return (
            f"UPDATE {table} SET {end} = n$.ends$, {current} = n$.is_last$, {_DELETED} = n$.gone$ AT TIME ZONE 'UTC', "
            f"{quote(LOADED_AT)} = %s::TIMESTAMPTZ FROM ({settled}) AS n$ WHERE {same} AND ({changed})"
        )


def _literal(moment: datetime) -> str:
    return _moment_literal(moment.astimezone(UTC).replace(tzinfo=None))


def _moment_literal(moment: datetime) -> str:
    return f"{literal(moment.isoformat(sep=' '))}::TIMESTAMP"


def moment(value: str, kind: Kind, zone: str) -> str:
    """A value in UTC, without zone. One that says no zone is in ``zone`` ('': UTC); of an hour that comes twice there
    the server takes the second, and of one that is left out the hour after it."""
    if kind is Kind.TIMESTAMP_UTC:
        return f"({value} AT TIME ZONE 'UTC')"
    return f"(({value}::TIMESTAMP AT TIME ZONE {literal(zone)}) AT TIME ZONE 'UTC')" if zone else f"{value}::TIMESTAMP"


def _text(value: str, kind: Kind) -> str:
    return f"CASE WHEN {value} THEN 'true' ELSE 'false' END" if kind is Kind.BOOLEAN else f"{value}::VARCHAR"


def _seconds(gap: timedelta) -> str:
    return f"{gap.total_seconds():f}".rstrip("0").rstrip(".") or "0"
