"""What must be set up before the change log of MariaDB is read: each refusal says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.mysql import MySQLServer
from millrace.base.errors import ConfigurationError
from millrace.blocks.mysql import mysql_connector
from millrace.blocks.sql import opener
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.mysql_log import MySQLLog
from millrace.change_logs.reading import LogEntry
from tests.conftest import unique
from tests.support.engine import Engine, counts
from tests.support.mysql_logs import FollowedRows, make_followed
from tests.support.mysql_places import database
from tests.support.replicas import until


def log_of(url: str) -> MySQLLog:
    return MySQLLog(opener(mysql_connector(url, place="test")), LogReader("shop", "12345678", "", "source mysql"))


@contextmanager
def set_globally(server: MySQLServer, name: str, value: str) -> Iterator[None]:
    ((former,),) = server.execute(f"SELECT @@GLOBAL.{name}")
    server.execute(f"SET GLOBAL {name} = '{value}'")
    try:
        yield
    finally:
        server.execute(f"SET GLOBAL {name} = '{former}'")


def test_a_log_of_statements_is_refused(followed_rows: FollowedRows) -> None:
    log = log_of(followed_rows.engine.mysql_url)
    log.check([followed_rows.stream])
    with (
        set_globally(followed_rows.server, "binlog_format", "MIXED"),
        pytest.raises(ConfigurationError, match="SET GLOBAL binlog_format = 'ROW'"),
    ):
        log.check([followed_rows.stream])


@pytest.mark.parametrize("right", ["REPLICATION SLAVE", "BINLOG MONITOR"])
def test_a_user_needs_two_rights(followed_rows: FollowedRows, right: str) -> None:
    name = unique("reader")
    url = followed_rows.server.create_user(name, database(followed_rows.engine), rights=("SELECT",))
    followed_rows.server.execute(f"GRANT {right} ON *.* TO {name}@'%'")
    with pytest.raises(
        ConfigurationError, match=r"REPLICATION SLAVE.*[Gg]rant|GRANT REPLICATION SLAVE, BINLOG MONITOR"
    ):
        log_of(url).check([followed_rows.stream])
    followed_rows.server.drop_user(name)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ("id int, note text", "neither the primary key"),
        ("id int UNIQUE, note text", "unique key without NULL"),
        ("id varchar(9) NOT NULL, UNIQUE (id(3))", "without prefixes"),
        ("id int, part int, PRIMARY KEY (id, part)", "declare the primary key"),
    ],
    ids=["no index", "NULL", "prefix", "part of a key"],
)
def test_a_key_that_no_index_enforces_is_refused(
    mysql_logged: Engine, mysql: MySQLServer, columns: str, problem: str
) -> None:
    rows = make_followed(mysql_logged, mysql, columns)
    with pytest.raises(ConfigurationError, match=problem):
        log_of(mysql_logged.mysql_url).check([rows.stream])


def test_views_and_tables_without_snapshots_are_refused(followed_rows: FollowedRows) -> None:
    log = log_of(followed_rows.engine.mysql_url)
    followed_rows.change("RENAME TABLE {} TO real_{}", "CREATE VIEW {} AS SELECT * FROM real_{}")
    with pytest.raises(ConfigurationError, match="it is a view"):
        log.check([followed_rows.stream])
    followed_rows.change("DROP VIEW {}", "CREATE TABLE {} (id int PRIMARY KEY) ENGINE = MyISAM")
    with pytest.raises(ConfigurationError, match="MyISAM, which has no snapshots"):
        log.check([followed_rows.stream])


def test_a_minimal_row_image_needs_the_primary_key(mysql_logged: Engine, mysql: MySQLServer) -> None:
    rows = make_followed(mysql_logged, mysql, "id int NOT NULL UNIQUE, number int PRIMARY KEY")
    log = log_of(mysql_logged.mysql_url)
    log.check([rows.stream])
    with (
        set_globally(mysql, "binlog_row_image", "MINIMAL"),
        pytest.raises(ConfigurationError, match="binlog_row_image is MINIMAL"),
    ):
        log.check([rows.stream])


async def test_changes_by_foreign_keys_need_a_sweep(followed_rows: FollowedRows) -> None:
    """The log tells the parent's row alone (bug 32506 of MySQL)."""
    followed_rows.change(
        "CREATE TABLE child_{} (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES {} (id) "
        "ON DELETE CASCADE)",
        "INSERT INTO child_{} SELECT id, id FROM {}",
    )
    name = f"child_{followed_rows.table}"
    child = followed_rows.with_stream(name=name, source=f"mysql:{database(followed_rows.engine)}.{name}")
    with pytest.raises(ConfigurationError, match="CASCADE"):
        await child.follow()
    swept = child.with_stream(sweep="every run")
    await swept.follow()
    followed_rows.change("DELETE FROM {} WHERE id < 3")
    assert counts(await swept.follow())["deleted"] == 2
    swept.assert_equal(("id", "parent"))


def test_how_long_the_log_goes_back_is_told(followed_rows: FollowedRows) -> None:
    log, server = log_of(followed_rows.engine.mysql_url), followed_rows.server
    server.execute("FLUSH BINARY LOGS")
    ((file, end, *_),) = server.execute("SHOW MASTER STATUS")
    until(
        lambda: (
            not server.execute(f"PURGE BINARY LOGS TO '{file}'") and server.execute("SHOW BINARY LOGS")[0][0] == file
        )
    )
    base, _, number = file.rpartition(".")
    (kept,) = log.list_kept({"rows": LogEntry("", f"{file}:{end};0;0;", "")})
    assert (kept.status, kept.position, kept.retention.used_share) == ("kept", f"{file}:{end}", None)
    (lost,) = log.list_kept({"rows": LogEntry("", f"{base}.{int(number) - 1:06}:{end};0;0;", "")})
    assert (lost.status, lost.retention.remaining_seconds) == ("lost", 0)
    with pytest.raises(ConfigurationError, match="for nobody in particular"):
        log.drop_kept(kept)
