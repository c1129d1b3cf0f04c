"""What MariaDB's log and its snapshot tell together: every commit of the warehouse is one state of the source."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from threading import Event

import pymysql
import pytest

from local.mysql import MySQLServer, connect
from millrace.base.errors import RetryableError
from tests.support.engine import Engine, counts, pipeline_of
from tests.support.mysql_logs import FollowedRows, make_followed
from tests.support.replicas import until

WAITING = "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%'"
AMOUNTS, SUM = "id int PRIMARY KEY, amount int", 1000
WRITERS = 3


@contextmanager
def semi_sync(server: MySQLServer) -> Iterator[None]:
    """Commits wait for a replica that never answers: their changes are in the log and not in the table."""
    server.execute("SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC")
    server.execute("SET GLOBAL rpl_semi_sync_master_timeout = 600000")
    server.execute("SET GLOBAL rpl_semi_sync_master_enabled = ON")
    try:
        yield
    finally:
        server.execute("SET GLOBAL rpl_semi_sync_master_enabled = OFF")


async def test_a_commit_that_waits_for_its_replica_is_not_passed(followed_rows: FollowedRows) -> None:
    """The log tells it before the table shows it. Drained first and read by key then, the change would be lost."""
    rows, server = followed_rows, followed_rows.server
    await rows.follow()
    with ThreadPoolExecutor(1) as pool:
        with semi_sync(server):
            ended = server.execute("SHOW MASTER STATUS")
            writer = pool.submit(rows.change, "UPDATE {} SET note = 'late' WHERE id = 1")
            until(lambda: server.execute(WAITING) != [(0,)])
            assert server.execute("SHOW MASTER STATUS") > ended
            assert rows.engine.mysql(f"SELECT note FROM {rows.table} WHERE id = 1") == [("first",)]
            assert not await rows.has_changed()
            assert not writer.done()
        writer.result()
    assert counts(await rows.follow()) == {"read": 1, "updated": 1}
    rows.assert_equal()


def move_amounts(url: str, tables: tuple[str, str], is_over: Event, seed: int) -> None:
    """Move amounts between rows of two tables, in transactions that leave their sum as it is."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        while not is_over.is_set():
            amount, (source, target) = chance.randint(-5, 5), chance.sample(tables, 2)
            with suppress(pymysql.err.OperationalError):  # a deadlock is rolled back
                cursor.execute("BEGIN")
                cursor.execute(f"UPDATE {source} SET amount = amount - {amount} WHERE id = {chance.randint(1, 5)}")
                cursor.execute(f"UPDATE {target} SET amount = amount + {amount} WHERE id = {chance.randint(1, 5)}")
                cursor.execute(chance.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
            time.sleep(0.005)


async def test_the_sum_over_two_tables_is_that_of_every_commit(mysql_logged: Engine, mysql: MySQLServer) -> None:
    left, right = (make_followed(mysql_logged, mysql, AMOUNTS) for _ in range(2))
    for each in (left, right):
        each.change(f"INSERT INTO {{}} SELECT seq, {SUM // 10} FROM seq_1_to_5")
    total = f"SELECT (SELECT sum(amount) FROM {{0}}{left.table}) + (SELECT sum(amount) FROM {{0}}{right.table})"
    is_over = Event()
    await mysql_logged.follow(left.stream, right.stream)
    with ThreadPoolExecutor(WRITERS) as pool:
        tables = left.table, right.table
        writers = [pool.submit(move_amounts, mysql_logged.mysql_url, tables, is_over, seed) for seed in range(WRITERS)]
        try:
            kinds = set()
            for _ in range(8):
                results = await mysql_logged.follow(left.stream, right.stream)
                kinds |= {result.kind for result in results.values()}
                assert mysql_logged.query(total.format("engine.")) == [(SUM,)]
        finally:
            is_over.set()
        for writer in writers:
            writer.result()
    assert kinds == {"log"}
    await mysql_logged.follow(left.stream, right.stream)
    assert mysql_logged.mysql(total.format("")) == [(SUM,)]
    for each in (left, right):
        each.assert_equal(("id", "amount"))


CHANGES = (
    "INSERT INTO {} (id, note) VALUES (<new>, '<text>')",
    "UPDATE {} SET note = '<text>' WHERE id = <old>",
    "UPDATE {} SET note = '<text>' WHERE id > <old>",
    "UPDATE {} SET id = <new> WHERE id = <old>",
    "DELETE FROM {} WHERE id = <old>",
    "REPLACE INTO {} (id, note) VALUES (<old>, '<text>')",
    "UPDATE {} SET id = -id",
    "UPDATE {} SET id = -id",
)
OTHERS = (
    ["TRUNCATE {}", "INSERT INTO {} (id, note) VALUES (<new>, 'after')"],
    ["FLUSH BINARY LOGS"],
    ["SET binlog_format = STATEMENT", "UPDATE {} SET note = '<text>' WHERE id > 0"],
    ["SET binlog_row_image = MINIMAL", "UPDATE {} SET id = <new> WHERE id = <old>"],
    ["XA START '<text>'", "DELETE FROM {} WHERE id = <old>", "XA END '<text>'", "XA PREPARE '<text>'",
     "XA COMMIT '<text>'"],
    ["ALTER TABLE {} ENGINE = InnoDB"],
    ["SET GLOBAL log_bin_compress = ON"],
    ["SET GLOBAL log_bin_compress = OFF"],
)  # fmt: skip


def fill_in(chance: random.Random, statement: str) -> str:
    values = {"<new>": str(chance.randint(100, 10_000)), "<old>": str(chance.randint(1, 40))}
    for name, value in {**values, "<text>": str(chance.random())}.items():
        statement = statement.replace(name, value)
    return statement


def change_at_random(chance: random.Random, rows: FollowedRows) -> None:
    """Change the table by one to five transactions, or in another way."""
    if chance.random() < 0.3:
        text = str(chance.random())
        rows.change_as_superuser(*(fill_in(chance, one.replace("<text>", text)) for one in chance.choice(OTHERS)))
    for _ in range(chance.randint(0, 4)):
        statements = [fill_in(chance, one) for one in chance.choices(CHANGES, k=chance.randint(1, 4))]
        if chance.random() < 0.3:
            statements[1:1] = ["SAVEPOINT s", fill_in(chance, chance.choice(CHANGES)), "ROLLBACK TO s"]
        with suppress(pymysql.err.IntegrityError):
            rows.change("BEGIN", *statements, chance.choice(["COMMIT", "COMMIT", "ROLLBACK"]))


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_histories_with_crashes(mysql_logged: Engine, mysql: MySQLServer, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    rows = make_followed(mysql_logged, mysql)
    rows.change("INSERT INTO {} SELECT seq + 5, 'first' FROM seq_1_to_35")
    kinds = []
    try:
        for _ in range(12):
            change_at_random(chance, rows)
            if chance.random() < 0.3:  # killed after the read
                await mysql_logged.read_log(pipeline_of(rows.stream), [rows.stream])
                change_at_random(chance, rows)
            kinds += [result.kind for result in (await mysql_logged.follow(rows.stream)).values()]
            rows.assert_equal()
    finally:
        mysql.execute("SET GLOBAL log_bin_compress = OFF")
    assert "log" in kinds


async def test_two_readers_with_one_number_throw_each_other_out(followed_rows: FollowedRows) -> None:
    """Which is why every pipeline and warehouse has a number of its own; the one that is thrown out is tried again."""
    await followed_rows.follow()
    followed_rows.change("DELETE FROM {} WHERE id = 1")
    results = await asyncio.gather(
        *(followed_rows.engine.read_log(pipeline_of(followed_rows.stream), [followed_rows.stream]) for _ in range(2)),
        return_exceptions=True,
    )
    errors = [each for each in results if isinstance(each, BaseException)]
    assert all(isinstance(error, RetryableError) for error in errors), errors
    assert counts(await followed_rows.follow()) == {"read": 1, "deleted": 1}
