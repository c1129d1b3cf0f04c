"""MySQL as a source on a real server: windows and positions, keys, broken reads, names, rights.

What does not belong here: values (test_mysql_values.py), sweeps and replays of them (test_sweep_keys.py).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import polars as pl
import pytest
from engine_on_servers import Engine, bucket_store, counts, engine_between
from key_cases import MYSQL_TABLES
from keyed_sources import KeyedMySQLTable

from local.mysql import MySQLServer, connect
from local.stack import Stack
from millrace import Incremental, Stream
from millrace.capture.chunk import Keys, Read, Window
from millrace.capture.mysql import MySQLSource
from millrace.capture.pipe import CHUNK_BYTES
from millrace.database import statement
from millrace.errors import RetryableError, SourceMissing, Unreachable
from millrace.naming import quote_in_backticks
from tests.conftest import unique

WAITS = 100
"""How often a server is asked whether it has noticed, a tenth of a second apart."""

CHUNK, ROW = 100_000, 500
"""Bytes of a chunk, and of a row of `many` at least."""
ALL = Window()


@pytest.fixture(scope="module")
def source_url(mysql: MySQLServer) -> Iterator[str]:
    """The URL of a database for all tests; each makes tables of its own."""
    name = unique("mysql")
    yield mysql.create_database(name)
    mysql.drop_database(name)


@pytest.fixture(scope="module")
def shop(stack: Stack, source_url: str) -> Iterator[Engine]:
    """From that database to a Postgres warehouse."""
    store, name = bucket_store(stack, stack.aws.create_bucket(unique("mysql").replace("_", "-"))), unique("mysql")
    yield replace(engine_between(stack, store, "", stack.postgres.create_database(name)), mysql_url=source_url)
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module")
def blind_url(mysql: MySQLServer, shop: Engine) -> Iterator[str]:
    """For a user that may not see transactions. What does not ask for positions reads as this one: the server renews
    its list five times a second, and a read waits for it."""
    name = unique("blind")
    yield mysql.create_user(name, database(shop), rights=("SELECT",), sees_transactions=False)
    mysql.drop_user(name)


@pytest.fixture
def notes(shop: Engine) -> Stream:
    """A new table, empty."""
    return notes_of(shop)


@pytest.fixture(scope="module")
def many(shop: Engine) -> Stream:
    """65,536 rows, 35 MB as they are sent: more than lines and queues hold."""
    stream = notes_of(shop)
    fill(shop, stream, doublings=16, body="REPEAT('x', 250)")
    return stream


def notes_of(shop: Engine) -> Stream:
    name = unique("notes")
    shop.mysql(f"CREATE TABLE {name} (id int PRIMARY KEY, body text, changed datetime(6) NULL DEFAULT NOW(6))")
    return Stream(name, f"mysql:{database(shop)}.{name}", "id", Incremental("changed", overlap=timedelta(0)))


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


async def taken(source: MySQLSource, stream: Stream, selection: Window | Keys = ALL) -> tuple[Read, pl.DataFrame]:
    """What a read of a selection says and gives."""
    async with source.read(stream, (), selection) as reading:
        return reading.read, pl.concat([chunk.frame async for chunk in reading.chunks()])


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


async def test_rows_committed_late_with_an_earlier_stamp_arrive(shop: Engine, notes: Stream) -> None:
    with closing(connect(shop.mysql_url)) as late, late.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute(f"INSERT INTO {notes.name} (id) VALUES (1)")
        shop.mysql(f"INSERT INTO {notes.name} (id) VALUES (2)")
        await shop.deliver(notes)
        assert shop.rows(notes.name, "id") == [(2,)]
        late.commit()
    await shop.deliver(notes)
    assert shop.rows(notes.name, "id") == [(1,), (2,)]


async def test_the_position_is_in_utc_whatever_the_sessions_zones(shop: Engine, notes: Stream) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    with closing(connect(shop.mysql_url)) as other, other.cursor() as cursor:
        cursor.execute("SET SESSION time_zone = '+07:00'")
        cursor.execute("START TRANSACTION")
        cursor.execute(f"INSERT INTO {notes.name} (id) VALUES (1)")
        begun = datetime.now(UTC)
        read, _ = await taken(source_at(shop.mysql_url), notes)
    assert read.position is not None
    assert before <= datetime.fromisoformat(read.position) <= begun <= read.read_at <= datetime.now(UTC)
    assert read.note == ""


async def test_a_statement_that_waits_holds_the_position_back(shop: Engine, notes: Stream) -> None:
    """It has stamped its rows, and no transaction shows it."""
    with closing(connect(shop.mysql_url)) as holder, closing(connect(shop.mysql_url)) as waiting:
        execute(holder, f"SELECT GET_LOCK('{notes.name}', 0)")
        waiter = threading.Thread(target=execute, args=(waiting, f"SELECT GET_LOCK('{notes.name}', 60)"))
        waiter.start()
        waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"
        assert wait_until(lambda: shop.mysql(waits) != [])
        seen = datetime.now(UTC)
        read, _ = await taken(source_at(shop.mysql_url), notes)
        execute(holder, f"SELECT RELEASE_LOCK('{notes.name}')")
        waiter.join()
    assert read.position is not None
    assert datetime.fromisoformat(read.position) <= seen <= read.read_at


async def test_an_event_that_waits_holds_the_position_back(shop: Engine, mysql: MySQLServer, notes: Stream) -> None:
    """The server shows its statement under a name that connections have which do nothing yet."""
    ((former,),) = mysql.execute("SELECT @@GLOBAL.event_scheduler")
    mysql.execute("SET GLOBAL event_scheduler = ON")
    try:
        with closing(connect(shop.mysql_url)) as holder:
            execute(holder, f"SELECT GET_LOCK('{notes.name}', 0)")
            wait = f"DO GET_LOCK('{notes.name}', 60)"
            mysql.execute(f"CREATE EVENT {database(shop)}.late ON SCHEDULE AT CURRENT_TIMESTAMP DO {wait}")
            waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock' AND command = 'Connect'"
            assert wait_until(lambda: mysql.execute(waits) != [])
            seen = datetime.now(UTC)
            read, _ = await taken(source_at(shop.mysql_url), notes)
    finally:
        mysql.execute(f"SET GLOBAL event_scheduler = {former}")
    assert read.position is not None
    assert datetime.fromisoformat(read.position) <= seen <= read.read_at


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


async def test_many_reads_at_once_all_see_transactions(shop: Engine, notes: Stream) -> None:
    """The server renews its list when nobody has asked for a while; the reads wait for it together."""
    source = source_at(shop.mysql_url)
    assert {read.note for read, _ in await asyncio.gather(*(taken(source, notes) for _ in range(24)))} == {""}


async def test_rows_without_a_stamp_are_in_every_window(shop: Engine, notes: Stream) -> None:
    shop.mysql(f"INSERT INTO {notes.name} VALUES (1, 'a', NULL), (2, 'b', '2024-02-29')")
    assert counts(await shop.deliver(notes)) == {"read": 2, "inserted": 2}
    assert counts(await shop.deliver(notes)) == {"read": 1, "unchanged": 1}
    shop.mysql(f"UPDATE {notes.name} SET body = 'c' WHERE id = 1")
    assert counts(await shop.deliver(notes)) == {"read": 1, "updated": 1}


async def test_rows_of_one_stamp_are_not_split(shop: Engine, blind_url: str, notes: Stream) -> None:
    fill(shop, notes, doublings=10)
    stamp = "2024-02-29T12:00:00+00:00"
    source = source_at(blind_url, chunk_bytes=1000)
    assert (await taken(source, notes, Window(upper=stamp)))[1].is_empty()
    assert sorted((await taken(source, notes, Window(lower=stamp)))[1]["id"]) == list(range(1024))


@pytest.mark.parametrize(("digits", "held"), [("", "12:00:00"), ("(3)", "12:00:00.123"), ("(6)", "12:00:00.123456")])
@pytest.mark.parametrize("kind", ["datetime", "timestamp"])
async def test_a_bound_is_as_precise_as_the_column(
    shop: Engine, blind_url: str, kind: str, digits: str, held: str
) -> None:
    """A stamp was cut to its column's precision, and lies before the moment at which it was set."""
    name = unique("stamps")
    shop.mysql(
        f"CREATE TABLE {name} (id int PRIMARY KEY, changed {kind}{digits} NULL)",
        "SET SESSION time_zone = '+00:00'",
        f"INSERT INTO {name} VALUES (1, '2024-02-29 {held}'), (2, '2024-02-29 11:59:59')",
    )
    stream = Stream(name, f"mysql:{database(shop)}.{name}", "id", Incremental("changed"))
    bound = "2024-02-29T19:00:00.123456+07:00"
    _, frame = await taken(source_at(blind_url), stream, Window(lower=bound))
    assert frame["id"].to_list() == [1]
    _, frame = await taken(source_at(blind_url), stream, Window(upper=bound))
    assert frame["id"].to_list() == [2]


