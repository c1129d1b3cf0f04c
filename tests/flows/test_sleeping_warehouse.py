"""Runs of a pipeline whose leases are kept in the lake, with a warehouse that nobody can enter while they are idle."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from tests.flows.conftest import OwnPipeline, Places
from tests.saved_blocks import save_blocks

OLD = "'2020-01-01'"
"""A stamp that no overlap of a window reaches."""


@pytest.fixture
async def shop(places: Places, own_pipeline: OwnPipeline) -> ReplicateRequest:
    """A stream that was loaded once, with leases in the lake."""
    await save_blocks(places.environment | {"WAREHOUSE_LEASES": "lake"})
    places.source("CREATE TABLE asleep (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
    places.source(f"INSERT INTO asleep SELECT i, {OLD} FROM generate_series(1, 5) AS i")
    request = ReplicateRequest(pipeline=own_pipeline("asleep", "id"))
    (row,) = (await replicate(request)).streams
    assert (row.status, row.inserted) == ("loaded", 5)
    return request


async def shut(places: Places) -> None:
    """Give the pipeline a password with which nobody is let in; the warehouse is the same one."""
    url = make_url(places.environment["WAREHOUSE_URL"]).set(password="wrong")
    environment = places.environment | {"WAREHOUSE_URL": url.render_as_string(hide_password=False)}
    await save_blocks(environment | {"WAREHOUSE_LEASES": "lake"})


async def test_idle_runs_need_no_warehouse(places: Places, shop: ReplicateRequest) -> None:
    await shut(places)
    for _ in range(3):
        (row,) = (await replicate(shop)).streams
        assert (row.status, row.reason) == ("nothing new", "")
    places.source("INSERT INTO asleep VALUES (6)")
    with pytest.raises(ExceptionGroup, match="password"):
        await replicate(shop)
    await save_blocks(places.environment | {"WAREHOUSE_LEASES": "lake"})
    (row,) = (await replicate(shop)).streams
    assert (row.status, row.inserted) == ("loaded", 1)
