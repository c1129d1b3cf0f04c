"""A MySQL source on a real server, a database for all tests of a worker: its streams, and what its tests ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from local.mysql import MySQLServer, connect
from local.stack import Stack
from millrace import Incremental, Stream
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.sources.chunk import Keys, ReadFacts, Window
from millrace.sources.mysql import MySQLSource
from tests.conftest import unique
from tests.support.engine import Engine, bucket_store, quick_engine_between

CHUNK, ROW = 100_000, 500
"""Bytes of a chunk, and of a row of `mysql_many` at least."""
ALL = Window()
WAITS = 100
"""How often a server is asked whether it has noticed, a tenth of a second apart."""


@pytest.fixture(scope="module")
def mysql_source_url(mysql: MySQLServer) -> Iterator[str]:
    """The URL of a database for all tests; each makes tables of its own."""
    name = unique("mysql")
    yield mysql.create_database(name)
    mysql.drop_database(name)


@pytest.fixture(scope="module")
def mysql_shop(stack: Stack, mysql_source_url: str) -> Iterator[Engine]:
    """From that database to a Postgres warehouse."""
    store, name = bucket_store(stack, stack.aws.create_bucket(unique("mysql").replace("_", "-"))), unique("mysql")
    yield replace(
        quick_engine_between(stack, store, "", stack.postgres.create_database(name)), mysql_url=mysql_source_url
    )
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module")
def blind_mysql_url(mysql: MySQLServer, mysql_shop: Engine) -> Iterator[str]:
    """For a user that may not see transactions. What does not ask for positions reads as this one: the server renews
    its list five times a second, and a read waits for it."""
    name = unique("blind")
    yield mysql.create_user(name, database(mysql_shop), rights=("SELECT",), sees_transactions=False)
    mysql.drop_user(name)


@pytest.fixture
def mysql_notes(mysql_shop: Engine) -> Stream:
    """A new table, empty."""
    return notes_of(mysql_shop)


@pytest.fixture(scope="module")
def mysql_many(mysql_shop: Engine) -> Stream:
    """65,536 rows, 35 MB as they are sent: more than lines and queues hold."""
    stream = notes_of(mysql_shop)
    fill(mysql_shop, stream, doublings=16, body="REPEAT('x', 250)")
    return stream


def notes_of(mysql_shop: Engine) -> Stream:
    name = unique("notes")
    mysql_shop.mysql(f"CREATE TABLE {name} (id int PRIMARY KEY, body text, changed datetime(6) NULL DEFAULT NOW(6))")
    return Stream(name, f"mysql:{database(mysql_shop)}.{name}", "id", Incremental("changed", overlap=timedelta(0)))


def database(engine: Engine) -> str:
    return engine.mysql_url.rpartition("/")[2]


def fill(engine: Engine, stream: Stream, doublings: int, body: str = "'note'") -> None:
    """Rows 0 to 2 ** doublings."""
    again = [
        f"INSERT INTO {stream.name} SELECT id + {2**power}, body, changed FROM {stream.name}"
        for power in range(doublings)
    ]
    engine.mysql(f"INSERT INTO {stream.name} VALUES (0, {body}, '2024-02-29 12:00:00')", *again)


def source_at(url: str, chunk_bytes: int = CHUNK_BYTES) -> MySQLSource:
    return MySQLSource(lambda: connect(url), chunk_bytes)


async def taken(source: MySQLSource, stream: Stream, selection: Window | Keys = ALL) -> tuple[ReadFacts, pl.DataFrame]:
    """What a read of a selection says and gives."""
    async with source.read(stream, (), selection) as reading:
        return reading.facts, pl.concat([chunk.frame async for chunk in reading.read_chunks()])


def sessions(mysql: MySQLServer, engine: Engine) -> list[int]:
    """Ids of the sessions that are in the engine's database."""
    found = mysql.execute(f"SELECT id FROM information_schema.processlist WHERE db = '{database(engine)}'")
    return [number for (number,) in found]


def sent_bytes(mysql: MySQLServer) -> int:
    ((_, value),) = mysql.execute("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")
    return int(value)


def execute(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def wait_until(holds: Callable[[], bool]) -> bool:
    for _ in range(WAITS):
        if holds():
            return True
        time.sleep(0.1)
    return False
