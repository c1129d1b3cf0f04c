"""Runs of a deployment take turns: a person's and a retry wait, those of a schedule that waited are left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyOptions, FlowRun
from prefect.states import Failed, Pending, Running, Scheduled

from local.prefect_server import PrefectServer
from millrace.flows.turn import SCHEDULED, WAITING, cancel_waiting_runs

REQUEST = {"request": {"pipeline": "stori"}}
LIMITS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text(encoding="utf-8"))["definitions"]


@flow(name="turns", on_running=[cancel_waiting_runs], persist_result=False)
async def turns(request: dict[str, str]) -> None:
    """What a run does is not looked at."""


@pytest.fixture
async def client(prefect_server: PrefectServer) -> AsyncIterator[PrefectClient]:
    del prefect_server
    async with get_client() as opened:
        yield opened


@pytest.fixture
async def deployment_id(client: PrefectClient) -> AsyncIterator[UUID]:
    """Limited as the regular deployments of prefect.yaml are."""
    limit = LIMITS["replicate"]["concurrency_limit"]
    created = await client.create_deployment(
        await client.create_flow(turns),
        "shop",
        concurrency_limit=limit["limit"],
        concurrency_options=ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
    )
    yield created
    await client.delete_deployment(created)


async def asked(client: PrefectClient, deployment_id: UUID, *, by_schedule: bool = False) -> FlowRun:
    tags = [SCHEDULED] if by_schedule else []
    return await client.create_flow_run_from_deployment(deployment_id, parameters=REQUEST, tags=tags)


async def begin(client: PrefectClient, run: FlowRun) -> FlowRun:
    """As a worker does it; what became of the run."""
    await client.set_flow_run_state(run.id, Pending())
    return await client.read_flow_run(run.id)


async def test_what_a_person_asks_for_and_a_retry_wait_for_the_run_at_work(
    client: PrefectClient, deployment_id: UUID
) -> None:
    retried = await asked(client, deployment_id)
    await begin(client, retried)
    await client.set_flow_run_state(retried.id, Running())
    await client.set_flow_run_state(retried.id, Failed())
    at_work, by_hand = await asked(client, deployment_id), await asked(client, deployment_id)
    assert (await begin(client, at_work)).state_name == "Pending"
    assert (await begin(client, by_hand)).state_name == WAITING
    await client.set_flow_run_state(retried.id, Scheduled(name="AwaitingRetry"), force=True)
    assert (await begin(client, retried)).state_name == WAITING


async def test_runs_of_the_schedule_that_waited_are_left_out_with_a_word(
    client: PrefectClient, deployment_id: UUID
) -> None:
    at_work, late, by_hand = (
        await asked(client, deployment_id),
        await asked(client, deployment_id, by_schedule=True),
        await asked(client, deployment_id),
    )
    other = await client.create_flow_run_from_deployment(
        deployment_id, parameters={"request": {"pipeline": "totesys"}}, tags=[SCHEDULED]
    )
    await begin(client, at_work)
    for waiting in (late, by_hand, other):
        await begin(client, waiting)
    await cancel_waiting_runs(turns, at_work, Running())
    left_out = await client.read_flow_run(late.id)
    assert left_out.state_name == "Cancelled"
    assert left_out.state is not None
    assert left_out.state.message == f"Left out: {at_work.name} began later and loads what this run would have loaded."
    assert [(await client.read_flow_run(one.id)).state_name for one in (by_hand, other)] == [WAITING, WAITING]


async def test_a_retry_of_a_scheduled_run_is_not_left_out(client: PrefectClient, deployment_id: UUID) -> None:
    retried = await asked(client, deployment_id, by_schedule=True)
    await begin(client, retried)
    await client.set_flow_run_state(retried.id, Running())
    await client.set_flow_run_state(retried.id, Failed())
    at_work = await asked(client, deployment_id)
    await begin(client, at_work)
    await client.set_flow_run_state(retried.id, Scheduled(name="AwaitingRetry"), force=True)
    await begin(client, retried)
    await cancel_waiting_runs(turns, at_work, Running())
    assert (await client.read_flow_run(retried.id)).state_name == WAITING
