"""What a run tells: a row for every stream, whatever became of it, why, and what to do; a dry run shows its plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from sqlalchemy.engine import make_url

from local.processes import free_port
from millrace.base.errors import SourceMissing, StreamBusy, Unreachable
from millrace.declaration.find import find_pipeline
from millrace.declaration.source_kinds import POSTGRES
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.tasks.connections import open_warehouse
from millrace.tasks.extract import EXTRACT_STREAM
from millrace.tasks.report import RunFailed
from millrace.tasks.stream_life import find_left_out
from tests.flows.conftest import Places
from tests.saved_blocks import save_blocks

STREAM = "Stream({0!r}, source='postgres:public.{0}', key='id', capture=Incremental('changed'))"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for task in (EXTRACT_STREAM[POSTGRES], find_left_out):
        monkeypatch.setattr(task, "retry_delay_seconds", [0, 0, 0])
    yield


@pytest.fixture
def shop(places: Places, tmp_path: Path) -> str:
    """A pipeline of two streams with a row each."""
    for table in ("orders", "customers"):
        places.source(f"CREATE TABLE {table} (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
        places.source(f"INSERT INTO {table} VALUES (1)")
    module = tmp_path / "shop.py"
    streams = ", ".join(STREAM.format(table) for table in ("orders", "customers"))
    module.write_text(f"from millrace import Incremental, Pipeline, Stream\npipeline = Pipeline('shop', [{streams}])\n")
    return str(module)


async def ended(pipeline: str, **asked: Any) -> State[Any]:
    return await replicate(ReplicateRequest(pipeline=pipeline, **asked), return_state=True)


async def failure_of(state: State[Any]) -> RunFailed:
    failure = await state.aresult(raise_on_failure=False)
    assert isinstance(failure, RunFailed)
    return failure


async def artifacts(flow_run_id: UUID | None) -> dict[str | None, Artifact]:
    assert flow_run_id is not None
    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    async with get_client() as client:
        return {one.key: one for one in await client.read_artifacts(artifact_filter=only)}


async def rows_of(state: State[Any]) -> dict[str, tuple[str, str]]:
    """Status and reason of each stream, as people see them beside the run."""
    artifact = (await artifacts(state.state_details.flow_run_id))["millrace-shop"]
    return {row["stream"]: (row["status"], row["reason"]) for row in json.loads(artifact.data)}


async def test_every_stream_has_its_row_and_the_state_names_what_failed(places: Places, shop: str) -> None:
    places.source("ALTER TABLE orders RENAME TO elsewhere")
    state = await ended(shop)
    failure = await failure_of(state)
    assert [type(one) for one in failure.exceptions] == [SourceMissing]
    rows = await rows_of(state)
    assert rows["customers"] == ("loaded", "")
    assert rows["orders"] == ("refused", str(failure.exceptions[0]))
    assert {one.stream: (one.status, one.reason) for one in failure.report.streams} == rows
    assert "failed: orders. stream orders (postgres:public.orders): " in (state.message or "")
    assert "Remedy" in rows["orders"][1]
    places.source("ALTER TABLE elsewhere RENAME TO orders")
    assert await rows_of(await ended(shop)) == {"orders": ("loaded", ""), "customers": ("nothing new", "")}


async def test_a_run_of_which_all_failed_has_rows_too(places: Places, shop: str) -> None:
    places.source("DROP TABLE orders, customers")
    rows = await rows_of(await ended(shop))
    assert {name: status for name, (status, _) in rows.items()} == {"orders": "refused", "customers": "refused"}
    assert all(f"postgres:public.{name}" in reason for name, (_, reason) in rows.items())


async def test_a_warehouse_that_is_down_is_named_once_and_no_source_is(places: Places, shop: str) -> None:
    url = make_url(places.warehouse_url).set(port=free_port()).render_as_string(hide_password=False)
    await save_blocks(places.environment | {"WAREHOUSE_URL": url})
    state = await ended(shop)
    (cause,) = (await failure_of(state)).exceptions
    assert isinstance(cause, Unreachable)
    assert cause.place == "warehouse (block millrace-warehouse/warehouse)"
    assert await rows_of(state) == dict.fromkeys(["orders", "customers"], ("failed", str(cause)))
    assert "postgres:public" not in (state.message or "")
    assert (state.message or "").count(cause.place) == 1


async def test_a_busy_stream_is_skipped_by_a_regular_run(
    places: Places, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    declared = find_pipeline(shop)
    warehouse = await open_warehouse(declared)
    with warehouse.lease(declared, declared.stream("orders"), "flow run of somebody else"):
        state = await ended(shop)
    assert state.is_completed()
    rows = await rows_of(state)
    assert rows["customers"] == ("loaded", "")
    assert rows["orders"][0] == "busy"
    assert "flow run of somebody else holds the stream" in rows["orders"][1]
    assert "Skipped: stream" in caplog.text


@pytest.mark.parametrize("asked", [{"mode": "full"}, {"mode": "sweep"}, {"window": {"end": "2199-01-01T00:00:00Z"}}])
async def test_a_busy_stream_fails_a_run_that_nothing_repeats(places: Places, shop: str, asked: dict[str, Any]) -> None:
    declared = find_pipeline(shop)
    warehouse = await open_warehouse(declared)
    with warehouse.lease(declared, declared.stream("orders"), "flow run of somebody else"):
        state = await ended(shop, **asked)
    (cause,) = (await failure_of(state)).exceptions
    assert isinstance(cause, StreamBusy)
    assert {name: status for name, (status, _) in (await rows_of(state)).items()} == {
        "orders": "busy",
        "customers": "loaded",
    }


async def test_what_a_run_was_allowed_to_do_stands_in_every_row(places: Places, shop: str) -> None:
    await ended(shop)
    places.source("INSERT INTO orders VALUES (2)")
    state = await ended(shop, allow_deletes=True, accept_rejects=True)
    artifact = (await artifacts(state.state_details.flow_run_id))["millrace-shop"]
    shown = {row["stream"]: row["note"] for row in json.loads(artifact.data)}
    assert {row.stream: row.note for row in (await state.aresult()).streams} == shown
    assert {name: note.count("run with accept_rejects, allow_deletes") for name, note in shown.items()} == {
        "orders": 1,
        "customers": 1,
    }


async def test_a_dry_run_shows_its_plan_beside_the_run_and_in_the_log(
    places: Places, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = await ended(shop, dry_run=True, window={"start": "2026-01-01T00:00:00Z"})
    assert state.is_completed()
    shown = await artifacts(state.state_details.flow_run_id)
    assert set(shown) == {"plan-shop-orders", "plan-shop-customers"}
    for told in (str(shown["plan-shop-orders"].data), caplog.text):
        assert "2026-01-01T00:00:00+00:00" in told.replace("\\", "")
        assert 'FROM "public"."orders"' in told
        assert "create table shop.orders" in told.replace("\\", "")
        assert 'CREATE TABLE IF NOT EXISTS "shop"."orders"' in told
    assert places.everything() == {}


async def test_a_plan_shows_all_streams_though_one_is_refused(places: Places, shop: str) -> None:
    places.source("ALTER TABLE orders DROP COLUMN changed")
    state = await ended(shop, dry_run=True)
    failure = await failure_of(state)
    plans = {plan.stream: plan for plan in failure.report.plans}
    assert plans["customers"].query
    assert (plans["orders"].query, plans["orders"].reason) == ("", str(failure.exceptions[0]))
    shown = await artifacts(state.state_details.flow_run_id)
    assert "Refused" in str(shown["plan-shop-orders"].data)
    assert 'FROM "public"."customers"' in str(shown["plan-shop-customers"].data)
    assert "failed: orders. " in (state.message or "")
