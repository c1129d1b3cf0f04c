"""Commands that take rows away from snapshots which should show them: the read is refused, and nothing is deleted."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest

from millrace import Incremental, Snapshot, Stream
from millrace.base.errors import RetryableError
from tests.support.engine import Engine

CREATE = (
    "CREATE TABLE things (id int PRIMARY KEY, changed timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE (id);"
    "CREATE TABLE low PARTITION OF things FOR VALUES FROM (0) TO (100);"
    "CREATE TABLE high PARTITION OF things FOR VALUES FROM (100) TO (200);"
    "INSERT INTO things SELECT generate_series(1, 150);"
    "CREATE VIEW shown AS SELECT * FROM things"
)
SWEPT = Stream("things", "postgres:public.things", "id", Incremental("changed"), sweep="every run")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.parametrize(
    "stream",
    [SWEPT, Stream("things", "postgres:public.things", "id", Snapshot()),
     Stream("things", "postgres:public.shown", "id", Snapshot())],
    ids=["sweep", "snapshot", "view"],
)  # fmt: skip
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE things; INSERT INTO things SELECT generate_series(1, 150)",
        "TRUNCATE low",
        "ALTER TABLE things DETACH PARTITION high",
        "DROP TABLE low",
    ],
    ids=["filled again", "partition", "detached", "dropped"],
)
async def test_a_table_that_is_replaced_after_the_snapshot_is_read_again(
    engine: Engine, stream: Stream, statement: str
) -> None:
    engine.source(CREATE)
    stream = replace(stream, max_delete_share=1.0)
    await engine.run(stream)
    loaded = engine.rows("things", "id")
    with closing(psycopg2.connect(engine.postgres_url)) as writer, writer.cursor() as cursor:
        # The read takes its snapshot, and waits for the lock of the table.
        cursor.execute(statement)
        run = asyncio.create_task(engine.run(stream))
        await asyncio.to_thread(wait_for_the_lock, engine)
        writer.commit()
    with pytest.raises(RetryableError, match="while it was read"):
        await run
    assert engine.rows("things", "id") == loaded
    await engine.run(stream)
    assert engine.rows("things", "id") == engine.source("SELECT id FROM things ORDER BY 1")


def wait_for_the_lock(engine: Engine) -> None:
    """Return when a session of the source waits for a lock."""
    deadline = time.monotonic() + 30
    while engine.source(WAITING) == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
