"""What is replicated while faults strike: a table and a collection of notes, how they change and what they hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from pymongo import MongoClient

from millrace import Incremental, Stream
from tests.faults.places import Places

Row = tuple[Any, ...]
ROWS = 12


class Subject(ABC):
    """A stream and its source. A row is its key, a text, a number and its stamp; a value is never written twice."""

    stream: Stream
    columns: tuple[str, ...]

    def __init__(self) -> None:
        self._changes = 0

    def change(self, *, deletes: bool = False) -> None:
        """Insert two rows, update two; with ``deletes`` also take out one and change another without a stamp."""
        self._changes += 1
        first = 1000 * self._changes
        self.insert(first, first + 1)
        keys = [row[0] for row in self.held()]
        self.update(keys[0], f"change {self._changes}")
        self.update(keys[len(keys) // 2], f"change {self._changes}")
        if deletes:
            self.update(keys[-1], f"silent change {self._changes}", stamped=False)
            self.delete(keys[1])

    def named(self, name: str) -> Stream:
        """The stream under another name: one that was never loaded."""
        return replace(self.stream, name=name)

    @abstractmethod
    def insert(self, first: int, last: int) -> None:
        """Insert rows with the keys from first to last."""

    @abstractmethod
    def update(self, key: int, body: str, *, stamped: bool = True) -> None:
        """Change a row."""

    @abstractmethod
    def delete(self, key: int) -> None:
        """Take a row out."""

    @abstractmethod
    def held(self) -> list[Row]:
        """All rows, by key."""


class Table(Subject):
    """In Postgres. No overlap: a position that moved too far loses rows."""

    stream = Stream("notes", "postgres:public.notes", "id", Incremental("changed", overlap=timedelta(0)))
    columns = ("id", "body", "amount", "changed")

    def __init__(self, places: Places, rows: int = ROWS) -> None:
        super().__init__()
        self._connection = psycopg2.connect(places.postgres_url)
        self._connection.autocommit = True
        self._run(
            "CREATE TABLE notes (id bigint PRIMARY KEY, body text, amount numeric(12,2), "
            "changed timestamptz DEFAULT clock_timestamp())"
        )
        self.insert(1, rows)

    def insert(self, first: int, last: int) -> None:
        self._run(
            f"INSERT INTO notes SELECT i, 'note ' || i, round(i / 7.0, 2) FROM generate_series({first}, {last}) AS i"
        )

    def update(self, key: int, body: str, *, stamped: bool = True) -> None:
        stamp = ", changed = clock_timestamp()" if stamped else ""
        self._run(f"UPDATE notes SET body = '{body}'{stamp} WHERE id = {key}")

    def delete(self, key: int) -> None:
        self._run(f"DELETE FROM notes WHERE id = {key}")

    def held(self) -> list[Row]:
        return self._run("SELECT id, body, amount, changed FROM notes ORDER BY id")

    def _run(self, sql: str) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []


class Collection(Subject):
    """In MongoDB."""

    columns = ("_id", "body", "amount", "changed")

    def __init__(self, places: Places, database: str, rows: int = ROWS) -> None:
        super().__init__()
        self._papers = MongoClient[dict[str, Any]](places.mongo_url, tz_aware=True)[database]["papers"]
        self.stream = Stream("papers", f"mongo:{database}.papers", "_id", Incremental("changed"))
        self.insert(1, rows)

    def insert(self, first: int, last: int) -> None:
        self._papers.insert_many(
            {"_id": key, "body": f"note {key}", "amount": key * 7, "changed": _now()} for key in range(first, last + 1)
        )

    def update(self, key: int, body: str, *, stamped: bool = True) -> None:
        self._papers.update_one({"_id": key}, {"$set": {"body": body} | ({"changed": _now()} if stamped else {})})

    def delete(self, key: int) -> None:
        self._papers.delete_one({"_id": key})

    def held(self) -> list[Row]:
        return [tuple(document[name] for name in self.columns) for document in self._papers.find().sort("_id")]


def _now() -> datetime:
    return datetime.now(UTC)
