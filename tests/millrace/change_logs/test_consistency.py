"""After every commit the targets equal a state that the source really had, across tables.

Transfers between accounts keep the sum of two tables. They also change keys, are rolled back, and empty a table.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg2
import pytest

from millrace import ChangeLog, Stream
from tests.support.engine import PUBLICATION, Engine, pipeline_of

LEFT = Stream("left_side", "postgres:public.left_side", "id", ChangeLog(), max_delete_share=1.0)
RIGHT = replace(LEFT, name="right_side", source="postgres:public.right_side")
ACCOUNTS, SUM = 20, 4_000
TABLES = "".join(
    f"CREATE TABLE {name} (id int PRIMARY KEY, amount int NOT NULL, note text);"
    f"INSERT INTO {name} SELECT number, 100, repeat('x', 3000) FROM generate_series(1, {ACCOUNTS}) AS number;"
    for name in ("left_side", "right_side")
)
TOTAL = "SELECT (SELECT sum(amount) FROM {0}left_side) + (SELECT sum(amount) FROM {0}right_side)"


def write(url: str, seed: int, is_over: threading.Event) -> None:
    """Transfer amounts between random accounts until it is over."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        while not is_over.is_set():
            try:
                for statement in transfer(chance):
                    cursor.execute(statement)
                (connection.rollback if chance.random() < 0.1 else connection.commit)()
            except psycopg2.errors.DeadlockDetected:
                connection.rollback()


def transfer(chance: random.Random) -> Iterator[str]:
    """Yield the statements of one transfer."""
    tables = ["left_side", "right_side"]
    chance.shuffle(tables)
    giver, taker = chance.randint(1, ACCOUNTS), chance.randint(1, ACCOUNTS)
    if chance.random() < 0.2:
        yield "SET LOCAL synchronous_commit = off"
    yield f"UPDATE {tables[0]} SET amount = amount - 7 WHERE id % 100 = {giver}"
    if chance.random() < 0.2:
        yield f"SAVEPOINT s; DELETE FROM {tables[0]}; ROLLBACK TO s"
    yield f"UPDATE {tables[1]} SET amount = amount + 7 WHERE id % 100 = {taker}"
    if chance.random() < 0.3:
        yield f"UPDATE {tables[0]} SET id = id % 100 + 100 * {chance.randint(0, 3)} WHERE id % 100 = {taker}"
    if chance.random() < 0.1:
        yield f"LOCK TABLE {tables[0]} IN EXCLUSIVE MODE"
        yield f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM {tables[0]}; DELETE FROM {tables[0]}"
        yield f"INSERT INTO {tables[0]} SELECT * FROM kept"
    if chance.random() < 0.03:
        yield f"LOCK TABLE {tables[1]} IN ACCESS EXCLUSIVE MODE"
        yield f"CREATE TEMPORARY TABLE all_rows ON COMMIT DROP AS SELECT * FROM {tables[1]}; TRUNCATE {tables[1]}"
        yield f"INSERT INTO {tables[1]} SELECT * FROM all_rows"


@contextmanager
def writers(url: str, seed: int, number: int = 3) -> Iterator[None]:
    """Let writers transfer amounts within the context."""
    is_over = threading.Event()
    threads = [threading.Thread(target=write, args=(url, seed + index, is_over)) for index in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_sum_over_two_tables_holds_after_every_commit(logged: Engine, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable
    logged.source(
        TABLES + f"CREATE PUBLICATION {PUBLICATION} FOR TABLE left_side (id), right_side (id) "
        "WITH (publish_via_partition_root = true)"
    )
    with writers(logged.postgres_url, seed):
        for _ in range(12):
            if chance.random() < 0.2:
                # Read and never loaded, as of a run that was killed.
                await logged.read_log(replace(pipeline_of(LEFT), streams=(LEFT, RIGHT)), [LEFT, RIGHT])
            await logged.follow(LEFT, RIGHT)
            assert logged.query(TOTAL.format("engine.")) == [(SUM,)]
    await logged.follow(LEFT, RIGHT)
    assert logged.source(TOTAL.format("")) == [(SUM,)]
    for name in ("left_side", "right_side"):
        assert logged.rows(name, "id", "amount") == logged.source(f"SELECT id, amount FROM {name} ORDER BY 1")
