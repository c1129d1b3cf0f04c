"""A line that breaks in the middle of the rows, on either side: a clean error, and the next run is right."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from millrace.base.errors import Unreachable
from tests.faults.judge import Judge
from tests.faults.places import Places, through
from tests.faults.subjects import Collection, Table
from tests.faults.tcp_proxy import line_to

MANY = 3000
SHARES = [0.2, 0.5, 0.8]
"""Of the bytes of a whole run, after which the line is cut."""

DIRECT = "?directConnection=true"
"""Otherwise the driver asks the server for its address and takes the way around the line."""


@pytest.mark.parametrize("share", SHARES)
async def test_a_source_whose_line_breaks_off(places: Places, share: float) -> None:
    table = Table(places, MANY)
    with line_to(places.postgres_url) as line:
        engine = replace(places, postgres_url=through(places.postgres_url, line.port())).engine()
        await engine.deliver(table.named("all_of_it"))
        line.cut_after(round(line.carried_bytes() * share))
        with pytest.raises(Unreachable, match="stream notes"):
            await engine.deliver(table.stream)
        assert line.cuts() == 1
        await engine.deliver(table.stream)
    Judge(places, table).check()


@pytest.mark.parametrize("share", SHARES)
async def test_a_postgres_warehouse_whose_line_breaks_off(postgres_places: Places, share: float) -> None:
    places, table = postgres_places, Table(postgres_places, MANY)
    with line_to(places.warehouse_url) as line:
        engine = replace(places, warehouse_url=through(places.warehouse_url, line.port())).engine()
        await engine.deliver(table.named("all_of_it"))
        line.cut_after(round(line.carried_bytes() * share))
        with pytest.raises(Unreachable):
            await engine.deliver(table.stream)
        assert line.cuts() == 1
        await engine.deliver(table.stream)
    Judge(places, table).check()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("times", [1, 5])
async def test_a_mongodb_whose_line_breaks_off(
    places: Places, mongo_database: str, monkeypatch: pytest.MonkeyPatch, share: float, times: int
) -> None:
    """The driver asks once more for what begins a cursor, never for what continues one."""
    monkeypatch.setattr("millrace.sources.mongo.BATCH_DOCUMENTS", MANY // 6)
    collection = Collection(places, mongo_database, MANY)
    with line_to(places.mongo_url) as line:
        engine = replace(places, mongo_url=f"{through(places.mongo_url, line.port())}{DIRECT}").engine()
        await engine.deliver(collection.named("all_of_it"))
        line.cut_after(round(line.carried_bytes() * share), times)
        with pytest.raises(Unreachable, match="stream papers"):
            await engine.deliver(collection.stream)
        assert line.cuts() >= 1
        line.cut_after(0, 0)
        await engine.deliver(collection.stream)
    Judge(places, collection).check()


GATE = """
CREATE FUNCTION gate(id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF id = 2000 THEN PERFORM pg_advisory_lock(1); END IF;
    RETURN id;
END $$;
CREATE VIEW gated AS SELECT gate(id) AS id, body, amount, changed FROM notes
"""
TERMINATE_THE_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory' AND query LIKE 'COPY%'
"""


@pytest.fixture
def gate(places: Places) -> Iterator[Any]:
    """A session of the source; while it holds the lock 1, nobody reads past the view's 2000th row."""
    with closing(psycopg2.connect(places.postgres_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


async def test_a_source_that_ends_the_session_while_rows_flow(places: Places, gate: Any) -> None:
    table = Table(places, MANY)
    gate.execute(GATE)
    gate.execute("SELECT pg_advisory_lock(1)")
    killer = threading.Thread(target=_terminate_the_waiting, args=(gate,))
    killer.start()
    engine, stream = places.engine(), replace(table.stream, source="postgres:public.gated")
    engine.chunk_bytes = 4096
    with pytest.raises(Unreachable, match="stream notes"):
        await engine.deliver(stream)
    killer.join()
    await engine.deliver(stream)
    Judge(places, table).check()


def _terminate_the_waiting(gate: Any) -> None:
    gate.execute(TERMINATE_THE_WAITING)
    while not gate.fetchall():
        gate.execute(TERMINATE_THE_WAITING)
    gate.execute("SELECT pg_advisory_unlock(1)")


@pytest.mark.parametrize("action", ["close", "close_after", "close_after_rows:1500"])
async def test_a_redshift_whose_copy_breaks_off(places: Places, action: str) -> None:
    table, engine = Table(places, MANY), places.engine()
    inject = json.dumps({"statement": "copy", "nth": 1, "action": action})
    with closing(engine.connect_warehouse()) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"STANDIN INJECT '{inject}'")
    with pytest.raises(Unreachable, match="stream engine"):
        await engine.deliver(table.stream)
    await engine.deliver(table.stream)
    Judge(places, table).check()
