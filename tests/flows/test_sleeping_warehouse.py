"""Runs of a pipeline whose leases are kept in the lake, with a warehouse that nobody can enter while they are idle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.tasks.report import RunFailed
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


async def test_batches_wait_for_their_load_and_the_report_says_until_when(places: Places, tmp_path: Path) -> None:
    await save_blocks(places.environment | {"WAREHOUSE_LEASES": "lake"})
    places.source("CREATE TABLE gathered (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
    places.source(f"INSERT INTO gathered SELECT i, {OLD} FROM generate_series(1, 5) AS i")
    path = tmp_path / "shop.py"
    path.write_text(
        "from datetime import timedelta\nfrom millrace import Incremental, Pipeline, Stream\n"
        "shop = Pipeline('shop', [Stream('gathered', source='postgres:public.gathered', key='id', "
        "capture=Incremental('changed', overlap=timedelta(0)))], load_every=timedelta(hours=1))\n"
    )
    request = ReplicateRequest(pipeline=f"{path}:shop")
    (row,) = (await replicate(request)).streams
    assert (row.status, row.inserted) == ("loaded", 5)
    await shut(places)
    for number in (6, 7):
        places.source(f"INSERT INTO gathered VALUES ({number})")
        (row,) = (await replicate(request)).streams
        assert row.status == "landed"
        assert re.fullmatch(r"landed, loads at \d\d:\d\d UTC", row.note)
    await save_blocks(places.environment | {"WAREHOUSE_LEASES": "lake"})
    (row,) = (await replicate(request.model_copy(update={"load_now": True}))).streams
    assert row.status == "loaded"
    assert row.inserted == 2
    assert places.warehouse("SELECT id FROM shop.gathered ORDER BY 1") == [(number,) for number in range(1, 8)]


async def test_what_is_due_is_loaded_though_the_source_cannot_be_read(places: Places, tmp_path: Path) -> None:
    sleeping = places.environment | {"WAREHOUSE_LEASES": "lake"}
    await save_blocks(sleeping)
    places.source("CREATE TABLE overdue (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
    places.source(f"INSERT INTO overdue SELECT i, {OLD} FROM generate_series(1, 5) AS i")
    path = tmp_path / "shop.py"
    declaration = (
        "from datetime import timedelta\nfrom millrace import Incremental, Pipeline, Stream\n"
        "shop = Pipeline('overdue', [Stream('overdue', source='postgres:public.overdue', key='id', "
        "capture=Incremental('changed', overlap=timedelta(0)))], load_every=timedelta({}))\n"
    )
    path.write_text(declaration.format("hours=1"))
    request = ReplicateRequest(pipeline=f"{path}:shop")
    await replicate(request)
    places.source("INSERT INTO overdue VALUES (6)")
    (row,) = (await replicate(request)).streams
    assert row.status == "landed"
    url = make_url(sleeping["SOURCE_POSTGRES_URL"]).set(password="wrong").render_as_string(hide_password=False)
    await save_blocks(sleeping | {"SOURCE_POSTGRES_URL": url})
    with pytest.raises(RunFailed) as failed:
        await replicate(request)
    assert failed.value.report.streams[0].note == "", "it is not time"
    due = tmp_path / "due.py"
    due.write_text(declaration.format("seconds=1"))
    with pytest.raises(RunFailed) as failed:
        await replicate(ReplicateRequest(pipeline=f"{due}:shop"))
    (row,) = failed.value.report.streams
    assert (row.status, row.note) == ("refused", "loaded what waited in the lake: 1 changed rows")
    assert places.warehouse("SELECT count(*) FROM overdue.overdue") == [(6,)]