@pytest.mark.parametrize("kind", MYSQL_TABLES)
async def test_rows_are_found_by_their_keys_and_no_others(shop: Engine, blind_url: str, kind: str) -> None:
    table = KeyedMySQLTable(shop, MYSQL_TABLES[kind])
    table.insert_all()
    stream, names = table.stream, MYSQL_TABLES[kind].columns
    source = source_at(blind_url)
    _, frame = await taken(source, stream)
    rows = frame.sort("number").select(names).rows()
    assert len(set(rows)) == table.rows
    every_other = list(range(0, table.rows, 2))
    _, found = await taken(source, stream, Keys(names, [rows[number] for number in every_other]))
    assert sorted(found["number"]) == every_other
    table.delete(0)
    assert await source.existing(stream, (), Keys(names, rows)) == set(rows[1:])


async def test_a_row_with_a_binary_key_is_replayed(shop: Engine) -> None:
    name = unique("prices")
    shop.mysql(
        f"CREATE TABLE {name} (id varbinary(9) PRIMARY KEY, day date, changed datetime)",
        f"INSERT INTO {name} VALUES (X'00ff', '0000-00-00', NOW()), (X'61', NULL, NOW()), (X'41', NULL, NOW())",
    )
    stream = Stream(name, f"mysql:{database(shop)}.{name}", "id", Incremental("changed"))
    assert counts(await shop.deliver(stream)) == {"read": 3, "inserted": 2, "rejected": 1}
    shop.mysql(f"UPDATE {name} SET day = '2024-02-29' WHERE id = X'00ff'")
    assert counts(await shop.replay(stream)) == {"read": 1, "inserted": 1}


