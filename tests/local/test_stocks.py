"""What the stack installs for the stock platform: who may do what in `stock_db`, and that nobody else is concerned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pymysql
import pytest

from local.demos.stocks_source import install
from local.mysql import MySQLServer, connect
from tests.conftest import unique
from tests.seed_data.stock_platform import StockPlatform, stock_platform


@pytest.fixture(scope="module")
def platform(mysql: MySQLServer) -> Iterator[StockPlatform]:
    with stock_platform(mysql) as fresh:
        yield fresh


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_the_reader_reads_and_sees_open_transactions(platform: StockPlatform) -> None:
    assert rows(platform.reader_url, "SELECT * FROM `transaction`") == []
    with closing(connect(platform.writer_url)) as writer, writer.cursor() as cursor:
        writer.begin()
        cursor.execute("INSERT INTO `user` (name, email) VALUES ('a', 'b')")
        cursor.execute("SELECT connection_id()")
        [(session,)] = cursor.fetchall()
        seen = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = "
        assert rows(platform.reader_url, f"{seen} {session}") == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO `user` (name, email) VALUES ('a', 'b')",
        "UPDATE `stock` SET price = 1",
        "DELETE FROM `transaction`",
        "CREATE TABLE mine (id int)",
        "DROP TABLE `transaction`",
        "SELECT * FROM mysql.user",
    ],
)
def test_the_reader_does_nothing_else(platform: StockPlatform, statement: str) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        rows(platform.reader_url, statement)


def test_the_writer_has_no_right_outside(platform: StockPlatform) -> None:
    for statement in ("CREATE DATABASE somewhere", "SELECT * FROM mysql.user", "SET GLOBAL init_connect = ''"):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            rows(platform.writer_url, statement)


def test_rights_are_of_one_database_and_not_of_one_that_is_called_alike(platform: StockPlatform) -> None:
    alike = platform.database.replace("_", "x")
    platform.mysql.create_database(alike)
    try:
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            rows(platform.mysql.url(alike, user=platform.reader), "SELECT 1")
    finally:
        platform.mysql.drop_database(alike)


def test_installing_again_changes_nothing(platform: StockPlatform) -> None:
    def grants() -> list[Any]:
        return [platform.rows(f"SHOW GRANTS FOR '{user}'@'%'") for user in (platform.reader, platform.writer)]

    before = grants()
    install(platform.mysql, platform.database, platform.writer, platform.reader)
    assert grants() == before


def test_users_of_other_databases_live_in_the_real_time(platform: StockPlatform, mysql: MySQLServer) -> None:
    name = unique("o'ther`s")
    url = mysql.create_database(name)
    try:
        for question in ("SELECT timestampdiff(SECOND, now(), sysdate()) < 60", "SELECT now(6) < sysdate(6)"):
            assert rows(url, question) == [(1,)]
        assert rows(mysql.url("", user=name), "SELECT timestampdiff(SECOND, now(), sysdate()) < 60") == [(1,)]
    finally:
        mysql.drop_database(name)
