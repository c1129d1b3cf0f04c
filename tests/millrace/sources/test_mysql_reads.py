"""Reads of MySQL tables: those that are left, killed or overtaken by a change, in bounded memory and one snapshot."""

from __future__ import annotations

import asyncio
import threading

import pytest

from local.mysql import MySQLServer
from millrace import Incremental, Stream
from millrace.base.errors import RetryableError, Unreachable
from millrace.sources.chunk import Window
from tests.support.engine import Engine
from tests.support.mysql_places import (
    CHUNK,
    ROW,
    fill,
    sent_bytes,
    sessions,
    source_at,
    wait_until,
)


async def test_a_read_that_is_left_leaves_nothing_behind(
    mysql_shop: Engine, mysql: MySQLServer, mysql_many: Stream
) -> None:
    """No session, no transaction, no thread; nor is the rest of the rows read. How a server that waits until it may
    send more is told, depends on how long it waited, so several reads are left."""
    before, pauses_seconds = sent_bytes(mysql), (0, 0.1, 0.3) * 2
    source = source_at(mysql_shop.mysql_url, chunk_bytes=CHUNK)
    for pause in pauses_seconds:
        async with source.read(mysql_many, (), Window()) as reading:
            chunks = reading.read_chunks()
            await anext(chunks)
            assert len(sessions(mysql, mysql_shop)) == 1
            await asyncio.sleep(pause)
            await chunks.aclose()
        assert "pipe" not in {thread.name for thread in threading.enumerate()}
        assert wait_until(lambda: sessions(mysql, mysql_shop) == [])
    assert sent_bytes(mysql) - before < len(pauses_seconds) * 2**16 * ROW // 2


@pytest.mark.parametrize(("kill", "error"), [("KILL", Unreachable), ("KILL QUERY", RetryableError)])
async def test_a_read_that_is_killed_is_worth_another_run(
    mysql_shop: Engine, mysql: MySQLServer, mysql_many: Stream, kill: str, error: type[Exception]
) -> None:
    source = source_at(mysql_shop.mysql_url, chunk_bytes=CHUNK)
    async with source.read(mysql_many, (), Window()) as reading:
        chunks = reading.read_chunks()
        await anext(chunks)
        (session,) = sessions(mysql, mysql_shop)
        mysql.execute(f"{kill} {session}")
        with pytest.raises(error, match=f"stream {mysql_many.name}"):
            async for _ in chunks:
                pass


async def test_a_table_that_is_changed_while_it_is_read_is_worth_another_run(
    mysql_shop: Engine, mysql_notes: Stream
) -> None:
    source = source_at(mysql_shop.mysql_url)
    fill(mysql_shop, mysql_notes, doublings=1)
    async with source.read(mysql_notes, (), Window()) as reading:
        mysql_shop.mysql(f"ALTER TABLE {mysql_notes.name} FORCE")
        with pytest.raises(RetryableError, match=f"stream {mysql_notes.name}"):
            await anext(reading.read_chunks())


async def test_a_read_holds_a_few_chunks_however_large_the_table(
    mysql_shop: Engine, mysql: MySQLServer, mysql_many: Stream
) -> None:
    """While nobody asks for more, the server waits with the rest."""
    source = source_at(mysql_shop.mysql_url, chunk_bytes=CHUNK)
    async with source.read(mysql_many, (), Window()) as reading:
        chunks = reading.read_chunks()
        sizes = [len((await anext(chunks)).frame)]
        (session,) = sessions(mysql, mysql_shop)
        sending = f"SELECT 1 FROM information_schema.processlist WHERE id = {session} AND command = 'Query'"
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert mysql.execute(sending) == [(1,)]
        sizes += [len(chunk.frame) async for chunk in chunks]
    assert sum(sizes) == 2**16
    assert max(sizes) <= 2 * CHUNK // ROW


async def test_a_sample_is_drawn_in_the_snapshot_of_the_read(mysql_shop: Engine, mysql_notes: Stream) -> None:
    fill(mysql_shop, mysql_notes, doublings=12)
    source = source_at(mysql_shop.mysql_url)
    async with source.read(mysql_notes, (), Window()) as reading:
        mysql_shop.mysql(f"DELETE FROM {mysql_notes.name}")
        assert sum([len(chunk.frame) async for chunk in reading.read_chunks()]) == 4096
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