async def test_a_key_whose_case_changes_is_another_key(shop: Engine) -> None:
    """To the table, whose collation ignores case, it is the same."""
    name = unique("codes")
    shop.mysql(
        f"CREATE TABLE {name} (id varchar(9) COLLATE utf8mb4_unicode_ci PRIMARY KEY, changed datetime)",
        f"INSERT INTO {name} VALUES ('a', NOW()), ('b', NOW())",
    )
    stream = Stream(name, f"mysql:{database(shop)}.{name}", "id", Incremental("changed"))
    await shop.deliver(stream)
    shop.mysql(f"UPDATE {name} SET id = 'A' WHERE id = 'a'")
    assert counts(await shop.sweep(stream)) == {"read": 3, "inserted": 1, "deleted": 1, "unchanged": 1}
    assert {row[0] for row in shop.rows(name, "id")} == {"A", "b"}


async def test_names_are_quoted_wherever_they_stand(shop: Engine, mysql: MySQLServer) -> None:
    """Of database, table, key and cursor: in windows, sweeps and replays."""
    home, table, key, cursor = (unique(f"{kind} `%s' \"ü") for kind in ("home", "table", "key", "cursor"))
    place = f"{quote_in_backticks(home)}.{quote_in_backticks(table)}"
    mysql.create_database(home, owner=database(shop))
    shop.mysql(
        f"CREATE TABLE {place} ({quote_in_backticks(key)} varchar(9) PRIMARY KEY, {quote_in_backticks(cursor)} "
        "datetime, `d%` date)",
        f"INSERT INTO {place} VALUES ('a', NOW(), NULL), ('b', NOW(), NULL), ('c', NOW(), '0000-00-00')",
    )
    stream = Stream(unique("awkward"), f"mysql:{home}.{table}", key, Incremental(cursor))
    assert counts(await shop.deliver(stream)) == {"read": 3, "inserted": 2, "rejected": 1}
    shop.mysql(f"DELETE FROM {place} WHERE {quote_in_backticks(key)} = 'a'", f"UPDATE {place} SET `d%` = NULL")
    assert counts(await shop.replay(stream)) == {"read": 1, "inserted": 1}
    assert counts(await shop.sweep(stream)) == {"read": 3, "deleted": 1, "unchanged": 2}
    mysql.drop_database(home)


async def test_a_read_that_is_left_leaves_nothing_behind(shop: Engine, mysql: MySQLServer, many: Stream) -> None:
    """No session, no transaction, no thread; nor is the rest of the rows read. How a server that waits until it may
    send more is told, depends on how long it waited, so several reads are left."""
    before, pauses_seconds = sent_bytes(mysql), (0, 0.1, 0.3) * 2
    source = source_at(shop.mysql_url, chunk_bytes=CHUNK)
    for pause in pauses_seconds:
        async with source.read(many, (), Window()) as reading:
            chunks = reading.chunks()
            await anext(chunks)
            assert len(sessions(mysql, shop)) == 1
            await asyncio.sleep(pause)
            await chunks.aclose()
        assert "pipe" not in {thread.name for thread in threading.enumerate()}
        assert wait_until(lambda: sessions(mysql, shop) == [])
    assert sent_bytes(mysql) - before < len(pauses_seconds) * 2**16 * ROW // 2


