"""The difference of staged rows and a target: rows that differ, and keys that only one side has.

The same comparison by key and row hash serves every load, every sweep, and reconciliation, which compares a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from millrace.base.naming import DELETED_AT, ROW_HASH, quote, quote_list
from millrace.base.types import Column
from millrace.warehouse.distribution import distribution_of_batch
from millrace.warehouse.statements import IS_NEW, holds_other_values, match, staged_rows, staged_values
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Difference:
    """The difference of two relations, as conditions and joins: staged rows are ``s``, rows of the target ``t``."""

    staged: str
    """The relation of the staged rows, as SQL."""
    rows: str
    """The relation of the rows of the target, as SQL."""
    keys: Sequence[str]
    """The columns that identify a row on both sides."""
    marks_deleted: bool = False
    """Whether rows of the target may be marked as deleted.

    A marked row differs from a staged row of its key, and is not absent if there is no staged row.
    """
    values: Mapping[str, str] = field(default_factory=dict)
    """Staged values in the types of the target, as SQL by column; other columns are compared as they are staged."""

    @property
    def is_new(self) -> str:
        """The condition that the target has no row of a staged key."""
        return f"t.{quote(self.keys[0])} IS NULL"

    @property
    def is_changed(self) -> str:
        """The condition that a staged row is new, or differs from the row of its key."""
        row_hash = quote(ROW_HASH)
        is_back = f" OR t.{quote(DELETED_AT)} IS NOT NULL" if self.marks_deleted else ""
        return f"({self.is_new} OR t.{row_hash} IS NULL OR t.{row_hash} <> s.{row_hash}{is_back})"

    @property
    def is_absent(self) -> str:
        """The condition that no staged row has the key of a row of the target."""
        return f"s.{quote(self.keys[0])} IS NULL"

    @property
    def is_unmarked(self) -> str:
        """The condition that a row of the target is not marked as deleted."""
        return f"t.{quote(DELETED_AT)} IS NULL" if self.marks_deleted else "1 = 1"

    @property
    def staged_with_rows(self) -> str:
        """Every staged row, with the row of the target that has its key."""
        return f"{self.staged} AS s LEFT JOIN {self.rows} AS t ON {self._matches}"

    @property
    def rows_with_staged(self) -> str:
        """Every row of the target, with the staged row that has its key."""
        return f"{self.rows} AS t LEFT JOIN {self.staged} AS s ON {self._matches}"

    @property
    def both(self) -> str:
        """The rows of both sides; rows with the same key are joined."""
        return f"{self.staged} AS s FULL JOIN {self.rows} AS t ON {self._matches}"

    @property
    def common(self) -> str:
        """The rows whose keys both sides have."""
        return f"{self.staged} AS s JOIN {self.rows} AS t ON {self._matches}"

    def count_changed(self) -> str:
        """Count the staged rows that are new or differ."""
        return f"SELECT count(*) FROM {self.staged_with_rows} WHERE {self.is_changed}"

    @property
    def _matches(self) -> str:
        staged = {key: self.values.get(key, f"s.{quote(key)}") for key in self.keys}
        return " AND ".join(f"t.{quote(key)} = {value}" for key, value in staged.items())


def difference_of(target: Target, columns: Sequence[Column], rows: str = "", latest: str | None = None) -> Difference:
    """Return the difference of a target (or only of its ``rows``) and its stage, which has these columns.

    ``latest`` is explained in ``statements.staged_rows``.
    """
    values = staged_values(target, columns)
    return Difference(staged_rows(target, latest), rows or target.quoted, target.keys, target.marks_deleted, values)


def create_changed(
    target: Target,
    columns: Sequence[Column],
    latest: str | None,
    *,
    only_new: bool = False,
    by_value: bool = False,
    rows: int = 0,
) -> str:
    """Write the staged rows that differ from the target into the table of changed rows.

    They differ by their row hash or, with ``by_value``, by a value. With ``only_new``, only rows are written whose keys
    the target lacks. ``latest`` is explained in ``statements.staged_rows``.
    """
    difference = difference_of(target, columns, _rows_of_batch(target, columns), latest)
    row_hash, distribution = quote(ROW_HASH), distribution_of_batch(target, rows)
    selected = [f"{value} AS {quote(name)}" for name, value in difference.values.items()]
    is_new = f"CASE WHEN {difference.is_new} THEN 1 ELSE 0 END AS {quote(IS_NEW)}"
    where = difference.is_new if only_new else difference.is_changed
    if by_value:
        is_altered = holds_other_values(target, columns, "t", difference.values)
        where += f" OR (t.{row_hash} = s.{row_hash} AND ({is_altered}))"
    return (
        f"CREATE TEMPORARY TABLE {quote(target.temporary.changed_rows)}{distribution} AS SELECT {', '.join(selected)}, "
        f"s.{row_hash} AS {row_hash}, {is_new} FROM {difference.staged_with_rows} WHERE {where}"
    )


def _rows_of_batch(target: Target, columns: Sequence[Column]) -> str:
    """Return the rows of the target whose keys are staged, as SQL; '' for a warehouse that finds them by an index.

    Without them a join moves key and row hash of every row of the target from node to node.
    """
    if not target.dialect.distribution:
        return ""
    staged = staged_values(target, columns, "k$")
    same = " AND ".join(f"{staged.get(key, f'k$.{quote(key)}')} = {target.quoted}.{quote(key)}" for key in target.keys)
    is_staged = f"EXISTS (SELECT 1 FROM {quote(target.temporary.stage)} AS k$ WHERE {same})"
    return f"(SELECT * FROM {target.quoted} WHERE {is_staged})"


def count_unlike_target(target: Target, columns: Sequence[Column]) -> str:
    """Count the staged rows whose key the target has with other content."""
    row_hash = quote(ROW_HASH)
    return f"SELECT count(*) FROM {difference_of(target, columns).common} WHERE t.{row_hash} <> s.{row_hash}"


def find_absent(target: Target, live_rows: str, columns: Sequence[Column]) -> str:
    """Write the keys of live rows that a complete stage lacks into the table of deleted keys.

    Without ``columns`` nothing is staged, because the source has no row.
    """
    rows, where = _absent_rows(target, live_rows, columns)
    return (
        f"CREATE TEMPORARY TABLE {quote(target.temporary.deleted_keys)} AS SELECT {quote_list(target.keys, 't.')} "
        f"FROM {rows} WHERE {where}"
    )


def find_orphans(target: Target, live_rows: str, columns: Sequence[Column], *, is_new: bool) -> str:
    """Write the keys of live rows that hold one of the root's keys and are not staged into the table of deleted keys.

    The table is created if it ``is_new``.
    """
    rows, where = _absent_rows(target, live_rows, columns)
    deleted_keys = quote(target.temporary.deleted_keys)
    into = (
        f"CREATE TEMPORARY TABLE {deleted_keys} AS"
        if is_new
        else f"INSERT INTO {deleted_keys} ({quote_list(target.keys)})"
    )
    roots = f"JOIN {quote(target.temporary.root_keys)} AS l ON {match('t', 'l', target.derivation.root_columns)}"
    return f"{into} SELECT DISTINCT {quote_list(target.keys, 't.')} FROM {rows} {roots} WHERE {where}"


def _absent_rows(target: Target, live_rows: str, columns: Sequence[Column]) -> tuple[str, str]:
    """Return a relation of live rows, and the condition that a row is neither staged nor marked as deleted."""
    difference = difference_of(target, columns, live_rows)
    if not columns:
        return f"{live_rows} AS t", difference.is_unmarked
    return difference.rows_with_staged, f"{difference.is_absent} AND {difference.is_unmarked}"
