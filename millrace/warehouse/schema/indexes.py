"""Indexes: the columns by which rows of a target are found, in a warehouse that has indexes.

An index holds texts of limited length only. Texts are measured before they are loaded, so that an index is dropped
before a text would be too long for it; it is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.base.naming import quote
from millrace.base.types import DataType, Kind
from millrace.warehouse.bind_statements import is_unbound
from millrace.warehouse.schema.column_changes import Change
from millrace.warehouse.schema.form_changes import CreateIndex, DropIndex, Notice
from millrace.warehouse.target import Target

INDEX_BYTES = 2_000
"""The greatest size of the texts of one row in an index. Postgres's limit is 2,704, which includes some overhead."""
MAX_COLUMNS = 8
MADE, TOO_LONG, NOT_OURS = "made", "too long", "not ours"
_OWNED = """
SELECT pg_has_role(t.relowner, 'USAGE') FROM pg_catalog.pg_class AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace WHERE n.nspname = %s AND t.relname = %s
"""

_HELD = """
SELECT i.relname, (
    SELECT string_agg(a.attname, ',' ORDER BY k.position)
    FROM unnest(x.indkey::int[]) WITH ORDINALITY AS k(number, position)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number
), x.indpred IS NOT NULL
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE n.nspname = %s AND t.relname = %s AND x.indisvalid
"""


@dataclass(frozen=True)
class Index:
    """An index of a table."""

    table: str
    """Name of the table."""
    columns: tuple[str, ...]
    """The columns that are indexed."""
    where: str = ""
    """The condition of the rows that are indexed ('': all)."""

    @property
    def name(self) -> str:
        """The name under which its state is recorded."""
        return f"{self.table}:{','.join(self.columns)}" + (f" where {self.where}" if self.where else "")


def find_wanted_indexes(target: Target) -> list[Index]:
    """Return the indexes by which loads find rows of a target."""
    if not target.dialect.has_indexes:
        return []
    keys = target.keys[:MAX_COLUMNS]
    found: list[tuple[tuple[str, ...], str]] = [(columns, "") for columns in target.load.index_columns(keys)]
    root_columns = target.derivation.root_columns
    if root_columns and root_columns != keys[: len(root_columns)]:
        found.append((root_columns[:MAX_COLUMNS], ""))
    found += [((*bind.keys[:MAX_COLUMNS], bind.at), "") for bind in target.relations.binds]
    found += [((bind.column,), is_unbound(bind)) for bind in target.relations.binds]
    return [Index(target.table.name, columns, where) for columns, where in dict.fromkeys(found)]


class Indexes:
    """The indexes of one target, and which of them have to be made or dropped."""

    def __init__(
        self, target: Target, columns: Mapping[str, DataType | None], longest_bytes: Mapping[str, int]
    ) -> None:
        self._target = target
        self._table = target.table
        self._texts = {
            name
            for name, data_type in columns.items()
            if data_type is not None and data_type.kind in {Kind.TEXT, Kind.BINARY}
        }
        self._longest_bytes = longest_bytes

    def of_new_table(self) -> dict[Index, str]:
        """Return all indexes of a new table, each with its state."""
        return {
            index: TOO_LONG if self._bytes(index) > INDEX_BYTES else MADE for index in find_wanted_indexes(self._target)
        }

    def find_changes(self, connection: Any, recorded: Mapping[str, str]) -> tuple[list[Change], dict[str, str]]:
        """Return the changes of the indexes of an existing table, and their states after the changes."""
        states: dict[str, str] = {}
        changes: list[Change] = []
        for index in find_wanted_indexes(self._target):
            state = recorded.get(index.name, "")
            if state == MADE and self._bytes(index) > INDEX_BYTES:
                changes += [
                    DropIndex(self._table, name, index.columns) for name in self._find_existing(connection, index)
                ]
                state = TOO_LONG
            elif not state:
                state = self._find_state(connection, index)
                if state == MADE and not self._find_existing(connection, index):
                    missing = CreateIndex(self._table, index.columns, index.where)
                    state = MADE if self._is_owned(connection) else NOT_OURS
                    changes.append(missing if state == MADE else self._suggest(missing))
            states[index.name] = state
        return changes, states

    def _bytes(self, index: Index) -> int:
        return sum(self._longest_bytes.get(name, 0) for name in self._texts & {*index.columns})

    def _find_state(self, connection: Any, index: Index) -> str:
        """Return the state of an index by the rows of the table, which nobody has measured."""
        texts = sorted(self._texts & {*index.columns})
        if not texts:
            return MADE
        lengths = " + ".join(f"coalesce(octet_length({quote(name)}), 0)" for name in texts)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT coalesce(max({lengths}), 0) FROM {self._target.quoted}")
            longest = int(cursor.fetchone()[0])
        return TOO_LONG if max(longest, self._bytes(index)) > INDEX_BYTES else MADE

    def _is_owned(self, connection: Any) -> bool:
        """Return whether this user may make an index: only the owner of a table may, not every user who writes it."""
        with connection.cursor() as cursor:
            cursor.execute(_OWNED, (self._target.table.schema, self._target.table.name))
            return bool(cursor.fetchone()[0])

    def _suggest(self, missing: CreateIndex) -> Notice:
        statement = missing.sql()[0]
        return Notice(
            self._table,
            f"{self._table} belongs to another user, who may make loads cheaper: {statement}",
        )

    def _find_existing(self, connection: Any, index: Index) -> Sequence[str]:
        """Return the names of the indexes on these columns."""
        with connection.cursor() as cursor:
            cursor.execute(_HELD, (self._target.table.schema, self._target.table.name))
            return [
                name
                for name, columns, is_partial in cursor.fetchall()
                if columns == ",".join(index.columns) and is_partial == bool(index.where)
            ]
