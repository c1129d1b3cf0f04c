"""`History`: every version of a row, found by its content and numbered per key. A deletion is a version too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from millrace.base.errors import FatalError
from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, VERSION, quote, quote_list
from millrace.base.types import Column
from millrace.declaration.load_modes import VERSIONS_OF_A_KEY, History
from millrace.warehouse import statements
from millrace.warehouse.difference import Difference
from millrace.warehouse.distribution import distribution_of_batch
from millrace.warehouse.modes.applier import Application, Applied, Applier, make_applier
from millrace.warehouse.session import fetch_count
from millrace.warehouse.target import Target


@make_applier.register(History)
class HistoryApplier(Applier):
    """Inserts a further version if a row differs from the latest version of its key."""

    def __init__(self, load: History, target: Target) -> None:
        super().__init__(load, target)
        self.record_id = load.record_id

    @property
    @override
    def live_rows(self) -> str:
        """The latest version of every row, also of deleted rows."""
        return self._latest(self.target.quoted)

    @override
    def upsert(self, application: Application) -> Applied:
        """Insert further versions. Raises FatalError when a key has more versions than can be numbered."""
        cursor, batch = application.cursor, application.batch
        cursor.execute(self._create_changed(batch.columns, by_value=batch.coverage.by_value, rows=batch.written))
        inserted, changed = self.count_changed(cursor)
        if changed:
            cursor.execute(self._delete_altered())
            self._check_numbers(cursor, self._count_unnumberable())
            cursor.execute(self._insert_changed(batch.columns), (application.applied_at,))
            found = cursor.rowcount
            self.check(f"{changed} rows were to be put in and {found} were", holds=found == changed)
        return Applied(inserted, changed - inserted)

    @override
    def delete(self, application: Application) -> int:
        """Insert a last version of each deleted key."""
        cursor, applied_at = application.cursor, application.applied_at
        self._check_numbers(cursor, self._count_unnumberable_deletions())
        added = {self.record_id, VERSION, LOADED_AT, DELETED_AT}
        kept_names = [name for name in self.target.columns or () if name not in added]
        cursor.execute(self._insert_deletions(kept_names), (applied_at, applied_at))
        return int(cursor.rowcount)

    @override
    def plan(self, columns: Sequence[Column]) -> list[str]:
        return [self._create_changed(columns), self._insert_changed(columns)]

    def _check_numbers(self, cursor: Any, query: str) -> None:
        """Raise FatalError when a key has no number left.

        The number after the last one of a key is the first number of the next key.
        """
        if too_many := fetch_count(cursor, query):
            raise FatalError(
                f"{too_many} keys have {VERSIONS_OF_A_KEY - 1:,} versions, and a record id for no more",
                place=self.target.place,
                remedy="see why they change so often; leave out the column that does",
            )

    def _latest(self, table: str) -> str:
        return statements.first_of_each(table, self.target.keys, f"{quote(VERSION)} DESC")

    def _create_changed(self, columns: Sequence[Column], *, by_value: bool = False, rows: int = 0) -> str:
        """Return the statement that finds further versions.

        With ``by_value`` it also finds versions whose values were altered in the target, with the values that they
        should have.
        """
        target, values = self.target, statements.staged_values(self.target, columns)
        selected = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        is_concerned = statements.among(target.keys, self.temporary.stage, target.quoted)
        latest = self._latest(f"(SELECT * FROM {target.quoted} WHERE {is_concerned}) AS c")
        difference = Difference(quote(self.temporary.stage), latest, target.keys, target.marks_deleted, values)
        is_altered = statements.holds_other_values(target, columns, "t", values) if by_value else "1 = 0"
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.changed_rows)}{distribution_of_batch(target, rows)} AS "
            f"SELECT {selected}, "
            f"coalesce(t.{quote(VERSION)}, 0) + CASE WHEN {difference.is_changed} THEN 1 ELSE 0 END "
            f"AS {quote(VERSION)}, s.{quote(ROW_HASH)} AS {quote(ROW_HASH)}, "
            f"CASE WHEN {difference.is_new} THEN 1 ELSE 0 END AS {quote(statements.IS_NEW)} "
            f"FROM {difference.staged_with_rows} WHERE {difference.is_changed} OR {is_altered}"
        )

    def _delete_altered(self) -> str:
        """Return the statement that deletes altered versions, which the changed rows replace."""
        target = self.target
        same = f"{statements.match(target.quoted, 'd$', target.keys)} AND {target.quoted}.{quote(VERSION)}"
        changed = quote(self.temporary.changed_rows)
        return f"DELETE FROM {target.quoted} USING {changed} AS d$ WHERE {same} = d$.{quote(VERSION)}"

    def _insert_changed(self, columns: Sequence[Column]) -> str:
        target = self.target
        names = [*(column.name for column in columns), ROW_HASH, VERSION]
        return (
            f"INSERT INTO {target.quoted} ({quote_list([*names, LOADED_AT, self.record_id])}) "
            f"SELECT {quote_list(names, 'd$.')}, %s::TIMESTAMPTZ, {self._record_id('d$', f'd$.{quote(VERSION)}')} "
            f"FROM {quote(self.temporary.changed_rows)} AS d$"
        )

    def _record_id(self, row: str, version: str) -> str:
        """Return the record id of a version: it is made of the key and the number of the version."""
        return f"{row}.{quote(self.target.keys[0])}::BIGINT * {VERSIONS_OF_A_KEY} + {version}"

    def _count_unnumberable(self) -> str:
        """Count the changed rows whose versions have no number left."""
        return (
            f"SELECT count(*) FROM {quote(self.temporary.changed_rows)} WHERE {quote(VERSION)} >= {VERSIONS_OF_A_KEY}"
        )

    def _count_unnumberable_deletions(self) -> str:
        """Count the deleted rows whose last versions have no number left."""
        target = self.target
        return (
            f"SELECT count(*) FROM {target.quoted} AS t JOIN {quote(self.temporary.deleted_keys)} AS d$ "
            f"ON {statements.match('t', 'd$', target.keys)} "
            f"WHERE t.{quote(DELETED_AT)} IS NULL AND t.{quote(VERSION)} >= {VERSIONS_OF_A_KEY} - 1"
        )

    def _insert_deletions(self, columns: Sequence[str]) -> str:
        """Return the statement that inserts a last version of deleted rows, with the values that they had.

        Two parameters: the load time, twice.
        """
        target, version = self.target, f"t.{quote(VERSION)} + 1"
        names = [*columns, VERSION, self.record_id, LOADED_AT, DELETED_AT]
        is_concerned = statements.among(target.keys, self.temporary.deleted_keys, target.quoted)
        latest = self._latest(f"(SELECT * FROM {target.quoted} WHERE {is_concerned}) AS c")
        return (
            f"INSERT INTO {target.quoted} ({quote_list(names)}) SELECT {quote_list(columns, 't.')}, {version}, "
            f"{self._record_id('t', f'({version})')}, %s::TIMESTAMPTZ, %s::TIMESTAMPTZ FROM {latest} AS t "
            f"JOIN {quote(self.temporary.deleted_keys)} AS d$ ON {statements.match('t', 'd$', target.keys)} "
            f"WHERE t.{quote(DELETED_AT)} IS NULL"
        )
