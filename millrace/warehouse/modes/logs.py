"""`Scd2` of a log of changes: each row is for ever true of its time, and a late one is put in its place.

Rows that arrive and versions that are there stand on one timeline per key; a row that starts an island of equal tracked
content is a version, with the values of the island's last row (docs/decisions/0010-versions.md).
What does not belong here: rows that are states, of which the one that was read last is true now (states.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from millrace.naming import quote, quote_list
from millrace.types import Column
from millrace.warehouse import statements
from millrace.warehouse.modes.scd2 import DELETED, EXISTS, ROW, UNBELIEVED, VERSION, moment_literal, utc_literal
from millrace.warehouse.modes.states import StatesMode
from millrace.warehouse.statements import IS_NEW, among, match

_START, _HELD_HASH, _ARRIVED, _BEGINS, _ISLAND = (
    quote(name) for name in ("start$", "held_hash$", "arrived$", "begins$", "island$")
)


class LogsMode(StatesMode):
    """Rows are changes."""

    def _create_delta(
        self,
        columns: Sequence[Column],
        read_at: datetime,
        effective_at: datetime,
        latest: str | None,
        *,
        by_value: bool = False,
    ) -> str:
        """The rows that are new versions, or take the place of one."""
        target = self.target
        arriving = {column.name: f"a.{quote(column.name)}" for column in columns}
        is_altered = statements.holds_other_values(target, columns, "h", arriving) if by_value else "1 = 0"
        held = f"{target.quoted} AS h ON {match('h', 'i', target.keys)} AND h.{self._start} = i.{_BEGINS}"
        names = quote_list((column.name for column in columns), "a.")
        surrogate = f"{self._surrogate(columns, 'a', f'i.{_BEGINS}')} AS {quote(self.load.surrogate)}"
        return (
            f"CREATE TEMPORARY TABLE {quote(target.delta)} AS "
            f"WITH arrived AS ({self._arrived(columns, read_at, effective_at, latest)}), "
            f"timeline AS ({self._timeline()}), "
            f"marked AS (SELECT *, {self._begins()} AS {_BEGINS} FROM timeline), "
            f"numbered AS (SELECT *, sum({_BEGINS}) OVER ({self._before()} AND CURRENT ROW) AS {_ISLAND} FROM marked), "
            f"islands AS ({self._islands()}) "
            f"SELECT {names}, a.{ROW}, a.{VERSION}, a.{quote(IS_NEW)}, i.{EXISTS}, i.{DELETED}, a.{UNBELIEVED}, "
            f"i.{_BEGINS} AS {self._start}, {surrogate} FROM islands AS i "
            f"JOIN arrived AS a ON {match('a', 'i', target.keys)} AND a.{_START} = i.{_START} "
            f"LEFT JOIN {held} WHERE i.{EXISTS} = 0 OR i.{_HELD_HASH} <> a.{ROW} OR {is_altered}"
        )

    def _arrived(self, columns: Sequence[Column], read_at: datetime, effective_at: datetime, latest: str | None) -> str:
        """The staged rows, each with the time from which it holds, and the latest version of its key."""
        target, values, stated = self.target, statements.staged_values(self.target, columns), self._stated(columns)
        own = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        matches = " AND ".join(f"l.{quote(key)} = {values[key]}" for key in target.keys)
        is_new = f"CASE WHEN l.{quote(target.keys[0])} IS NULL THEN 1 ELSE 0 END"
        concerned = f"{target.quoted} WHERE {among(target.keys, target.stage)}"
        held = statements.first_of_each(concerned, target.keys, f"{self._start} DESC")
        return (
            f"SELECT {own}, s.{ROW}, s.{VERSION}, {is_new} AS {quote(IS_NEW)}, "
            f"CASE WHEN {stated} > {utc_literal(read_at)} THEN 1 ELSE 0 END AS {UNBELIEVED}, "
            f"{self._since(stated, utc_literal(read_at), utc_literal(effective_at))} AS {_START} "
            f"FROM {statements.staged_rows(target, latest)} AS s LEFT JOIN {held} AS l ON {matches}"
        )

    def _since(self, stated: str, read_at: str, effective_at: str) -> str:
        """From when a row holds, by the rules of decision 10. ``l`` is the latest version of its key, if any."""
        now = f"greatest({effective_at}, l.{self._start}, l.{DELETED} AT TIME ZONE 'UTC')"
        return (
            f"CASE WHEN {stated} <= {read_at} THEN {stated} WHEN l.{quote(self.target.keys[0])} IS NOT NULL THEN {now} "
            f"WHEN {stated} IS NULL THEN {moment_literal(self.load.beginning)} ELSE {effective_at} END"
        )

    def _timeline(self) -> str:
        """What arrived, and the versions of the same keys but for those that start when a row does."""
        target = self.target
        keys_and_start = f"{match('t', 'a', target.keys)} AND t.{self._start} = a.{_START}"
        deleted = f"t.{DELETED} AT TIME ZONE 'UTC' AS {DELETED}"
        first = quote(target.keys[0])
        return (
            f"SELECT {quote_list(target.keys, 'a.')}, a.{_START}, a.{VERSION}, t.{ROW} AS {_HELD_HASH}, {deleted}, "
            f"1 AS {_ARRIVED}, CASE WHEN t.{first} IS NULL THEN 0 ELSE 1 END AS {EXISTS} "
            f"FROM arrived AS a LEFT JOIN {target.quoted} AS t ON {keys_and_start} UNION ALL "
            f"SELECT {quote_list(target.keys, 't.')}, t.{self._start}, t.{VERSION}, t.{ROW}, {deleted}, 0, 1 "
            f"FROM {target.quoted} AS t LEFT JOIN arrived AS a ON {keys_and_start} "
            f"WHERE a.{first} IS NULL AND {among(target.keys, target.stage, 't.')}"
        )

    def _begins(self) -> str:
        """Whether a row of the timeline starts an island: a version that is there, or what differs from the row before
        it, or follows a deletion."""
        over = f"OVER (PARTITION BY {self._keys} ORDER BY {_START})"
        gone = f"max({DELETED}) OVER ({self._before()} AND 1 PRECEDING)"
        differs = f"lag({VERSION}) {over} IS NULL OR lag({VERSION}) {over} <> {VERSION}"
        after_gap = f"({gone} <= {_START} AND {gone} > lag({_START}) {over})"
        return f"CASE WHEN {EXISTS} = 1 OR {differs} OR {after_gap} THEN 1 ELSE 0 END"

    def _before(self) -> str:
        return f"PARTITION BY {self._keys} ORDER BY {_START} ROWS BETWEEN UNBOUNDED PRECEDING"

    def _islands(self) -> str:
        """Per island that something arrived in: its start, its last row, and the version that it is already."""
        island = f"PARTITION BY {self._keys}, {_ISLAND}"
        numbered = (
            f"SELECT {self._keys}, {_START}, {_ARRIVED}, min({_START}) OVER ({island}) AS {_BEGINS}, "
            f"max({EXISTS}) OVER ({island}) AS {EXISTS}, max({_HELD_HASH}) OVER ({island}) AS {_HELD_HASH}, "
            f"max({DELETED}) OVER ({island}) AS {DELETED}, "
            f"row_number() OVER ({island} ORDER BY {_START} DESC) AS {quote(statements.ORDINAL)} FROM numbered"
        )
        return f"SELECT * FROM ({numbered}) AS n WHERE {quote(statements.ORDINAL)} = 1 AND {_ARRIVED} = 1"
