"""`Replace`: the table holds the rows of the last snapshot. Rows are compared by their content and number of copies.

The table is written again only if it differs, because an empty run changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from millrace.base.naming import ROW_HASH, quote
from millrace.base.types import Column
from millrace.declaration.load_modes import Replace
from millrace.warehouse import statements
from millrace.warehouse.difference import Difference
from millrace.warehouse.modes.applier import Application, Applied, Applier, make_applier
from millrace.warehouse.session import fetch_count


@make_applier.register(Replace)
class ReplaceApplier(Applier):
    """Writes all rows again, or none."""

    @override
    def apply(self, application: Application) -> Applied:
        """Write the table again if it differs from the snapshot. Raises CountMismatch."""
        batch = application.batch
        done = self.upsert(application) if batch.written else Applied()
        absent = self.find_absent(application)
        if done.inserted or absent or (batch.coverage.by_value and batch.written):
            application.cursor.execute(f"DELETE FROM {self.target.quoted}")
            self._fill(application)
        warnings = (_WRITTEN_AGAIN,) if batch.coverage.by_value and batch.written else ()
        return Applied(done.inserted, deleted=absent, absent=absent, warnings=warnings)

    @override
    def upsert(self, application: Application) -> Applied:
        """Find the rows that the table lacks. All rows are written later, when the table is empty."""
        application.cursor.execute(self._create_changed(application.batch.columns))
        changed = quote(self.temporary.changed_rows)
        return Applied(fetch_count(application.cursor, f"SELECT count(*) FROM {changed}"))

    @override
    def find_absent(self, application: Application) -> int:
        """Count the rows of the table that the snapshot lacks."""
        if not application.batch.written:
            return fetch_count(application.cursor, statements.count_all(self.target.quoted))
        difference = self._difference
        query = f"SELECT count(*) FROM {difference.rows_with_staged} WHERE {difference.is_absent}"
        return fetch_count(application.cursor, query)

    @override
    def delete(self, application: Application) -> int:
        """Delete nothing: rows that the snapshot lacks were not written again."""
        return 0

    @override
    def lost_rows(self, done: Applied) -> int:
        """Return the number of deleted rows less new rows. A changed row counts as deleted and as new."""
        return done.deleted - done.inserted

    @override
    def plan(self, columns: Sequence[Column]) -> list[str]:
        return [self._create_changed(columns), f"DELETE FROM {self.target.quoted}", self._insert(columns)]

    def _fill(self, application: Application) -> None:
        cursor, written = application.cursor, application.batch.written
        if written:
            cursor.execute(self._insert(application.batch.columns), (application.applied_at,))
            found = cursor.rowcount
            self.check(f"{written} rows were to be put in and {found} were", holds=found == written)

    def _insert(self, columns: Sequence[Column]) -> str:
        values = statements.staged_values(self.target, columns)
        selected = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        rows = f"(SELECT {selected}, s.{_HASH} FROM {quote(self.temporary.stage)} AS s)"
        return statements.insert_rows(self.target, [*values, ROW_HASH], rows)

    def _create_changed(self, columns: Sequence[Column]) -> str:
        values, difference = statements.staged_values(self.target, columns), self._difference
        selected = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        return (
            f"CREATE TEMPORARY TABLE {quote(self.temporary.changed_rows)} AS SELECT {selected}, s.{_HASH} AS {_HASH} "
            f"FROM {difference.staged_with_rows} WHERE {difference.is_new}"
        )

    @property
    def _difference(self) -> Difference:
        """The difference of stage and table. Rows have no key: equal rows are compared by how many there are."""
        staged, rows = _number(quote(self.temporary.stage)), _number(self.target.quoted)
        return Difference(staged, rows, (ROW_HASH, statements.ORDINAL))


_WRITTEN_AGAIN = "the table was written again; its rows have no key, so those with altered values are not counted"
_HASH, _ORDINAL = quote(ROW_HASH), quote(statements.ORDINAL)


def _number(table: str) -> str:
    """Return a relation whose equal rows are numbered, so that each has at most one counterpart."""
    return f"(SELECT *, row_number() OVER (PARTITION BY {_HASH} ORDER BY {_HASH}) AS {_ORDINAL} FROM {table} AS r)"
