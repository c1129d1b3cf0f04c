"""Positions of MySQL streams: no row that is committed late is passed over, and bounds are as precise as the column."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from local.mysql import MySQLServer, connect
from millrace import Incremental, Stream
from millrace.drivers.psycopg_errors import statement
from millrace.sources.chunk import Window
from tests.conftest import unique
from tests.support.engine import Engine, counts
from tests.support.mysql_places import (
    database,
    execute,
    fill,
    source_at,
    taken,
    wait_until,
)


async def test_rows_committed_late_with_an_earlier_stamp_arrive(mysql_shop: Engine, mysql_notes: Stream) -> None:
    with closing(connect(mysql_shop.mysql_url)) as late, late.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute(f"INSERT INTO {mysql_notes.name} (id) VALUES (1)")
        mysql_shop.mysql(f"INSERT INTO {mysql_notes.name} (id) VALUES (2)")
        await mysql_shop.deliver(mysql_notes)
        assert mysql_shop.rows(mysql_notes.name, "id") == [(2,)]
        late.commit()
    await mysql_shop.deliver(mysql_notes)
    assert mysql_shop.rows(mysql_notes.name, "id") == [(1,), (2,)]


async def test_the_position_is_in_utc_whatever_the_sessions_zones(mysql_shop: Engine, mysql_notes: Stream) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    with closing(connect(mysql_shop.mysql_url)) as other, other.cursor() as cursor:
        cursor.execute("SET SESSION time_zone = '+07:00'")
        cursor.execute("START TRANSACTION")
        cursor.execute(f"INSERT INTO {mysql_notes.name} (id) VALUES (1)")
        begun = datetime.now(UTC)
        read, _ = await taken(source_at(mysql_shop.mysql_url), mysql_notes)
    assert read.next_position is not None
    assert before <= datetime.fromisoformat(read.next_position) <= begun <= read.read_at <= datetime.now(UTC)
    assert read.position_note == ""


async def test_a_statement_that_waits_holds_the_position_back(mysql_shop: Engine, mysql_notes: Stream) -> None:
    """It has stamped its rows, and no transaction shows it."""
    with closing(connect(mysql_shop.mysql_url)) as holder, closing(connect(mysql_shop.mysql_url)) as waiting:
        execute(holder, f"SELECT GET_LOCK('{mysql_notes.name}', 0)")
        waiter = threading.Thread(target=execute, args=(waiting, f"SELECT GET_LOCK('{mysql_notes.name}', 60)"))
        waiter.start()
        waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"
        assert wait_until(lambda: mysql_shop.mysql(waits) != [])
        seen = datetime.now(UTC)
        read, _ = await taken(source_at(mysql_shop.mysql_url), mysql_notes)
        execute(holder, f"SELECT RELEASE_LOCK('{mysql_notes.name}')")
        waiter.join()
    assert read.next_position is not None
    assert datetime.fromisoformat(read.next_position) <= seen <= read.read_at


async def test_an_event_that_waits_holds_the_position_back(
    mysql_shop: Engine, mysql: MySQLServer, mysql_notes: Stream
) -> None:
    """The server shows its statement under a name that connections have which do nothing yet."""
    ((former,),) = mysql.execute("SELECT @@GLOBAL.event_scheduler")
    mysql.execute("SET GLOBAL event_scheduler = ON")
    try:
        with closing(connect(mysql_shop.mysql_url)) as holder:
            execute(holder, f"SELECT GET_LOCK('{mysql_notes.name}', 0)")
            wait = f"DO GET_LOCK('{mysql_notes.name}', 60)"
            mysql.execute(f"CREATE EVENT {database(mysql_shop)}.late ON SCHEDULE AT CURRENT_TIMESTAMP DO {wait}")
            waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock' AND command = 'Connect'"
            assert wait_until(lambda: mysql.execute(waits) != [])
            seen = datetime.now(UTC)
            read, _ = await taken(source_at(mysql_shop.mysql_url), mysql_notes)
    finally:
        mysql.execute(f"SET GLOBAL event_scheduler = {former}")
    assert read.next_position is not None
    assert datetime.fromisoformat(read.next_position) <= seen <= read.read_at


@pytest.mark.parametrize(
    ("command", "info", "user", "holds"),
    [
        ("Query", "'INSERT'", "app", True),
        ("Execute", "NULL", "app", True),
        ("Bulk_execute", "NULL", "app", True),
        ("a word of a later version", "NULL", "app", True),
        ("Connect", "'INSERT'", "app", True),
        ("Connect", "NULL", "unauthenticated user", False),
        ("Sleep", "NULL", "app", False),
        ("Daemon", "NULL", "event_scheduler", False),
        ("Binlog Dump", "NULL", "replica", False),
        ("Query", "'INSERT'", "system user", False),
    ],
)
def test_only_threads_known_to_do_nothing_hold_no_position_back(
    mysql: MySQLServer, command: str, info: str, user: str, holds: bool
) -> None:
    shown = f"(SELECT 0 AS id, '{user}' AS user, '{command}' AS command, {info} AS info, 0 AS time)"
    assert (oldest_statement(mysql, shown) is not None) == holds


def oldest_statement(mysql: MySQLServer, processes: str) -> datetime | None:
    """When the oldest statement of these began, as a read sees it."""
    query = statement("mysql_running_statements").replace("information_schema.processlist", processes)
    ((began, _),) = mysql.execute(query)
    return cast("datetime | None", began)


async def test_many_reads_at_once_all_see_transactions(mysql_shop: Engine, mysql_notes: Stream) -> None:
    """The server renews its list when nobody has asked for a while; the reads wait for it together."""
    source = source_at(mysql_shop.mysql_url)
    assert {
        read.position_note for read, _ in await asyncio.gather(*(taken(source, mysql_notes) for _ in range(24)))
    } == {""}


async def test_rows_without_a_stamp_are_in_every_window(mysql_shop: Engine, mysql_notes: Stream) -> None:
    mysql_shop.mysql(f"INSERT INTO {mysql_notes.name} VALUES (1, 'a', NULL), (2, 'b', '2024-02-29')")
    assert counts(await mysql_shop.deliver(mysql_notes)) == {"read": 2, "inserted": 2}
    assert counts(await mysql_shop.deliver(mysql_notes)) == {"read": 1, "unchanged": 1}
    mysql_shop.mysql(f"UPDATE {mysql_notes.name} SET body = 'c' WHERE id = 1")
    assert counts(await mysql_shop.deliver(mysql_notes)) == {"read": 1, "updated": 1}


async def test_rows_of_one_stamp_are_not_split(mysql_shop: Engine, blind_mysql_url: str, mysql_notes: Stream) -> None:
    fill(mysql_shop, mysql_notes, doublings=10)
    stamp = "2024-02-29T12:00:00+00:00"
    source = source_at(blind_mysql_url, chunk_bytes=1000)
    assert (await taken(source, mysql_notes, Window(upper=stamp)))[1].is_empty()
    assert sorted((await taken(source, mysql_notes, Window(lower=stamp)))[1]["id"]) == list(range(1024))


@pytest.mark.parametrize(("digits", "held"), [("", "12:00:00"), ("(3)", "12:00:00.123"), ("(6)", "12:00:00.123456")])
@pytest.mark.parametrize("kind", ["datetime", "timestamp"])
async def test_a_bound_is_as_precise_as_the_column(
    mysql_shop: Engine, blind_mysql_url: str, kind: str, digits: str, held: str
) -> None:
    """A stamp was cut to its column's precision, and lies before the moment at which it was set."""
    name = unique("stamps")
    mysql_shop.mysql(
        f"CREATE TABLE {name} (id int PRIMARY KEY, changed {kind}{digits} NULL)",
        "SET SESSION time_zone = '+00:00'",
        f"INSERT INTO {name} VALUES (1, '2024-02-29 {held}'), (2, '2024-02-29 11:59:59')",
    )
    stream = Stream(name, f"mysql:{database(mysql_shop)}.{name}", "id", Incremental("changed"))
    bound = "2024-02-29T19:00:00.123456+07:00"
    _, frame = await taken(source_at(blind_mysql_url), stream, Window(lower=bound))
    assert frame["id"].to_list() == [1]
    _, frame = await taken(source_at(blind_mysql_url), stream, Window(upper=bound))
    assert frame["id"].to_list() == [2]


async def test_without_the_right_to_see_transactions_the_next_read_overlaps(
    blind_mysql_url: str, mysql_notes: Stream
) -> None:
    read, _ = await taken(source_at(blind_mysql_url), replace(mysql_notes, capture=Incremental("changed")))
    assert read.next_position == (read.read_at - timedelta(minutes=15)).isoformat()
    assert "grant PROCESS" in read.position_note


async def test_on_a_replica_the_next_read_overlaps(mysql_shop: Engine, mysql: MySQLServer, mysql_notes: Stream) -> None:
    mysql.execute("SET GLOBAL read_only = 1")
    try:
        read, _ = await taken(source_at(mysql_shop.mysql_url), replace(mysql_notes, capture=Incremental("changed")))
    finally:
        mysql.execute("SET GLOBAL read_only = 0")
    assert read.next_position == (read.read_at - timedelta(minutes=15)).isoformat()
    assert "replica" in read.position_note
