"""Settings of a MySQL server that cut or bend results, and its waits: what a session of ours sets against them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from local.mysql import MySQLServer, connect
from millrace import Incremental, Stream
from millrace.base.errors import RetryableError
from millrace.sources import mysql as dialect
from millrace.sources.mysql_moment import look_at_server
from millrace.sources.mysql_sessions import IDLE_SECONDS, NO_LIMIT, SETTINGS, SNAPSHOT
from tests.support.engine import Engine

CUTS = {
    "sql_select_limit": "3",
    "max_join_size": "3",
    "sql_auto_is_null": "1",
    "system_versioning_asof": "'2020-01-01 00:00:00'",
    "group_concat_max_len": "4",
    "max_recursive_iterations": "2",
    "character_set_results": "latin1",
    "sql_mode": "'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES'",
}
"""Settings that a server may have for everybody."""


@pytest.fixture
def things(engine: Engine, mysql_database: str) -> Stream:
    """Ten rows in a table with history, and a view of them."""
    engine.mysql_url = mysql_database
    name = mysql_database.rpartition("/")[2].partition("?")[0]
    engine.mysql(
        "CREATE TABLE things (id int PRIMARY KEY AUTO_INCREMENT, body char(5), changed timestamp(6) DEFAULT now(6)) "
        "WITH SYSTEM VERSIONING",
        "INSERT INTO things (id, body) SELECT seq, CONCAT('é', seq) FROM seq_1_to_10",
        "COMMIT",
        "CREATE VIEW lists AS WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 10) "
        "SELECT 1 AS id, (SELECT GROUP_CONCAT(body ORDER BY id) FROM things) AS bodies, COUNT(*) AS numbers, "
        "TIMESTAMP'2024-02-29 00:00:00' AS changed FROM n",
    )
    return Stream("things", f"mysql:{name}.things", "id", Incremental("changed"))


@pytest.fixture(params=list(CUTS))
def bent(request: pytest.FixtureRequest, mysql: MySQLServer) -> Iterator[str]:
    """A setting that every new session of the server has."""
    ((former,),) = mysql.execute(f"SELECT @@GLOBAL.{request.param}")
    mysql.execute(f"SET GLOBAL {request.param} = {CUTS[request.param]}")
    yield request.param
    back = "DEFAULT" if request.param == "system_versioning_asof" else repr(former)
    mysql.execute(f"SET GLOBAL {request.param} = {back}")


async def test_a_setting_of_the_server_cuts_and_bends_nothing(engine: Engine, things: Stream, bent: str) -> None:
    lists = replace(things, name="lists", source=things.source.replace(".things", ".lists"))
    await engine.deliver(things)
    await engine.deliver(lists)
    swept = await engine.sweep(things)
    assert swept and (swept.deleted, swept.updated, swept.unchanged) == (0, 0, 10)
    assert engine.rows("things", "id", "body") == [(number, f"é{number}") for number in range(1, 11)]
    assert engine.rows("lists", "bodies", "numbers") == [(",".join(f"é{number}" for number in range(1, 11)), 10)]


SET: dict[str, tuple[int | str, int | str]] = {
    "sql_select_limit": (3, NO_LIMIT),
    "max_join_size": (3, NO_LIMIT),
    "sql_big_selects": (0, 1),
    "sql_auto_is_null": (1, 0),
    "max_recursive_iterations": (2, 2**32 - 1),
    "in_predicate_conversion_threshold": (2, 0),
    "lock_wait_timeout": (7, 60),
    "net_write_timeout": (7, 900),
    "wait_timeout": (7, 900),
    "idle_transaction_timeout": (7, 900),
    "idle_readonly_transaction_timeout": (7, 900),
    "time_zone": ("'+07:00'", "+00:00"),
    "sql_mode": ("'ANSI_QUOTES'", "NO_BACKSLASH_ESCAPES"),
    "character_set_client": ("latin1", "utf8mb4"),
    "character_set_connection": ("latin1", "utf8mb4"),
    "character_set_results": ("latin1", "utf8mb4"),
}
"""What a server may give to a session, and what a read works with."""
BENT = [f"SET SESSION {name} = {given}" for name, (given, _) in SET.items()]


@pytest.mark.parametrize("is_given_later", [False, True], ids=["a session", "another one of a proxy's"])
def test_a_session_has_its_own_settings_whatever_the_server_gives(
    mysql_database: str, monkeypatch: pytest.MonkeyPatch, is_given_later: bool
) -> None:
    """A proxy may take another session of the server for the transaction, so that all is set in it once more."""
    look = look_at_server

    def look_then_change_sessions(connection: Any, given_zone: str) -> Any:
        moment = look(connection, given_zone)
        monkeypatch.setattr(dialect, "SNAPSHOT", (*BENT, *SNAPSHOT))
        return moment

    with closing(connect(mysql_database)) as connection, connection.cursor() as cursor:
        if is_given_later:
            monkeypatch.setattr(dialect, "look_at_server", look_then_change_sessions)
        else:
            for one in BENT:
                cursor.execute(one)
        dialect.MySQLDriver().open_snapshot(connection, lambda: connect(mysql_database))
        cursor.execute(f"SELECT {', '.join(f'@@SESSION.{name}' for name in SET)}")
        assert dict(zip(SET, cursor.fetchone(), strict=True)) == {name: right for name, (_, right) in SET.items()}


async def test_rows_that_a_limit_of_the_server_hides_are_not_taken_for_deleted(
    engine: Engine, things: Stream, mysql: MySQLServer
) -> None:
    await engine.deliver(things)
    mysql.execute("SET GLOBAL sql_select_limit = 3")
    try:
        swept = await engine.sweep(things)
    finally:
        mysql.execute("SET GLOBAL sql_select_limit = DEFAULT")
    assert swept and (swept.deleted, swept.unchanged) == (0, 10)


async def test_a_table_that_is_being_changed_is_waited_for_and_then_told(
    engine: Engine, things: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tuple(one.replace("lock_wait_timeout = 60", "lock_wait_timeout = 1") for one in SETTINGS)
    monkeypatch.setattr(dialect, "SETTINGS", settings)
    with closing(connect(engine.mysql_url)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES things WRITE")
        with pytest.raises(RetryableError, match=r"another session holds the table .*SHOW PROCESSLIST"):
            await engine.deliver(things)


async def test_a_snapshot_is_not_kept_for_a_run_that_is_frozen(
    engine: Engine, things: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tuple(one.replace(f"= {IDLE_SECONDS}", "= 1") for one in SETTINGS)
    monkeypatch.setattr(dialect, "SETTINGS", settings)
    with closing(connect(engine.mysql_url)) as frozen:
        dialect.MySQLDriver().open_snapshot(frozen, lambda: connect(engine.mysql_url))
        with frozen.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM things")
        engine.mysql("SET SESSION lock_wait_timeout = 10", "DROP TABLE things")
        with pytest.raises(pymysql.MySQLError), frozen.cursor() as cursor:
            cursor.execute("SELECT 1")


async def test_a_text_is_no_json_because_a_table_of_another_case_has_json(engine: Engine, things: Stream) -> None:
    engine.mysql(
        "CREATE TABLE orders (id int PRIMARY KEY, data longtext, own json, changed timestamp(6) DEFAULT now(6))",
        "CREATE TABLE Orders (id int PRIMARY KEY, data json, own longtext, changed timestamp(6) DEFAULT now(6))",
        """INSERT INTO orders(id, data, own) VALUES (1, 'no json', '{"a": 1}')""",
        """INSERT INTO Orders(id, data, own) VALUES (1, '{"a": 1}', 'no json')""",
        "COMMIT",
    )
    small = replace(things, name="small", source=things.source.replace(".things", ".orders"))
    large = replace(things, name="large", source=things.source.replace(".things", ".Orders"))
    await engine.deliver(small)
    await engine.deliver(large)
    assert engine.rows("small", "data") == engine.rows("large", "own") == [("no json",)]
    assert engine.rows("small", "own") == engine.rows("large", "data") == [('{"a":1}',)]
