"""A source that wants to write SQL of its own, by its names and by its values: they arrive as what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from local.stack import Stack
from millrace import Incremental, Stream
from tests.conftest import unique
from tests.support.engine import Engine, bucket_store, engine_between

NAMES = ['a"; DROP TABLE victim; --', "b'); DROP TABLE victim; --", "100%s %(c)s", "d\\", "e$$f"]
VALUES = ["'; DROP TABLE victim; --", '"; DROP TABLE victim; --', "%s %(a)s 100%", "\\'; DROP TABLE victim; --", "$$"]
INNOCENT = 7


@pytest.fixture(params=["redshift", "postgres"])
def engine(
    request: pytest.FixtureRequest, stack: Stack, postgres_database: str, warehouse_url: str, bucket: str
) -> Iterator[Engine]:
    name = unique("warehouse")
    url = warehouse_url if request.param == "redshift" else stack.postgres.create_database(name)
    yield engine_between(stack, bucket_store(stack, bucket), postgres_database, url)
    stack.postgres.drop_database(name)


@pytest.fixture
def stream(engine: Engine) -> Stream:
    """A table with such columns and values, the first of which is its key; `victim` is on both sides."""
    columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in NAMES)
    with closing(psycopg2.connect(engine.postgres_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE victim AS SELECT {INNOCENT} AS a")
        cursor.execute(sql.SQL("CREATE TABLE hostile ({}, changed timestamptz DEFAULT now())").format(columns))
        cursor.execute("INSERT INTO hostile VALUES (%s, %s, %s, %s, %s)", VALUES)
        cursor.execute("INSERT INTO hostile VALUES (%s, %s, %s, %s, %s)", VALUES[::-1])
    with closing(engine.connect_warehouse()) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE victim AS SELECT {INNOCENT} AS a")
    return Stream("hostile", source="postgres:public.hostile", key=NAMES[0], capture=Incremental("changed"))


def held(engine: Engine) -> list[tuple[Any, ...]]:
    """The target's rows, columns in the order of NAMES."""
    columns = dict(engine.query("SELECT path, name FROM millrace.columns"))
    return engine.rows("hostile", *(columns[name] for name in NAMES))


async def test_names_and_values_are_data(engine: Engine, stream: Stream) -> None:
    await engine.deliver(stream)
    assert set(held(engine)) == {tuple(VALUES), tuple(VALUES[::-1])}
    changed, key = sql.Identifier(NAMES[-1]), sql.Identifier(NAMES[0])
    with closing(psycopg2.connect(engine.postgres_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("UPDATE hostile SET {} = 'silent'").format(changed))
        cursor.execute(sql.SQL("DELETE FROM hostile WHERE {} = %s").format(key), (VALUES[-1],))
    result = await engine.sweep(stream)
    assert (result.updated, result.deleted) == (1, 1)
    assert held(engine) == [(*VALUES[:-1], "silent")]
    assert engine.source("SELECT a FROM victim") == engine.query("SELECT a FROM victim") == [(INNOCENT,)]
