"""After every commit the targets equal a state that the source really had, across tables."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import pytest

from millrace import ChangeLog, Stream
from millrace.base.errors import RetryableError
from millrace.seed_data.transfers import OPENING_AMOUNT, TABLES, TransferWriters, create_tables, writing
from tests.support.engine import PUBLICATION, Engine, pipeline_of

LEFT, RIGHT = (Stream(name, f"postgres:public.{name}", "id", ChangeLog(), max_delete_share=1.0) for name in TABLES)
ACCOUNTS = 20
SUM = 2 * ACCOUNTS * OPENING_AMOUNT
TOTAL = "SELECT (SELECT sum(amount) FROM {0}left_side) + (SELECT sum(amount) FROM {0}right_side)"


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_sum_over_two_tables_holds_after_every_commit(logged: Engine, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    logged.source(
        f"{create_tables(ACCOUNTS)} CREATE PUBLICATION {PUBLICATION} FOR TABLE left_side (id), right_side (id) "
        "WITH (publish_via_partition_root = true)"
    )
    with writing(TransferWriters(logged.postgres_url, ACCOUNTS, seed)):
        for _ in range(12):
            if chance.random() < 0.2:
                # Read and never loaded, as of a run that was killed.
                with suppress(RetryableError):
                    await logged.read_log(replace(pipeline_of(LEFT), streams=(LEFT, RIGHT)), [LEFT, RIGHT])
            await follow(logged)
            assert logged.query(TOTAL.format("engine.")) == [(SUM,)]
    await follow(logged)
    assert logged.source(TOTAL.format("")) == [(SUM,)]
    for name in TABLES:
        assert logged.rows(name, "id", "amount") == logged.source(f"SELECT id, amount FROM {name} ORDER BY 1")


async def follow(logged: Engine) -> None:
    """Follow both tables; again, as a task does, if one is truncated while it is read."""
    for _ in range(10):
        with suppress(RetryableError):
            await logged.follow(LEFT, RIGHT)
            return
    pytest.fail("no read in ten succeeded")
