"""Reading from a replica of MySQL: each form is recognised, its lag bounds the position, and the report says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, cast

import pymysql
import pytest
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from local import mysql
from local.mysql import MySQLServer
from local.stack import Stack
from millrace import Incremental, Stream
from millrace.sources.chunk import ReadFacts, Window
from millrace.sources.mysql import MySQLSource
from millrace.sources.mysql_replica import CLUSTER, HALTED, LAG_UNKNOWN, REPLICA, Following, find_following
from tests.conftest import unique
from tests.support.replicas import BLIND, HOUR, started, until


@pytest.fixture(scope="module")
def mysql_servers(stack: Stack) -> Iterator[tuple[MySQLServer, MySQLServer]]:
    """A primary with an empty table, and a replica that may be written to, as owners of replicas set them up."""
    directory = stack.directory / unique("followers")
    directory.mkdir(mode=0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(mysql.URL_VARIABLE, raising=False)
        primary = mysql.launch_mysql(directory / "primary")
        patch.setitem(mysql.SETTINGS, "server-id", "2")
        replica = mysql.launch_mysql(directory / "replica")
    try:
        for server in (primary, replica):
            mysql.wait_for_mysql(server)
        let_follow(primary, replica)
        primary.execute("CREATE DATABASE shop")
        primary.execute("CREATE TABLE shop.notes (id int primary key, changed timestamp(6) DEFAULT now(6))")
        until(lambda: replica.execute("SHOW DATABASES LIKE 'shop'") != [])
        yield primary, replica
    finally:
        replica.stop()
        primary.stop()


def let_follow(primary: MySQLServer, replica: MySQLServer) -> None:
    primary.execute("CREATE USER follower@'%' IDENTIFIED BY 'follower'")
    primary.execute("GRANT REPLICATION SLAVE ON *.* TO follower@'%'")
    ((file, place, *_),) = primary.execute("SHOW MASTER STATUS")
    replica.execute(
        f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {primary.port}, MASTER_USER = 'follower', "
        f"MASTER_PASSWORD = 'follower', MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {place}"
    )
    replica.execute("START SLAVE")


@pytest.fixture
def follower(mysql_servers: tuple[MySQLServer, MySQLServer]) -> Iterator[MySQLServer]:
    """The replica, which follows without delay."""
    _, replica = mysql_servers
    until(lambda: seconds_behind(replica) == 0)
    yield replica
    for statement in ("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY = 0", "START SLAVE"):
        replica.execute(statement)


def seconds_behind(replica: MySQLServer) -> int | None:
    with closing(mysql.connect(replica.url())) as connection, connection.cursor(DictCursor) as cursor:
        cursor.execute("SHOW SLAVE STATUS")
        return cast("int | None", cursor.fetchone()["Seconds_Behind_Master"])


async def mysql_read_of(url: str, lower: str | None = None) -> ReadFacts:
    stream = Stream("notes", "mysql:shop.notes", "id", Incremental("changed", timedelta(0)))
    async with MySQLSource(lambda: mysql.connect(url)).read(stream, (), Window(lower)) as reading:
        return reading.facts


async def test_a_mysql_replica_is_told_though_it_may_be_written_to(follower: MySQLServer) -> None:
    assert follower.execute("SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only") == [(0, 0)]
    read = await mysql_read_of(follower.url("shop"))
    assert BLIND < read.read_at - started(read) < BLIND + timedelta(seconds=30)
    assert "replica" in read.position_note


async def test_a_mysql_replica_hours_behind_is_bounded_by_its_lag(
    mysql_servers: tuple[MySQLServer, MySQLServer], follower: MySQLServer
) -> None:
    """A change that was written two hours ago waits there."""
    for statement in ("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY = 36000", "START SLAVE"):
        follower.execute(statement)
    with closing(mysql.connect(mysql_servers[0].url("shop"))) as writer, writer.cursor() as cursor:
        cursor.execute("SET timestamp = UNIX_TIMESTAMP() - 7200")
        cursor.execute("INSERT INTO notes (id) VALUES (1)")
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        ((stamped,),) = cursor.fetchall()
    until(lambda: (seconds_behind(follower) or 0) > 7_000)
    read = await mysql_read_of(follower.url("shop"))
    assert started(read).replace(tzinfo=None) <= stamped - BLIND


async def test_while_replication_stands_still_the_position_stays(follower: MySQLServer) -> None:
    follower.execute("STOP SLAVE SQL_THREAD")
    lower = "2026-01-01T00:00:00+00:00"
    read = await mysql_read_of(follower.url("shop"), lower)
    assert read.next_position == lower
    assert "replication is not running" in read.position_note


async def test_a_replica_that_does_not_tell_its_lag_is_told(follower: MySQLServer) -> None:
    """As to a user who may see transactions and no more."""
    follower.execute("CREATE USER IF NOT EXISTS reader@'%' IDENTIFIED BY 'reader'")
    follower.execute("GRANT SELECT ON shop.* TO reader@'%'")
    follower.execute("GRANT PROCESS ON *.* TO reader@'%'")
    read = await mysql_read_of(follower.url("shop", user="reader", password="reader"))
    assert started(read) == read.read_at - BLIND
    assert LAG_UNKNOWN in read.position_note


class Cursor:
    """Answers what a MySQL server would, by the first words of a question."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, query: str) -> None:
        """Raises what the server would."""
        unknown = pymysql.err.ProgrammingError(ER.PARSE_ERROR, "no such statement")
        found = next((answer for words, answer in self._answers.items() if words in query), unknown)
        if isinstance(found, Exception):
            raise found
        self._rows = found

    def fetchall(self) -> list[dict[str, Any]]:
        return self._rows


