"""Reading from replicas: the position is bounded by what was replayed there, and a replica is told in every form.

What does not belong here: servers that nobody follows (test_positions.py), MongoDB's secondaries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg2
import pymysql
import pytest
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from local import mysql, postgres
from local.mysql import MySQLServer
from local.postgres import PostgresServer, start_postgres
from local.processes import as_user
from local.stack import Stack
from millrace import Incremental, Stream
from millrace.capture.chunk import Read, Window
from millrace.capture.mysql import MySQLSource
from millrace.capture.mysql_replica import CLUSTER, HALTED, LAG_UNKNOWN, REPLICA, Following, following
from millrace.capture.postgres import PostgresSource
from tests.conftest import unique

NOTES = Stream("notes", "postgres:public.notes", "id", Incremental("changed", timedelta(0)))
BLIND = timedelta(minutes=15)
HOUR = timedelta(hours=1)
WAITS = 200
"""How often a server is asked whether it has come so far, a twentieth of a second apart."""


@pytest.fixture(scope="module")
def servers(stack: Stack) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary with an empty table, and a streaming replica of it."""
    directory = stack.directory / unique("replicas")
    directory.mkdir(mode=0o755)
    primary = start_postgres(directory / "primary")
    replica = None
    try:
        primary.execute("CREATE TABLE notes (id int primary key, changed timestamptz DEFAULT now())")
        replica = start_replica(primary, directory)
        yield primary, replica
    finally:
        for server in filter(None, (replica, primary)):
            server.stop()


def start_replica(primary: PostgresServer, directory: Path) -> PostgresServer:
    home = directory / "replica"
    home.mkdir()
    user = postgres.UNPRIVILEGED_USER if os.getuid() == 0 else None
    shutil.copy(directory / "primary" / "superuser-password", home)
    if user:
        shutil.chown(home, user)
    program = postgres._binaries(directory / "primary", user) / "pg_basebackup"
    command = [str(program), "-D", str(home / "data"), "-R", "-X", "stream", "-c", "fast", "-d", primary.url()]
    subprocess.run(command, **as_user(user), env=postgres.ENVIRONMENT, cwd="/", check=True, capture_output=True)
    return start_postgres(home)


