"""A table of notes in each kind of source, as the subject of the tests that hold for every kind."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
from pymongo import MongoClient

from local.mysql import connect as connect_mysql
from millrace import Incremental, Stream
from millrace.drivers.mongo_client import open_client
from millrace.sources.chunk import Source
from millrace.sources.mongo import MongoSource
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource
from tests.extending.sqlite_source import SQLiteSource

CHUNK_BYTES = 4 * 1024 * 1024
CAPTURE = Incremental("changed", overlap=timedelta(0))


@dataclass
class Subject(ABC):
    """A table with the columns id, body and changed, which is empty at first, and the source that reads it."""

    address: str
    schema: str
    kind = ""

    def stream(self, table: str = "notes", capture: Incremental = CAPTURE) -> Stream:
        """A stream of a table, by default that of the notes."""
        return Stream(table, f"{self.kind}:{self.schema}.{table}", "id", capture)

    @abstractmethod
    def make_table(self) -> None: ...

    @abstractmethod
    def insert(self, number: int, body: str | None, changed: datetime | None) -> None: ...

    @abstractmethod
    def delete(self, number: int) -> None: ...

    @abstractmethod
    def open(self, address: str, chunk_bytes: int) -> Any:
        """Return the source at an address, in an asynchronous context."""

    def source(self, chunk_bytes: int = CHUNK_BYTES) -> Any:
        """Return the source, in an asynchronous context."""
        return self.open(self.address, chunk_bytes)

    @property
    @abstractmethod
    def dead_address(self) -> str:
        """Return an address at which nothing answers."""


class TableSubject(Subject):
    """Rows by SQL."""

    integer, text, moment, mark = "bigint", "text", "timestamptz", "%s"

    @abstractmethod
    def connect(self) -> Any: ...

    def run(self, statement: str, *parameters: Any) -> None:
        with closing(self.connect()) as connection:
            closing(connection.cursor()).__enter__().execute(statement, parameters)
            connection.commit()

    def make_table(self) -> None:
        self.run(f"CREATE TABLE notes (id {self.integer} PRIMARY KEY, body {self.text}, changed {self.moment})")

    def insert(self, number: int, body: str | None, changed: datetime | None) -> None:
        values = ", ".join([self.mark] * 3)
        self.run(f"INSERT INTO notes VALUES ({values})", number, body, self.stored(changed))

    def delete(self, number: int) -> None:
        self.run(f"DELETE FROM notes WHERE id = {self.mark}", number)

    def stored(self, changed: datetime | None) -> Any:
        return changed


class PostgresSubject(TableSubject):
    kind = "postgres"
    dead_address = "postgresql://nobody@127.0.0.1:1/nothing"

    def connect(self) -> Any:
        return psycopg2.connect(self.address)

    @asynccontextmanager
    async def open(self, address: str, chunk_bytes: int) -> AsyncIterator[Source]:
        yield PostgresSource(lambda: psycopg2.connect(address), chunk_bytes)


class MySQLSubject(TableSubject):
    kind, moment = "mysql", "datetime(6) NULL"
    text = "text CHARACTER SET utf8mb4"
    dead_address = "mysql://nobody@127.0.0.1:1/nothing"

    def connect(self) -> Any:
        return connect_mysql(self.address)

    def stored(self, changed: datetime | None) -> Any:
        return changed and changed.astimezone(UTC).replace(tzinfo=None)

    @asynccontextmanager
    async def open(self, address: str, chunk_bytes: int) -> AsyncIterator[Source]:
        yield MySQLSource(lambda: connect_mysql(address), chunk_bytes)


class SQLiteSubject(TableSubject):
    kind, integer, moment, mark = "sqlite", "INTEGER", "DATETIME", "?"

    @property
    def dead_address(self) -> str:
        return str(Path(self.address).with_name("nothing.db"))

    def make_table(self) -> None:
        sqlite3.connect(self.address).execute("PRAGMA journal_mode = WAL")
        super().make_table()

    def connect(self) -> Any:
        return sqlite3.connect(self.address)

    def stored(self, changed: datetime | None) -> Any:
        return changed and changed.astimezone(UTC).replace(tzinfo=None).isoformat(" ")

    @asynccontextmanager
    async def open(self, address: str, chunk_bytes: int) -> AsyncIterator[Source]:
        yield SQLiteSource(address, chunk_bytes)


class MongoSubject(Subject):
    kind = "mongo"
    dead_address = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500"

    def make_table(self) -> None:
        with MongoClient[dict[str, Any]](self.address) as client:
            client[self.schema].create_collection("notes")

    def insert(self, number: int, body: str | None, changed: datetime | None) -> None:
        with MongoClient[dict[str, Any]](self.address) as client:
            client[self.schema]["notes"].insert_one({"id": number, "body": body, "changed": changed})

    def delete(self, number: int) -> None:
        with MongoClient[dict[str, Any]](self.address) as client:
            client[self.schema]["notes"].delete_one({"id": number})

    @asynccontextmanager
    async def open(self, address: str, chunk_bytes: int) -> AsyncIterator[Source]:
        timeout = 0.5 if address == self.dead_address else 10.0
        with closing(open_client(address, server_selection_timeout_seconds=timeout)) as client:
            yield MongoSource(client)