class Connection:
    """To such a server."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def cursor(self, _kind: object) -> Cursor:
        return Cursor(self._answers)


DENIED = pymysql.err.OperationalError(ER.SPECIFIC_ACCESS_DENIED_ERROR, "you need REPLICATION CLIENT")
NOBODY: dict[str, Any] = {"SHOW REPLICA STATUS": []}
SERVERS = [
    ("a primary", {"read_only": "OFF", "innodb_read_only": "OFF"}, NOBODY, Following()),
    ("a primary that may not be asked", {"read_only": "OFF"}, {"SHOW REPLICA STATUS": DENIED}, Following()),
    ("read-only", {"read_only": "ON"}, NOBODY, Following(REPLICA)),
    ("read-only as newer MariaDB says it", {"read_only": "NO_LOCK"}, NOBODY, Following(REPLICA)),
    ("super-read-only", {"read_only": "ON", "super_read_only": "ON"}, NOBODY, Following(REPLICA)),
    ("an Aurora reader, as it looks to a plain server", {"innodb_read_only": "ON"}, NOBODY, Following(REPLICA)),
    (
        "an Aurora reader",
        {"read_only": "OFF", "innodb_read_only": "ON", "aurora_server_id": "a"},
        {"replica_host_status": [{"lag": 7_200_000.0}]},
        Following(REPLICA, 2 * HOUR),
    ),
    (
        "an Aurora reader that says nothing",
        {"innodb_read_only": "ON", "aurora_server_id": "a"},
        {"replica_host_status": [{"lag": None}]},
        Following(LAG_UNKNOWN),
    ),
    (
        "an Aurora reader that may not be asked",
        {"innodb_read_only": "ON", "aurora_server_id": "a"},
        {"replica_host_status": DENIED},
        Following(LAG_UNKNOWN),
    ),
    ("an Aurora writer", {"innodb_read_only": "OFF", "aurora_server_id": "a"}, NOBODY, Following()),
    (
        "MySQL before 8.0.22",
        {"read_only": "ON"},
        {"SHOW SLAVE STATUS": [{"Seconds_Behind_Master": 59}]},
        Following(REPLICA, timedelta(minutes=1)),
    ),
    (
        "of several sources the slowest",
        {},
        {"SHOW ALL SLAVES": [{"Seconds_Behind_Master": 0}, {"Seconds_Behind_Master": 59}]},
        Following(REPLICA, timedelta(minutes=1)),
    ),
    (
        "one of several sources stands still",
        {},
        {"SHOW REPLICA STATUS": [{"Seconds_Behind_Source": 0}, {"Seconds_Behind_Source": None}]},
        Following(REPLICA, halted_because=HALTED),
    ),
    ("a node of Galera", {"wsrep_on": "ON", "wsrep_cluster_address": "gcomm://a"}, NOBODY, Following(CLUSTER)),
    (
        "a node of Galera, in another word for on",
        {"wsrep_on": "1", "wsrep_cluster_address": "gcomm://a"},
        NOBODY,
        Following(CLUSTER),
    ),
    ("Galera that is switched off", {"wsrep_on": "OFF", "wsrep_cluster_address": ""}, NOBODY, Following()),
    ("a member of a group", {"group_replication_group_name": "aaaa"}, NOBODY, Following(CLUSTER)),
]


@pytest.mark.parametrize(
    ("variables", "answers", "expected"), [one[1:] for one in SERVERS], ids=[one[0] for one in SERVERS]
)
def test_every_form_of_a_mysql_replica_is_recognised(
    variables: dict[str, str], answers: dict[str, Any], expected: Following
) -> None:
    assert find_following(Connection(answers), variables, has_appliers=False) == expected


def test_threads_of_replication_tell_a_replica_that_may_not_be_asked() -> None:
    connection = Connection({"SHOW REPLICA STATUS": DENIED})
    assert find_following(connection, {"read_only": "OFF"}, has_appliers=True) == Following(LAG_UNKNOWN)
