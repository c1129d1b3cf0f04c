"""Tables and collections that have a key of one kind, and are changed without a trace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient

from millrace import Incremental, Stream
from tests.conftest import unique
from tests.support.engine import Engine
from tests.support.key_cases import DocumentKeys, TableKeys

OLD = datetime(2001, 1, 1, tzinfo=UTC)


class Keyed(ABC):
    """A source whose rows have a key of one kind, a number, a body and an old stamp; rows are reached by number."""

    stream: Stream
    rows: int

    def insert_all(self) -> None:
        for number in range(self.rows):
            self.insert(number)

    @abstractmethod
    def spoil(self) -> None:
        """Give every row a value that no column can hold."""

    @abstractmethod
    def mend(self, number: int) -> None:
        """Take that value out of a row."""

    @abstractmethod
    def insert(self, number: int, body: str = "new") -> None: ...

    @abstractmethod
    def update(self, number: int, body: str) -> None: ...

    @abstractmethod
    def delete(self, number: int) -> None: ...

    @abstractmethod
    def held(self) -> list[tuple[Any, ...]]: ...

    def assert_delivered(self, engine: Engine) -> None:
        assert engine.rows(self.stream.table, "number", "body") == self.held()


class KeyedTable(Keyed):
    """Of Postgres."""

    moment_type, spoiled_type, spoiled, sound = "timestamptz", "numeric", "'NaN'", "1.5"

    def __init__(self, engine: Engine, keys: TableKeys) -> None:
        self._engine, self._keys, self.rows = engine, keys, len(keys.rows)
        self._name = unique("t")
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(keys.columns, keys.sql_types, strict=True))
        self._run(
            f"CREATE TABLE {self._name} ({columns}, number int, body text, stamped {self.moment_type}, "
            f"amount {self.spoiled_type})"
        )
        self.stream = Stream(self._name, f"{self._schema()}.{self._name}", keys.columns, Incremental("stamped"))

    def insert(self, number: int, body: str = "new") -> None:
        values = ", ".join(self._keys.rows[number])
        self._run(f"INSERT INTO {self._name} VALUES ({values}, {number}, '{body}', '{OLD:%Y-%m-%d}', NULL)")

    def spoil(self) -> None:
        self._run(f"UPDATE {self._name} SET amount = {self.spoiled}")

    def mend(self, number: int) -> None:
        self._run(f"UPDATE {self._name} SET amount = {self.sound} WHERE number = {number}")

    def update(self, number: int, body: str) -> None:
        self._run(f"UPDATE {self._name} SET body = '{body}' WHERE number = {number}")

    def delete(self, number: int) -> None:
        self._run(f"DELETE FROM {self._name} WHERE number = {number}")

    def held(self) -> list[tuple[Any, ...]]:
        return self._run(f"SELECT number, body FROM {self._name} ORDER BY 1")

    def _schema(self) -> str:
        return "postgres:public"

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        return self._engine.source(sql)


class KeyedMySQLTable(KeyedTable):
    """Of MySQL."""

    moment_type, spoiled_type, spoiled, sound = "datetime(6)", "date", "'0000-00-00'", "'2024-02-29'"

    def _schema(self) -> str:
        return f"mysql:{self._engine.mysql_url.rpartition('/')[2]}"

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        return self._engine.mysql("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00'", sql)


class KeyedCollection(Keyed):
    def __init__(self, client: MongoClient[dict[str, Any]], database: str, keys: DocumentKeys) -> None:
        self._keys, self.rows = keys, len(keys.rows)
        name = unique("c")
        self._documents = client[database][name]
        self.stream = Stream(name, f"mongo:{database}.{name}", keys.paths, Incremental("stamped"))

    def insert(self, number: int, body: str = "new") -> None:
        self._documents.insert_one({**self._keys.rows[number], "number": number, "body": body, "stamped": OLD})

    def spoil(self) -> None:
        self._documents.update_many({}, {"$set": {"amount": "\x00"}})

    def mend(self, number: int) -> None:
        self._documents.update_one({"number": number}, {"$set": {"amount": "1.5"}})

    def update(self, number: int, body: str) -> None:
        self._documents.update_one({"number": number}, {"$set": {"body": body}})

    def delete(self, number: int) -> None:
        self._documents.delete_one({"number": number})

    def held(self) -> list[tuple[Any, ...]]:
        return sorted((one["number"], one["body"]) for one in self._documents.find())
