"""Who waits for whom in Postgres: who holds a table is named, and a run that is frozen holds none for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from millrace.base.errors import RetryableError
from millrace.drivers import session_settings
from millrace.warehouse import session
from tests.support.engine import Engine, database_of
from tests.support.postgres_things import NUMBERS, THINGS

ROOT = Path(__file__).parents[3]


def shortened(monkeypatch: pytest.MonkeyPatch, which: str, **milliseconds: int) -> None:
    monkeypatch.setattr(session_settings, which, {**getattr(session_settings, which), **milliseconds})


async def test_who_holds_a_table_of_the_source_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shortened(monkeypatch, "SOURCE", lock_timeout=100)
    engine.source(NUMBERS)
    with closing(psycopg2.connect(engine.postgres_url, application_name="migration")) as other:
        with other.cursor() as cursor:
            cursor.execute("ALTER TABLE things ADD COLUMN more int")
        user, process = database_of(engine.postgres_url), other.info.backend_pid
        told = rf"process {process} \(user {user}, application migration, since 2.* UTC\) .* on public\.things"
        with pytest.raises(RetryableError, match=rf"stream things .*lock timeout; {told}.*run again"):
            await engine.deliver(THINGS)


@pytest.mark.parametrize("table", ["millrace.batches", "millrace.leases", "engine.things"])
async def test_who_holds_a_table_of_the_warehouse_is_named(
    postgres_engine: Engine, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    await postgres_engine.deliver(THINGS)
    shortened(monkeypatch, "POSTGRES_WAREHOUSE", lock_timeout=100)
    postgres_engine.source("ALTER TABLE things ADD COLUMN more int DEFAULT 1; UPDATE things SET changed = now()")
    with closing(postgres_engine.connect_warehouse()) as analyst:
        with analyst.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
        process = analyst.info.backend_pid
        with pytest.raises(RetryableError, match=rf"lock timeout; process {process} .*AccessShareLock on {table}"):
            await postgres_engine.deliver(THINGS)
    result = await postgres_engine.deliver(THINGS)
    assert result and result.updated == 1


def test_a_frozen_run_does_not_hold_the_ledger_for_ever(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCKED_IDLE_MILLISECONDS", 100)
    postgres_engine.query("CREATE SCHEMA millrace; CREATE TABLE millrace.batches (n int)")
    with session.open_session(postgres_engine.connect_warehouse, "test") as frozen:
        session.lock_table(frozen, "millrace.batches")
        postgres_engine.query("SET lock_timeout = '20s'; LOCK TABLE millrace.batches")


FROZEN = """
import asyncio, os, signal, sys
import psycopg2
from millrace import Incremental, Stream
from millrace.drivers import session_settings
from millrace.sources.chunk import Window
from millrace.sources.postgres import PostgresSource

session_settings.SOURCE = {**session_settings.SOURCE, sys.argv[2]: "500"}

async def read():
    stream = Stream("things", "postgres:public.things", "id", Incremental("changed"))
    source = PostgresSource(lambda: psycopg2.connect(sys.argv[1]), 1024)
    async with source.read(stream, (), Window()) as reading:
        chunks = reading.read_chunks()
        await anext(chunks)
        if sys.argv[2] != "tcp_user_timeout":
            async for _ in chunks:
                pass
        os.kill(os.getpid(), signal.SIGSTOP)

asyncio.run(read())
"""


@pytest.mark.parametrize(
    ("setting", "rows"), [("tcp_user_timeout", 20_000), ("idle_in_transaction_session_timeout", 1)]
)
def test_a_frozen_run_does_not_hold_its_table_for_ever(engine: Engine, setting: str, rows: int) -> None:
    """Stopped while rows are on their way, more than the buffers of a connection hold, and between two statements."""
    engine.source(
        "CREATE TABLE things AS SELECT i AS id, now() AS changed, repeat('x', 1000) AS body "
        f"FROM generate_series(1, {rows}) AS i"
    )
    frozen = subprocess.Popen([sys.executable, "-c", FROZEN, engine.postgres_url, setting], cwd=ROOT)
    try:
        _, status = os.waitpid(frozen.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        engine.source("SET lock_timeout = '20s'; ALTER TABLE things ADD COLUMN more int")
    finally:
        frozen.send_signal(signal.SIGKILL)
        frozen.wait()
