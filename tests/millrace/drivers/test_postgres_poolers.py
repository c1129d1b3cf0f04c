"""PgBouncer before a source or a warehouse: values are exact, or the way of pooling is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from local.pgbouncer import PgBouncer, PoolMode, start_pgbouncer
from local.stack import Stack
from millrace.base.errors import ConfigurationError, Unreachable
from millrace.blocks.sql import opener, postgres_connector
from millrace.drivers import session_settings
from millrace.drivers.psycopg_errors import database_errors
from tests.conftest import unique
from tests.support.engine import Engine, database_of, engine_between
from tests.support.postgres_things import NUMBERS, THINGS, url_of_warehouse
from tests.torture.crash import Trap, trapped

Pooled = Callable[..., AbstractContextManager[PgBouncer]]


@pytest.fixture
def pooled(tmp_path: Path) -> Pooled:
    """``pooled(url, mode)``: a PgBouncer before the database of a URL."""

    def start(url: str, mode: PoolMode, **options: Any) -> PgBouncer:
        tmp_path.chmod(0o755)
        return start_pgbouncer(tmp_path / unique("pgbouncer"), url, mode, **options)

    return start


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_values_are_exact_through_a_pooler(
    engine: Engine, stack: Stack, pooled: Pooled, mode: PoolMode, postgres_database: str
) -> None:
    for setting in ("intervalstyle = 'postgres'", "extra_float_digits = 0", "timezone = 'Asia/Kathmandu'"):
        stack.postgres.execute(f'ALTER DATABASE "{database_of(postgres_database)}" SET {setting}')
    engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1, '1 year 2 days')")
    with pooled(postgres_database, mode, round_robin=True) as pooler:
        others = [psycopg2.connect(pooler.url) for _ in range(2)]
        for other in others:
            with other.cursor() as cursor:
                cursor.execute("SELECT 1")
        engine.postgres_url = pooler.url
        if mode == "transaction":
            others.pop().close()
        await engine.deliver(THINGS)
        swept = await engine.sweep(THINGS)
        for other in others:
            other.close()
    assert engine.rows("things", "span") == [("P1Y2D",)]
    assert swept and (swept.updated, swept.unchanged) == (0, 1)


async def test_a_read_leaves_no_setting_in_a_session_that_a_pooler_lends(
    engine: Engine, pooled: Pooled, postgres_database: str
) -> None:
    engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    with pooled(postgres_database, "transaction", pool_size=1) as pooler:
        engine.postgres_url = pooler.url
        await engine.deliver(THINGS)
        left = engine.source("SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'")
    assert left == []


async def test_statement_pooling_is_refused_by_name(engine: Engine, pooled: Pooled, postgres_database: str) -> None:
    engine.source(NUMBERS)
    with pooled(postgres_database, "statement") as pooler:
        engine.postgres_url = pooler.url
        with pytest.raises(ConfigurationError, match=r"statement pooling.* Remedy: use transaction or session pooling"):
            await engine.deliver(THINGS)


async def test_a_connection_that_is_lost_behind_a_pooler_is_worth_another_run(
    engine: Engine, pooled: Pooled, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever statement, the first of a transaction included, where a statement pooler closes it."""
    engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    trap, lost = Trap(), []
    with pooled(postgres_database, "transaction") as pooler:
        engine.postgres_url = pooler.url
        monkeypatch.setattr(engine, "connect_source", trapped(engine.connect_source, trap))
        for step in count(2):  # the first one opens the connection
            trap.arm(step, "cut")
            try:
                await engine.deliver(THINGS)
            except Unreachable:
                lost.append(trap.struck)
            if not trap.struck:
                break
    assert "SET" in lost and len(lost) > 6
    assert len(engine.rows("things")) == 1


@pytest.mark.parametrize("round_robin", [False, True])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_warehouse_behind_a_pooler_that_lends_sessions_is_refused_by_name(
    stack: Stack, postgres_engine: Engine, pooled: Pooled, mode: PoolMode, *, round_robin: bool
) -> None:
    postgres_engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    with pooled(url_of_warehouse(stack, postgres_engine), mode, round_robin=round_robin) as pooler:
        # Two sessions of the server, so that there is a choice.
        with closing(psycopg2.connect(pooler.url)) as one, closing(psycopg2.connect(pooler.url)) as other:
            for connection in (one, other):
                connection.autocommit = mode == "statement"
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
        behind = engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, pooler.url)
        with pytest.raises(ConfigurationError, match=r"transaction pooling.* Remedy: use the warehouse's own address"):
            await behind.deliver(THINGS)


async def test_a_warehouse_behind_a_pooler_that_gives_sessions_is_loaded(
    stack: Stack, postgres_engine: Engine, pooled: Pooled
) -> None:
    postgres_engine.source(f"{NUMBERS}; INSERT INTO things VALUES (1)")
    with pooled(url_of_warehouse(stack, postgres_engine), "session", pool_size=20) as pooler:
        behind = engine_between(stack, postgres_engine.store, postgres_engine.postgres_url, pooler.url)
        result = await behind.deliver(THINGS)
        assert result and result.inserted == 1


def test_a_pooler_takes_what_is_sent_when_a_connection_is_made(pooled: Pooled, postgres_database: str) -> None:
    with (
        pooled(postgres_database, "transaction") as pooler,
        closing(opener(postgres_connector(pooler.url, place="test"))()) as connection,
    ):
        session_settings.begin_reading(connection, "REPEATABLE READ")
        assert connection.encoding == "UTF8"


def test_an_option_that_a_pooler_refuses_is_named(pooled: Pooled, postgres_database: str) -> None:
    with pooled(postgres_database, "transaction") as pooler:
        connect = opener(postgres_connector(f"{pooler.url}?options=-c%20statement_timeout%3D1", place="test"))
        refused = pytest.raises(ConfigurationError, match=r"startup parameter.* Remedy: leave it out of the URL")
        with refused, database_errors("test"):
            connect()
