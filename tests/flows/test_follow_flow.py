"""Continuous mode: cycles in one run, that try again what passes by itself and end when they are told to."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from millrace.base.errors import SourceMissing
from millrace.flows.follow import FollowRequest, follow
from millrace.flows.request import ReplicateRequest
from millrace.tasks.stream_life import pause
from tests.flows.conftest import Places, publish_followed, told_as_loaded
from tests.flows.inbox import DEADLINE_SECONDS

LEASE = "UPDATE millrace.leases SET holder = 'somebody', expires_at = SYSDATE + INTERVAL '{} seconds'"


@pytest.fixture
def followed_shop(places: Places, request_of_followed: ReplicateRequest) -> FollowRequest:
    """A request to follow the pipeline every second; its publication is there."""
    places.source(publish_followed())
    return FollowRequest(pipeline=request_of_followed.pipeline, every_seconds=1, seconds=60)


async def test_changes_arrive_until_the_run_is_told_to_end(places: Places, followed_shop: FollowRequest) -> None:
    run = asyncio.create_task(follow(followed_shop))
    await wait_for(places, "SELECT count(*) FROM followed.items", 3)
    places.source("DELETE FROM items WHERE id > 1; UPDATE orders SET note = 'c'; INSERT INTO notes VALUES (2)")
    await wait_for(places, "SELECT count(*) FROM followed.items", 1)
    await wait_for(places, "SELECT count(*) FROM followed.notes", 2)
    os.kill(os.getpid(), signal.SIGTERM)
    followed = await run
    assert followed.cycles >= 2
    assert followed.failures == 0
    assert followed.greatest_age_seconds is not None
    # One commit for all streams of a cycle.
    assert places.warehouse("SELECT note FROM followed.orders") == [("c",), ("c",)]


async def test_the_automation_for_silence_hears_of_it(places: Places, followed_shop: FollowRequest) -> None:
    await follow(followed_shop.model_copy(update={"seconds": 0.1}))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await told_as_loaded("followed"):
        assert time.monotonic() < deadline, "no event arrived"
        await asyncio.sleep(0.2)


async def test_a_cycle_that_cannot_run_now_is_tried_again(places: Places, followed_shop: FollowRequest) -> None:
    await follow(followed_shop.model_copy(update={"seconds": 0.1}))
    places.warehouse(LEASE.format(4))
    places.source("DELETE FROM items")
    run = asyncio.create_task(follow(followed_shop))
    await wait_for(places, "SELECT count(*) FROM followed.items", 0)
    os.kill(os.getpid(), signal.SIGTERM)
    followed = await run
    assert followed.failures >= 1
    assert followed.cycles >= 1


async def test_a_paused_stream_is_not_read(places: Places, followed_shop: FollowRequest) -> None:
    await pause(followed_shop.pipeline, "items")
    await follow(followed_shop.model_copy(update={"seconds": 0.1}))
    assert places.warehouse("SELECT count(*) FROM followed.orders") == [(2,)]
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'followed' ORDER BY 1"
    assert places.warehouse(tables) == [("notes",), ("orders",)]


async def test_what_a_person_must_do_ends_the_run(places: Places, followed_shop: FollowRequest) -> None:
    places.source("DROP TABLE notes")
    with pytest.raises(SourceMissing, match="notes"):
        await follow(followed_shop)


async def wait_for(places: Places, query: str, expected: int) -> None:
    """Wait until a query of the warehouse gives a number; its table may not be there yet."""
    for _ in range(150):
        try:
            if await asyncio.to_thread(places.warehouse, query) == [(expected,)]:
                return
        except Exception as error:
            if "does not exist" not in str(error):
                raise
        await asyncio.sleep(0.2)
    pytest.fail(f"{query} does not give {expected}")
