"""A MongoDB collection under test.

Late commits are written with the stamp they would have had: one that lies back by less than the stream's overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from bson import Decimal128, ObjectId
from pymongo import MongoClient

from millrace.base.types import INT64, DataType, decimal, text
from tests.torture.source import KeyKind, ShapeChange, SourceUnderTest, Stamp, Transaction
from tests.torture.values import NOT_A_NUMBER, Key, Row

OVERLAP = timedelta(seconds=1)
LATEST_SHARE = 0.8
"""Of the overlap, by which a late commit may lie back."""
PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int,), "text": (str,), "number": (Decimal,), "double": (float, int), "flag": (bool,),
    "moment": (datetime,), "grade": (int,), "big": (int,), "document": (list,),
}  # fmt: skip
FIELDS = ("integer", "text", "number", "double", "flag", "moment", "document")
"""Kinds of fields that appear later; a document is an array here, since embedded ones become columns."""


class MongoCollection(SourceUnderTest):
    """Rows are documents: the path ``details.a`` is a field of an embedded one."""

    overlap: timedelta | None = OVERLAP
    types: Mapping[str, DataType] = {
        "body": text(), "amount": decimal(12, 2), "grade": INT64, "details.a": INT64, "details.b": text(),
    }  # fmt: skip

    def __init__(self, url: str, database: str, name: str, key_kind: KeyKind) -> None:
        super().__init__(name, key_kind)
        self.reference = f"mongo:{database}.{name}"
        self.keys = ("region", "id") if key_kind == "pair" else ("_id",)
        self.kinds = {"body": "text", "amount": "number", "grade": "grade", "at": "moment", "tags": "document"}
        self.kinds |= {"details.a": "integer", "details.b": "text"}
        self._client = MongoClient[dict[str, Any]](url, tz_aware=True)
        self._collection = self._client[database].create_collection(name)

    def fresh_values(self, dice: Random, share: float = 1.0) -> Row:
        values = super().fresh_values(dice, share)
        return {path: _storable(value) for path, value in values.items()}

    def insert(self, rows: Sequence[Row], stamp: Stamp) -> None:
        self.insert_at(rows, _moment_of(stamp))

    def insert_at(self, rows: Sequence[Row], moment: datetime | None) -> None:
        """All with one stamp; one that is None is left out of half of the documents."""
        stamped = {self.stamp: moment} if moment or len(rows) % 2 else {}
        self._collection.insert_many([_nested({**self._identity(row), **row, **stamped}) for row in rows])

    def update(self, key: Key, values: Row, stamp: Stamp) -> None:
        self.update_at(key, values, {} if stamp == "same" else {self.stamp: _moment_of(stamp)})

    def update_at(self, key: Key, values: Row, stamped: Row) -> None:
        """A value that is None takes the field away."""
        changed = {path: _bson(value) for path, value in {**values, **stamped}.items()}
        sets = {path: value for path, value in changed.items() if value is not None}
        unsets = {path: "" for path, value in changed.items() if value is None}
        changes = ({"$set": sets} if sets else {}) | ({"$unset": unsets} if unsets else {})
        if changes:
            self._collection.update_one(self._query(key), changes)

    def delete(self, key: Key) -> None:
        self._collection.delete_one(self._query(key))

    def restore(self, row: Row) -> None:
        held = {path: value for path, value in row.items() if path in {*self.keys, *self.kinds, self.stamp}}
        self._collection.insert_one(_nested({**self._identity(row), **held}))

    def begin(self) -> Transaction:
        return _Late(self)

    def contents(self) -> dict[Key, Row]:
        rows = [_flat(document) for document in self._collection.find()]
        return {tuple(row[key] for key in self.keys): row for row in rows}

    def change_shape(self, dice: Random) -> ShapeChange | None:
        extras = [path for path in self.kinds if path.startswith("extra")]
        if extras and dice.random() < 0.3:
            path = dice.choice(extras)
            self._collection.update_many({}, {"$unset": {path: ""}})
            del self.kinds[path]
            return ShapeChange(f"{path} disappears", rewrites=True)
        kind = dice.choice(FIELDS)
        path = self.fresh_name(kind)
        self.kinds[path] = kind
        return ShapeChange(f"{path} appears", rewrites=False)

    def bad_values(self, dice: Random, delivered: set[str]) -> Row:
        typed = [path for path, kind in self.kinds.items() if kind != "document" and path in {*delivered, *self.types}]
        path = dice.choice(typed)
        wrong: dict[str, Any] = {"text": dice.choice((17, "a\0b")), "number": NOT_A_NUMBER, "flag": 1, "double": "0.5"}
        return {path: wrong.get(self.kinds[path], "no " + self.kinds[path])}

    def is_bad(self, row: Row) -> bool:
        return any(not _fits(self.kinds[path], value) for path, value in row.items() if path in self.kinds)

    def key_at(self, coordinates: Mapping[str, Any], rows: Mapping[Key, Row]) -> Key:
        identity = coordinates["_id"]
        return next((key for key, row in rows.items() if row["_id"] == str(identity)), (identity,))

    def drop(self) -> None:
        self._collection.drop()
        self._client.close()

    def _identity(self, row: Row) -> Row:
        return {"_id": ObjectId()} if self.key_kind == "pair" else {}

    def _query(self, key: Key) -> Row:
        return dict(zip(self.keys, key, strict=True))


class _Late(Transaction):
    """Writes that are kept back until the commit."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection, self.touched = collection, set()
        self._inserts: list[Sequence[Row]] = []
        self._updates: list[tuple[Key, Row]] = []

    def insert(self, rows: Sequence[Row]) -> None:
        self._inserts.append(rows)

    def update(self, key: Key, values: Row) -> None:
        self._updates.append((key, values))

    def end(self, *, commit: bool) -> None:
        if not commit:
            return
        early = datetime.now(UTC) - OVERLAP * LATEST_SHARE
        for rows in self._inserts:
            self._collection.insert_at(rows, early)
        for key, values in self._updates:
            self._collection.update_at(key, values, {self._collection.stamp: early})


def _moment_of(stamp: Stamp) -> datetime | None:
    now = datetime.now(UTC)
    return {"now": now, "never": None, "ahead": now + timedelta(days=1), "same": None}[stamp]


def _storable(value: Any) -> Any:
    """Moments have milliseconds there; the only documents that stay documents are arrays."""
    if isinstance(value, datetime):
        return value.replace(microsecond=value.microsecond // 1000 * 1000)
    return [value] if isinstance(value, dict) else value


def _bson(value: Any) -> Any:
    return Decimal128(value) if isinstance(value, Decimal) else value


def _nested(row: Row) -> Row:
    document: Row = {}
    for path, value in row.items():
        *outer, field = path.split(".")
        inner = document
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[field] = _bson(value)
    return document


def _flat(document: Row, prefix: str = "") -> Row:
    row: Row = {}
    for field, value in document.items():
        if isinstance(value, dict):
            row |= _flat(value, f"{prefix}{field}.")
        else:
            row[prefix + field] = _plain(value)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return str(value) if isinstance(value, ObjectId) else value


def _fits(kind: str, value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, Decimal) and value.is_nan():
        return False
    if isinstance(value, str) and "\0" in value:
        return False
    return isinstance(value, PYTHON_TYPES[kind]) and isinstance(value, bool) == (kind == "flag")