@pytest.mark.parametrize(("kill", "error"), [("KILL", Unreachable), ("KILL QUERY", RetryableError)])
async def test_a_read_that_is_killed_is_worth_another_run(
    shop: Engine, mysql: MySQLServer, many: Stream, kill: str, error: type[Exception]
) -> None:
    source = source_at(shop.mysql_url, chunk_bytes=CHUNK)
    async with source.read(many, (), Window()) as reading:
        chunks = reading.chunks()
        await anext(chunks)
        (session,) = sessions(mysql, shop)
        mysql.execute(f"{kill} {session}")
        with pytest.raises(error, match=f"stream {many.name}"):
            async for _ in chunks:
                pass


async def test_a_table_that_is_changed_while_it_is_read_is_worth_another_run(shop: Engine, notes: Stream) -> None:
    source = source_at(shop.mysql_url)
    fill(shop, notes, doublings=1)
    async with source.read(notes, (), Window()) as reading:
        shop.mysql(f"ALTER TABLE {notes.name} FORCE")
        with pytest.raises(RetryableError, match=f"stream {notes.name}"):
            await anext(reading.chunks())


async def test_a_read_holds_a_few_chunks_however_large_the_table(
    shop: Engine, mysql: MySQLServer, many: Stream
) -> None:
    """While nobody asks for more, the server waits with the rest."""
    source = source_at(shop.mysql_url, chunk_bytes=CHUNK)
    async with source.read(many, (), Window()) as reading:
        chunks = reading.chunks()
        sizes = [len((await anext(chunks)).frame)]
        (session,) = sessions(mysql, shop)
        sending = f"SELECT 1 FROM information_schema.processlist WHERE id = {session} AND command = 'Query'"
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert mysql.execute(sending) == [(1,)]
        sizes += [len(chunk.frame) async for chunk in chunks]
    assert sum(sizes) == 2**16
    assert max(sizes) <= 2 * CHUNK // ROW


async def test_without_the_right_to_see_transactions_the_next_read_overlaps(blind_url: str, notes: Stream) -> None:
    read, _ = await taken(source_at(blind_url), replace(notes, capture=Incremental("changed")))
    assert read.position == (read.read_at - timedelta(minutes=15)).isoformat()
    assert "grant PROCESS" in read.note


async def test_on_a_replica_the_next_read_overlaps(shop: Engine, mysql: MySQLServer, notes: Stream) -> None:
    mysql.execute("SET GLOBAL read_only = 1")
    try:
        read, _ = await taken(source_at(shop.mysql_url), replace(notes, capture=Incremental("changed")))
    finally:
        mysql.execute("SET GLOBAL read_only = 0")
    assert read.position == (read.read_at - timedelta(minutes=15)).isoformat()
    assert "replica" in read.note


async def test_a_table_that_may_not_be_read_is_told_by_name(shop: Engine, mysql: MySQLServer, notes: Stream) -> None:
    stranger, home = unique("stranger"), unique("home")
    url = mysql.create_database(home, owner=stranger)
    with pytest.raises(SourceMissing, match=rf"no table {database(shop)}\.{notes.name} .*grant SELECT"):
        await taken(source_at(url), notes)
    mysql.drop_database(home)
    mysql.drop_user(stranger)


async def test_a_sample_is_drawn_in_the_snapshot_of_the_read(shop: Engine, notes: Stream) -> None:
    fill(shop, notes, doublings=12)
    source = source_at(shop.mysql_url)
    async with source.read(notes, (), Window()) as reading:
        shop.mysql(f"DELETE FROM {notes.name}")
        assert sum([len(chunk.frame) async for chunk in reading.chunks()]) == 4096
        count, sample = await reading.sample(400)
    assert count == 4096
    assert 200 < sum(len(chunk.frame) for chunk in sample) < 600


async def test_what_mariadb_alone_calls_json_is_rejected_alone(engine: Engine, mysql_database: str) -> None:
    engine.mysql_url = mysql_database
    texts = ["1.", "[-1.5e+]", '{"a": -}', '"\\x"', '{"a":"x, - y"}', "[1.5e-3, -0.0]"]
    engine.mysql(
        "CREATE TABLE notes (id int primary key, body json, changed timestamp(6) default now(6))",
        *(f"INSERT INTO notes(id, body) VALUES ({n}, X'{text.encode().hex()}')" for n, text in enumerate(texts)),
        "COMMIT",
    )
    stream = Stream("notes", f"mysql:{mysql_database.rpartition('/')[2]}.notes", "id", Incremental("changed"))
    await engine.deliver(stream)
    assert [(one["reason"], one["field"]) for one in engine.rejects()] == [("no_json_form", "body")] * 4
    assert engine.rows("notes", "id") == [(4,), (5,)]
