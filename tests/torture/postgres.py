"""A Postgres table under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from random import Random
from typing import Any

import psycopg2
from psycopg2.extras import Json

from millrace.base.naming import quote, quote_list
from millrace.base.types import DataType
from tests.torture.source import KeyKind, ShapeChange, SourceUnderTest, Stamp, Transaction
from tests.torture.values import NOT_A_NUMBER, Key, Row, value_of

TYPES = {
    "flag": "boolean", "small": "smallint", "integer": "integer", "big": "bigint", "grade": "bigint",
    "number": "numeric(12,2)", "real": "real", "double": "double precision", "short": "varchar(20)", "text": "text",
    "day": "date", "naive": "timestamp", "moment": "timestamptz", "document": "jsonb",
}  # fmt: skip
WIDER = {
    "small": ("integer", "integer"), "integer": ("big", "bigint"), "big": ("big", "numeric(24,3)"),
    "number": ("number", "numeric(16,4)"), "real": ("double", "double precision"), "short": ("text", "text"),
    "day": ("naive", "timestamp"),
}  # fmt: skip
"""By kind: the kind whose values fit from then on, and the type."""
STAMPS = {"now": "now()", "never": "NULL", "ahead": "now() + interval '1 day'"}
KEY_TYPES = {
    "number": {"id": "bigint"}, "text": {"id": "text"}, "pair": {"region": "text", "id": "integer"},
}  # fmt: skip
SETTINGS = "SET lock_timeout = '20s'; SET TimeZone = %s"


class PostgresTable(SourceUnderTest):
    """``is_naive``: its stamps have no time zone; they are written in ``zone``, which is UTC if it is empty."""

    types: Mapping[str, DataType] = {}

    def __init__(
        self, url: str, name: str, key_kind: KeyKind, *, overlap: timedelta | None, is_naive: bool, zone: str = ""
    ) -> None:
        super().__init__(name, key_kind)
        self._zone = zone or "UTC"
        self._url, self._table, self.overlap = url, quote("public", name), overlap
        self.reference = f"postgres:public.{name}"
        self.keys = tuple(KEY_TYPES[key_kind])
        self.kinds = {"body": "text", "amount": "number", "grade": "grade", "data": "document", "at": "moment"}
        self._connection = self.connect()
        self._connection.autocommit = True
        columns = [f"{quote(key)} {type_name}" for key, type_name in KEY_TYPES[key_kind].items()]
        columns += [f"{quote(path)} {TYPES[kind]}" for path, kind in self.kinds.items()]
        columns += [f"{quote(self.stamp)} {'timestamp' if is_naive else 'timestamptz'}"]
        self._run(f"CREATE TABLE {self._table} ({', '.join(columns)}, PRIMARY KEY ({quote_list(self.keys)}))")

    def connect(self) -> Any:
        """A connection of one's own, that does not wait for ever for another one's lock."""
        connection = psycopg2.connect(self._url)
        with connection, connection.cursor() as cursor:
            cursor.execute(SETTINGS, [self._zone])
        return connection

    def insert(self, rows: Sequence[Row], stamp: Stamp) -> None:
        self.insert_with(self._connection, rows, stamp)

    def insert_with(self, connection: Any, rows: Sequence[Row], stamp: Stamp) -> None:
        """On any connection; one statement, so one stamp."""
        paths = [*self.keys, *self.kinds]
        values = f"({', '.join(['%s'] * len(paths))}, {STAMPS[stamp]})"
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {self._table} ({quote_list([*paths, self.stamp])}) VALUES "
                + ", ".join([values] * len(rows)),
                [self._adapted(path, row.get(path)) for row in rows for path in paths],
            )

    def update(self, key: Key, values: Row, stamp: Stamp) -> None:
        self.update_with(self._connection, key, values, stamp)

    def update_with(self, connection: Any, key: Key, values: Row, stamp: Stamp) -> None:
        """On any connection."""
        sets = [f"{quote(path)} = %s" for path in values]
        sets += [f"{quote(self.stamp)} = {STAMPS[stamp]}"] if stamp != "same" else []
        if not sets:
            return
        parameters = [self._adapted(path, value) for path, value in values.items()]
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {self._table} SET {', '.join(sets)} WHERE {self._is_key}", [*parameters, *key])

    def delete(self, key: Key) -> None:
        self._run(f"DELETE FROM {self._table} WHERE {self._is_key}", key)

    def restore(self, row: Row) -> None:
        paths = [*self.keys, *self.kinds, self.stamp]
        self._run(
            f"INSERT INTO {self._table} ({quote_list(paths)}) VALUES ({', '.join(['%s'] * len(paths))})",
            [self._adapted(path, row.get(path)) for path in paths],
        )

    def begin(self) -> Transaction:
        return _Late(self)

    def contents(self) -> dict[Key, Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {self._table}")
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {tuple(row[key] for key in self.keys): row for row in rows}

    def change_shape(self, dice: Random) -> ShapeChange | None:
        return dice.choice((self._add, self._add, self._drop, self._rename, self._widen))(dice)

    def bad_values(self, dice: Random, delivered: set[str]) -> Row:
        return {"amount": NOT_A_NUMBER}

    def is_bad(self, row: Row) -> bool:
        amount = row.get("amount")
        return amount is not None and amount.is_nan()

    def key_at(self, coordinates: Mapping[str, Any], rows: Mapping[Key, Row]) -> Key:
        """A row that could not be decoded is named by the texts of its key."""
        found = [str(coordinates[key]) for key in self.keys]
        return next((key for key in rows if [*map(str, key)] == found), tuple(found))

    def drop(self) -> None:
        self._run(f"DROP TABLE {self._table}")
        self._connection.close()

    @property
    def _is_key(self) -> str:
        return " AND ".join(f"{quote(key)} = %s" for key in self.keys)

    def _adapted(self, path: str, value: Any) -> Any:
        return Json(value) if value is not None and self.kinds.get(path) == "document" else value

    def _run(self, sql: str, parameters: Sequence[Any] | None = None) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    def _add(self, dice: Random) -> ShapeChange:
        kind = dice.choice(sorted(TYPES))
        path, default = self.fresh_name(kind), value_of(kind, dice) if dice.random() < 0.5 else None
        with self._connection.cursor() as cursor:
            value = cursor.mogrify("%s", [Json(default) if kind == "document" else default]).decode()
        clause = "" if default is None else f" DEFAULT {value}"
        self._run(f"ALTER TABLE {self._table} ADD COLUMN {quote(path)} {TYPES[kind]}{clause}")
        self.kinds[path] = kind
        return ShapeChange(f"add {path}{clause}", rewrites=default is not None)

    def _drop(self, dice: Random) -> ShapeChange | None:
        path = self._extra(dice)
        if path is None:
            return None
        self._run(f"ALTER TABLE {self._table} DROP COLUMN {quote(path)}")
        del self.kinds[path]
        return ShapeChange(f"drop {path}", rewrites=True)

    def _rename(self, dice: Random) -> ShapeChange | None:
        path = self._extra(dice)
        if path is None:
            return None
        self.additions += 1
        renamed = f"{path.upper().replace('_', ' ')}-{self.additions}" if dice.random() < 0.5 else f"{path}_ü"
        self._run(f"ALTER TABLE {self._table} RENAME COLUMN {quote(path)} TO {quote(renamed)}")
        self.kinds[renamed] = self.kinds.pop(path)
        return ShapeChange(f"rename {path} to {renamed}", rewrites=True)

    def _widen(self, dice: Random) -> ShapeChange | None:
        path = dice.choice([path for path, kind in self.kinds.items() if kind in WIDER] or [""])
        if not path:
            return None
        is_day = self.kinds[path] == "day"
        self.kinds[path], type_name = WIDER[self.kinds[path]]
        self._run(f"ALTER TABLE {self._table} ALTER COLUMN {quote(path)} TYPE {type_name}")
        return ShapeChange(f"widen {path} to {type_name}", rewrites=False, rehashes=is_day)

    def _extra(self, dice: Random) -> str | None:
        extras = [path for path in self.kinds if path.lower().startswith("extra")]
        return dice.choice(extras) if extras else None


class _Late(Transaction):
    """A transaction of Postgres: its now() is the moment of its first statement, whenever it commits."""

    def __init__(self, table: PostgresTable) -> None:
        self._table, self._connection, self.touched = table, table.connect(), set()
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT now()")

    def insert(self, rows: Sequence[Row]) -> None:
        self._table.insert_with(self._connection, rows, "now")

    def update(self, key: Key, values: Row) -> None:
        self._table.update_with(self._connection, key, values, "now")

    def end(self, *, commit: bool) -> None:
        with closing(self._connection) as connection:
            connection.commit() if commit else connection.rollback()
