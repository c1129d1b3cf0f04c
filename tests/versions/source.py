"""The source of a history: tables in Postgres, and the same rows in memory, which edits change together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.versions.rules import Key, Row


def now() -> datetime:
    """In UTC and without zone, as the source has its times."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass
class SourceTable:
    """``changed`` is its stamp, in UTC. ``loud`` are keys whose stamp has moved since the last read."""

    name: str
    keys: tuple[str, ...]
    types: dict[str, str]
    rows: dict[Key, Row] = field(default_factory=dict)
    loud: set[Key] = field(default_factory=set)
    _touched: dict[Key, None] = field(default_factory=dict)

    def key_of(self, row: Row) -> Key:
        return tuple(row[name] for name in self.keys)

    def put(self, row: Row, *, is_silent: bool = False) -> None:
        """In place of the row of its key, if there is one; a silent change keeps that one's stamp."""
        key = self.key_of(row)
        is_silent = is_silent and key in self.rows
        self.rows[key] = {**row, "changed": self.rows[key]["changed"] if is_silent else datetime.now(UTC)}
        self.loud |= set() if is_silent else {key}
        self._touched[key] = None

    def delete(self, key: Key) -> None:
        del self.rows[key]
        self.loud.discard(key)
        self._touched[key] = None

    def create(self, cursor: Any) -> None:
        """The table, empty."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.types.items())
        cursor.execute(f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({', '.join(self.keys)}))")

    def write(self, cursor: Any) -> None:
        """What was changed since the last time, into the server."""
        same = " AND ".join(f"{name} = %s" for name in self.keys)
        for key in self._touched:
            cursor.execute(f"DELETE FROM {self.name} WHERE {same}", key)
        rows = [self.rows[key] for key in self._touched if key in self.rows]
        self._insert(cursor, rows)
        self._touched.clear()

    def _insert(self, cursor: Any, rows: Sequence[Row]) -> None:
        if rows:
            names = list(self.types)
            one = f"({', '.join(['%s'] * len(names))})"
            values = [row[name] for row in rows for name in names]
            cursor.execute(
                f"INSERT INTO {self.name} ({', '.join(names)}) VALUES {', '.join([one] * len(rows))}", values
            )


def drop(cursor: Any, tables: Iterable[SourceTable]) -> None:
    """All of them."""
    cursor.execute(f"DROP TABLE IF EXISTS {', '.join(table.name for table in tables)}")
