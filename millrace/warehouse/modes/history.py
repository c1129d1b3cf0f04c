"""`History`: every version of a row, told by its content, numbered per key; a deletion is a version too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from millrace.base.errors import FatalError
from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, VERSION, quote, quote_list
from millrace.base.types import Column
from millrace.declaration.load_modes import VERSIONS_OF_A_KEY, History
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.mode import Applied, Mode
from millrace.warehouse.session import count
from millrace.warehouse.target import Target


class HistoryMode(Mode):
    """A row that differs from the latest version of its key is a further one."""

    def __init__(self, target: Target, load: History) -> None:
        super().__init__(target)
        self.record_id = load.record_id

    @property
    def present(self) -> str:
        """The latest version of every row, deleted ones too."""
        return self._latest(self.target.quoted)

    def put_in(self, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
        """Raises FatalError when a key has more versions than can be numbered."""
        cursor.execute(self._create_delta(batch.columns, by_value=batch.coverage.by_value))
        inserted, changed = self.count_delta(cursor)
        if changed:
            cursor.execute(self._delete_altered())
            self._check_numbers(cursor, self._count_too_many())
            cursor.execute(self._insert_delta(batch.columns), (applied_at,))
            self.check(f"{changed} rows were to be put in and {cursor.rowcount} were", holds=cursor.rowcount == changed)
        return Applied(inserted, changed - inserted)

    def take_out(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> int:
        """A last version of each."""
        del batch
        self._check_numbers(cursor, self._count_too_many_deletions())
        own = {self.record_id, VERSION, LOADED_AT, DELETED_AT}
        kept = [name for name in held if name not in own]
        cursor.execute(self._insert_deletions(kept), (applied_at, applied_at))
        return int(cursor.rowcount)

    def planned(self, columns: Sequence[Column]) -> list[str]:
        """As ``Mode.planned``."""
        return [self._create_delta(columns), self._insert_delta(columns)]

    def _check_numbers(self, cursor: Any, question: str) -> None:
        """The last number of a key is followed by the first of the next key."""
        if too_many := count(cursor, question):
            raise FatalError(
                f"{too_many} keys have {VERSIONS_OF_A_KEY - 1:,} versions, and a record id for no more",
                place=self.target.place,
                remedy="see why they change so often; leave out the column that does",
            )

    def _latest(self, table: str) -> str:
        return statements.first_of_each(table, self.target.keys, f"{quote(VERSION)} DESC")

    def _create_delta(self, columns: Sequence[Column], *, by_value: bool = False) -> str:
        """Further versions; ``by_value`` also those that are there and whose values were altered, as they should be."""
        target, (key,) = self.target, self.target.keys
        values = statements.staged_values(target, columns)
        own = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        concerned = f"(SELECT * FROM {target.quoted} WHERE {statements.among(target.keys, target.stage)})"
        differs = statements.differs(target.keys, marks_deleted=target.marks_deleted)
        is_altered = statements.holds_other_values(target, columns, "t", values) if by_value else "1 = 0"
        return (
            f"CREATE TEMPORARY TABLE {quote(target.delta)} AS SELECT {own}, "
            f"coalesce(t.{quote(VERSION)}, 0) + CASE WHEN {differs} THEN 1 ELSE 0 END AS {quote(VERSION)}, "
            f"s.{quote(ROW_HASH)} AS {quote(ROW_HASH)}, "
            f"CASE WHEN t.{quote(key)} IS NULL THEN 1 ELSE 0 END AS {quote(statements.IS_NEW)} "
            f"FROM {quote(target.stage)} AS s LEFT JOIN {self._latest(f'{concerned} AS c')} AS t "
            f"ON t.{quote(key)} = {values[key]} "
            f"WHERE {differs} OR {is_altered}"
        )

    def _delete_altered(self) -> str:
        """Take out the versions that the delta holds as they should be."""
        target = self.target
        same = f"{statements.match(target.quoted, 'd$', target.keys)} AND {target.quoted}.{quote(VERSION)}"
        return f"DELETE FROM {target.quoted} USING {quote(target.delta)} AS d$ WHERE {same} = d$.{quote(VERSION)}"

    def _insert_delta(self, columns: Sequence[Column]) -> str:
        target = self.target
        names = [*(column.name for column in columns), ROW_HASH, VERSION]
        return (
            f"INSERT INTO {target.quoted} ({quote_list([*names, LOADED_AT, self.record_id])}) "
            f"SELECT {quote_list(names, 'd$.')}, %s::TIMESTAMPTZ, {self._record_id('d$', f'd$.{quote(VERSION)}')} "
            f"FROM {quote(target.delta)} AS d$"
        )

    def _record_id(self, row: str, version: str) -> str:
        """The number of a version, from its key and its place among the versions of that key."""
        return f"{row}.{quote(self.target.keys[0])}::BIGINT * {VERSIONS_OF_A_KEY} + {version}"

    def _count_too_many(self) -> str:
        """Rows of the delta whose version has no number left."""
        return f"SELECT count(*) FROM {quote(self.target.delta)} WHERE {quote(VERSION)} >= {VERSIONS_OF_A_KEY}"

    def _count_too_many_deletions(self) -> str:
        """Rows that left the source, for which no number is left."""
        target = self.target
        return (
            f"SELECT count(*) FROM {target.quoted} AS t JOIN {quote(target.gone)} AS d$ "
            f"ON {statements.match('t', 'd$', target.keys)} "
            f"WHERE t.{quote(DELETED_AT)} IS NULL AND t.{quote(VERSION)} >= {VERSIONS_OF_A_KEY} - 1"
        )

    def _insert_deletions(self, columns: Sequence[str]) -> str:
        """A last version of the rows that left the source, with the values they had. Parameters: load time, twice."""
        target, version = self.target, f"t.{quote(VERSION)} + 1"
        names = [*columns, VERSION, self.record_id, LOADED_AT, DELETED_AT]
        concerned = f"(SELECT * FROM {target.quoted} WHERE {statements.among(target.keys, target.gone)})"
        latest = self._latest(f"{concerned} AS c")
        return (
            f"INSERT INTO {target.quoted} ({quote_list(names)}) SELECT {quote_list(columns, 't.')}, {version}, "
            f"{self._record_id('t', f'({version})')}, %s::TIMESTAMPTZ, %s::TIMESTAMPTZ FROM {latest} AS t "
            f"JOIN {quote(target.gone)} AS d$ ON {statements.match('t', 'd$', target.keys)} "
            f"WHERE t.{quote(DELETED_AT)} IS NULL"
        )