@pytest.fixture
def primary(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[PostgresServer]:
    """With an empty table, followed without delay afterwards."""
    primary, replica = servers
    primary.execute("TRUNCATE notes")
    primary.execute("INSERT INTO notes VALUES (1)")
    yield primary
    replica.execute("SELECT CASE WHEN pg_is_wal_replay_paused() THEN pg_wal_replay_resume() END")


@pytest.fixture
def replica(servers: tuple[PostgresServer, PostgresServer], primary: PostgresServer) -> PostgresServer:
    """Which has come as far as the primary."""
    follow(primary, servers[1])
    return servers[1]


def follow(primary: PostgresServer, replica: PostgresServer) -> None:
    """Wait until all that the primary committed is replayed."""
    ((reached,),) = primary.execute("SELECT pg_current_wal_flush_lsn()")
    until(lambda: replica.execute(f"SELECT pg_last_wal_replay_lsn() >= '{reached}'") == [(True,)])


def until(holds: Callable[[], bool]) -> None:
    for _ in range(WAITS):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come so far")


async def read_of(server: PostgresServer, lower: str | None = None) -> tuple[Read, list[int]]:
    """What a read of the table says, and the keys that it gives."""
    source = PostgresSource(lambda: psycopg2.connect(server.url()))
    async with source.read(NOTES, (), Window(lower)) as reading:
        return reading.read, sorted([number async for chunk in reading.chunks() for number in chunk.frame["id"]])


def started(read: Read) -> datetime:
    assert read.position is not None
    return datetime.fromisoformat(read.position)


async def test_rows_replayed_later_than_any_overlap_arrive(primary: PostgresServer, replica: PostgresServer) -> None:
    """Replay stands still; a row is stamped now, and the replica's clock seems to be hours further at the read."""
    replica.execute("SELECT pg_wal_replay_pause()")
    until(lambda: replica.execute("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    ((replayed,),) = replica.execute("SELECT pg_last_xact_replay_timestamp()")
    primary.execute("INSERT INTO notes VALUES (2)")
    read, ids = await read_of(replica)
    assert ids == [1]
    assert started(read) == replayed - BLIND, "not the clock, but what was replayed"
    assert "replica" in read.note
    replica.execute("SELECT pg_wal_replay_resume()")
    follow(primary, replica)
    _, ids = await read_of(replica, read.position)
    assert 2 in ids


async def test_a_delayed_replica_is_bounded_by_what_it_applied(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    replica.execute("ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
    replica.execute("SELECT pg_reload_conf()")
    try:
        until(lambda: replica.execute("SHOW recovery_min_apply_delay") == [("1h",)])
        ((committed,),) = primary.execute("INSERT INTO notes VALUES (3) RETURNING now()")
        read, ids = await read_of(replica)
    finally:
        replica.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
        replica.execute("SELECT pg_reload_conf()")
    assert 3 not in ids
    assert started(read) < committed - BLIND
    follow(primary, replica)
    assert 3 in (await read_of(replica, read.position))[1]


async def test_a_query_on_the_replica_holds_nothing_back(primary: PostgresServer, replica: PostgresServer) -> None:
    """It writes nothing, however long it takes."""
    del primary
    with closing(psycopg2.connect(replica.url())) as other, other.cursor() as cursor:
        cursor.execute("SELECT now()")
        before, _ = await read_of(replica)
    after, _ = await read_of(replica)
    assert before.position == after.position


async def test_an_idle_primary_costs_what_was_last_written_and_no_more(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    """The position waits at the last commit: what is read again is fifteen minutes of the primary's life."""
    primary.execute(f"INSERT INTO notes VALUES (4, now() - interval '{(BLIND + HOUR).total_seconds()} s')")
    follow(primary, replica)
    first, _ = await read_of(replica)
    second, ids = await read_of(replica, first.position)
    assert second.position == first.position
    assert 4 not in ids


async def test_an_aurora_reader_is_bounded_by_its_lag(primary: PostgresServer, replica: PostgresServer) -> None:
    """Aurora's function is in the catalog, whatever the replica replayed; of several readers the slowest counts."""
    primary.execute(
        "CREATE FUNCTION pg_catalog.aurora_replica_status() "
        "RETURNS TABLE (server_id text, session_id text, replica_lag_in_msec double precision) LANGUAGE sql AS "
        "$$VALUES ('w', 'MASTER_SESSION_ID', NULL::double precision), ('a', 'x', 20), ('b', 'y', 7200000)$$"
    )
    try:
        follow(primary, replica)
        read, _ = await read_of(replica)
    finally:
        primary.execute("DROP FUNCTION pg_catalog.aurora_replica_status()")
    assert abs(read.read_at - timedelta(hours=2) - BLIND - started(read)) < timedelta(seconds=30)


async def test_a_long_autovacuum_holds_nothing_back(primary: PostgresServer) -> None:
    """It analyzes an index whose expression takes long."""
    primary.execute(
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$BEGIN IF (SELECT backend_type = 'autovacuum worker' FROM pg_stat_activity WHERE pid = "
        "pg_backend_pid()) THEN PERFORM pg_sleep(60); END IF; RETURN $1; END$$"
    )
    primary.execute("CREATE TABLE vacuumed (id int) WITH (autovacuum_analyze_threshold = 0)")
    primary.execute("CREATE INDEX ON vacuumed (slow(id))")
    primary.execute("INSERT INTO vacuumed SELECT generate_series(1, 100)")
    primary.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    primary.execute("SELECT pg_reload_conf()")
    worker = "FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND wait_event = 'PgSleep'"
    try:
        until(lambda: primary.execute(f"SELECT 1 {worker}") != [])
        ((begun,),) = primary.execute(f"SELECT xact_start {worker}")
        read, _ = await read_of(primary)
        assert begun < started(read) == read.read_at
    finally:
        primary.execute("ALTER SYSTEM RESET autovacuum_naptime")
        primary.execute("DROP TABLE IF EXISTS vacuumed")
        primary.execute("DROP FUNCTION slow(int)")
        primary.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def mysql_servers(stack: Stack) -> Iterator[tuple[MySQLServer, MySQLServer]]:
    """A primary with an empty table, and a replica that may be written to, as owners of replicas set them up."""
    directory = stack.directory / unique("followers")
    directory.mkdir(mode=0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(mysql.URL_VARIABLE, raising=False)
        patch.delitem(mysql.SETTINGS, "skip-log-bin")
        patch.setitem(mysql.SETTINGS, "log-bin", "binlog")
        patch.setitem(mysql.SETTINGS, "server-id", "1")
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


async def mysql_read_of(url: str, lower: str | None = None) -> Read:
    stream = Stream("notes", "mysql:shop.notes", "id", Incremental("changed", timedelta(0)))
    async with MySQLSource(lambda: mysql.connect(url)).read(stream, (), Window(lower)) as reading:
        return reading.read


async def test_a_mysql_replica_is_told_though_it_may_be_written_to(follower: MySQLServer) -> None:
    assert follower.execute("SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only") == [(0, 0)]
    read = await mysql_read_of(follower.url("shop"))
    assert BLIND < read.read_at - started(read) < BLIND + timedelta(seconds=30)
    assert "replica" in read.note


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
    assert read.position == lower
    assert "replication is not running" in read.note


async def test_a_replica_that_does_not_tell_its_lag_is_told(follower: MySQLServer) -> None:
    """As to a user who may see transactions and no more."""
    follower.execute("CREATE USER IF NOT EXISTS reader@'%' IDENTIFIED BY 'reader'")
    follower.execute("GRANT SELECT ON shop.* TO reader@'%'")
    follower.execute("GRANT PROCESS ON *.* TO reader@'%'")
    read = await mysql_read_of(follower.url("shop", user="reader", password="reader"))
    assert started(read) == read.read_at - BLIND
    assert LAG_UNKNOWN in read.note


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
        Following(REPLICA, halted=HALTED),
    ),
    ("a node of Galera", {"wsrep_on": "ON", "wsrep_cluster_address": "gcomm://a"}, NOBODY, Following(CLUSTER)),
    ("Galera that is switched off", {"wsrep_on": "OFF", "wsrep_cluster_address": ""}, NOBODY, Following()),
    ("a member of a group", {"group_replication_group_name": "aaaa"}, NOBODY, Following(CLUSTER)),
]


@pytest.mark.parametrize(
    ("variables", "answers", "expected"), [one[1:] for one in SERVERS], ids=[one[0] for one in SERVERS]
)
def test_every_form_of_a_mysql_replica_is_recognised(
    variables: dict[str, str], answers: dict[str, Any], expected: Following
) -> None:
    assert following(Connection(answers), variables, has_appliers=False) == expected


def test_threads_of_replication_tell_a_replica_that_may_not_be_asked() -> None:
    connection = Connection({"SHOW REPLICA STATUS": DENIED})
    assert following(connection, {"read_only": "OFF"}, has_appliers=True) == Following(LAG_UNKNOWN)
