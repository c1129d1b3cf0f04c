"""`Replace`: the table holds the rows of the last snapshot, told apart by their content and how often it occurs.

Written again only if it differs, because an empty run changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from millrace.base.naming import ROW_HASH, quote
from millrace.base.types import Column
from millrace.lake.batch import Batch
from millrace.warehouse import statements
from millrace.warehouse.modes.mode import Applied, Mode
from millrace.warehouse.session import count


class ReplaceMode(Mode):
    """All of it, or nothing."""

    def apply(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> Applied:
        """Whether the snapshot rejected rows or not. Raises CountMismatch."""
        del held
        done = self.put_in(cursor, batch, applied_at) if batch.written else Applied()
        gone = self.find_gone(cursor, batch)
        if done.inserted or gone or (batch.coverage.by_value and batch.written):
            cursor.execute(f"DELETE FROM {self.target.quoted}")
            self._fill(cursor, batch, applied_at)
        told = (_WRITTEN_AGAIN,) if batch.coverage.by_value and batch.written else ()
        return Applied(done.inserted, deleted=gone, gone=gone, warnings=told)

    def put_in(self, cursor: Any, batch: Batch, applied_at: datetime) -> Applied:
        """The rows that the table lacks; all are written once it is empty."""
        del applied_at
        cursor.execute(self._create_delta(batch.columns))
        return Applied(count(cursor, f"SELECT count(*) FROM {quote(self.target.delta)}"))

    def find_gone(self, cursor: Any, batch: Batch) -> int:
        """Rows of the table that the snapshot lacks."""
        if not batch.written:
            return count(cursor, f"SELECT count(*) FROM {self.target.quoted}")
        held, staged = _numbered(self.target.quoted), _numbered(quote(self.target.stage))
        return count(
            cursor, f"SELECT count(*) FROM {held} AS t LEFT JOIN {staged} AS s ON {_SAME} WHERE s.{_HASH} IS NULL"
        )

    def take_out(self, cursor: Any, batch: Batch, applied_at: datetime, held: Collection[str]) -> int:
        """Nothing: what is gone was not written again."""
        del cursor, batch, applied_at, held
        return 0

    def lost(self, done: Applied) -> int:
        """A row that changed is one that is gone and one that is new."""
        return done.deleted - done.inserted

    def planned(self, columns: Sequence[Column]) -> list[str]:
        """As ``Mode.planned``."""
        return [self._create_delta(columns), f"DELETE FROM {self.target.quoted}", self._insert(columns)]

    def _fill(self, cursor: Any, batch: Batch, applied_at: datetime) -> None:
        if batch.written:
            cursor.execute(self._insert(batch.columns), (applied_at,))
            written, found = batch.written, cursor.rowcount
            self.check(f"{written} rows were to be put in and {found} were", holds=found == written)

    def _insert(self, columns: Sequence[Column]) -> str:
        values = statements.staged_values(self.target, columns)
        own = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        rows = f"(SELECT {own}, s.{_HASH} FROM {quote(self.target.stage)} AS s)"
        return statements.insert_rows(self.target, [*values, ROW_HASH], rows)

    def _create_delta(self, columns: Sequence[Column]) -> str:
        values = statements.staged_values(self.target, columns)
        own = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        held, staged = _numbered(self.target.quoted), _numbered(quote(self.target.stage))
        return (
            f"CREATE TEMPORARY TABLE {quote(self.target.delta)} AS SELECT {own}, s.{_HASH} AS {_HASH} "
            f"FROM {staged} AS s LEFT JOIN {held} AS t ON {_SAME} WHERE t.{_HASH} IS NULL"
        )


_WRITTEN_AGAIN = "the table was written again; its rows have no key, so those with altered values are not counted"
_HASH, _ORDINAL = quote(ROW_HASH), quote(statements.ORDINAL)
_SAME = f"t.{_HASH} = s.{_HASH} AND t.{_ORDINAL} = s.{_ORDINAL}"


def _numbered(table: str) -> str:
    """Equal rows are numbered, so that each has one counterpart at most."""
    return f"(SELECT *, row_number() OVER (PARTITION BY {_HASH} ORDER BY {_HASH}) AS {_ORDINAL} FROM {table} AS r)"
