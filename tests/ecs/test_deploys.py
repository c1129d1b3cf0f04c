"""prefect.yaml deployed to a real Prefect server, twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.steps.core import run_steps
from prefect.testing.cli import CycloptsCliRunner
from prefect.utilities.asyncutils import run_coro_as_sync

from infra import work_pool
from local.prefect_server import PrefectServer
from local.processes import neutral_environment
from tests.infra.deployments import FILE, document, flow_of
from tests.infra.stack_outputs import OUTPUTS, SECRETS

IMAGE, VERSION = "millrace:3f1c9ab", "0.1.0+3f1c9ab"
RELEASE = {"MILLRACE_IMAGE": IMAGE, "MILLRACE_VERSION": VERSION, "MILLRACE_IMAGE_READY": "1"}
DEPLOY = ("--no-prompt", "deploy")
DEPLOYMENTS = document()["deployments"]
MEMORY_MIB_BY_CPU = {512: range(1024, 4097, 1024), 1024: range(2048, 8193, 1024), 2048: range(4096, 16385, 1024)}
"""Pairs that Fargate offers."""


def full_name(deployment: dict[str, Any]) -> str:
    return f"{flow_of(deployment).name}/{deployment['name']}"


BY_NAME = {full_name(one): one for one in DEPLOYMENTS}
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)


async def test_the_image_is_built_and_pushed_unless_it_is_there(
    prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps run as Prefect runs them, in a directory whose Makefile only notes what was asked."""
    (tmp_path / "Makefile").write_text("image push:\n\t@echo $@ $$MILLRACE_IMAGE >> asked\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLRACE_IMAGE", IMAGE)
    for ready in ("1", ""):
        monkeypatch.setenv("MILLRACE_IMAGE_READY", ready)
        for section in ("build", "push"):
            await run_steps(document()[section], print_function=lambda *_, **__: None)
        assert (tmp_path / "asked").exists() == (not ready)
    assert (tmp_path / "asked").read_text() == f"image {IMAGE}\npush {IMAGE}\n"


Deployments = dict[str, DeploymentResponse]


@pytest.fixture(scope="module")
def deployed(prefect_server: PrefectServer) -> Iterator[tuple[Deployments, Deployments]]:
    """What the server holds after ``prefect deploy --all``, and after it was run again."""
    run_coro_as_sync(_make_pool())
    run = subprocess.run(
        [sys.executable, "-m", "prefect", *DEPLOY, "--all"],
        cwd=FILE.parent,
        env=neutral_environment()
        | {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}
        | RELEASE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    first = run_coro_as_sync(_read())
    again = deploy("--all", **RELEASE)
    assert again.exit_code == 0, again.output
    second = run_coro_as_sync(_read())
    yield first, second
    run_coro_as_sync(_delete(second))


def deploy(*arguments: str, **environment: str) -> Any:
    """In this process, which has imported all flows: that takes a process of its own longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FILE.parent)
        for name, value in ({"MILLRACE_IMAGE_READY": "1"} | environment).items():
            patch.setenv(name, value)
        return CycloptsCliRunner().invoke([*DEPLOY, *arguments])


async def _make_pool() -> None:
    async with get_client() as client:
        pool = WorkPoolCreate(
            name=work_pool.NAME, type=work_pool.TYPE, base_job_template=work_pool.filled(OUTPUTS, SECRETS)
        )
        await client.create_work_pool(pool, overwrite=True)
        await client.create_work_queue("backfill", work_pool_name=work_pool.NAME, priority=work_pool.QUEUES["backfill"])


async def _read() -> Deployments:
    async with get_client() as client:
        flows = {flow.id: flow.name for flow in await client.read_flows()}
        found = await client.read_deployments()
    ours = [one for one in found if one.work_pool_name == work_pool.NAME]
    return {f"{flows[one.flow_id]}/{one.name}": one for one in ours}


async def _delete(deployments: Deployments) -> None:
    async with get_client() as client:
        for deployment in deployments.values():
            await client.delete_deployment(deployment.id)
        await client.delete_work_pool(work_pool.NAME)


def test_all_are_deployed_and_nothing_else(deployed: tuple[Deployments, Deployments]) -> None:
    assert deployed[0].keys() == BY_NAME.keys()


def test_deploying_again_changes_nothing(deployed: tuple[Deployments, Deployments]) -> None:
    first, second = ({name: settled(one) for name, one in held.items()} for held in deployed)
    assert first == second


def settled(deployment: DeploymentResponse) -> dict[str, Any]:
    """But for moments, and the ids of schedules, which Prefect makes anew."""
    content = deployment.model_dump(exclude={"updated", "status", "last_polled", "schedules"})
    return content | {"schedules": [(one.slug, one.schedule, one.active) for one in deployment.schedules]}


@each_deployment
def test_the_server_holds_what_is_declared(
    deployed: tuple[Deployments, Deployments], deployment: dict[str, Any]
) -> None:
    held, limit = deployed[1][full_name(deployment)], deployment["concurrency_limit"]
    assert held.parameters == deployment["parameters"]
    assert held.enforce_parameter_schema is True
    assert held.entrypoint == deployment["entrypoint"]
    assert held.pull_steps == []
    assert (held.version, held.tags) == (VERSION, deployment["tags"])
    assert held.description == deployment["description"]
    assert held.work_queue_name == deployment["work_pool"]["work_queue_name"]
    assert held.job_variables == deployment["work_pool"]["job_variables"] | {"image": IMAGE}
    assert held.global_concurrency_limit is not None
    assert held.global_concurrency_limit.limit == limit["limit"]
    assert held.concurrency_options is not None
    assert held.concurrency_options.collision_strategy == limit["collision_strategy"]
    declared = [
        (one["slug"], CronSchedule(cron=one["cron"], timezone=one["timezone"]), True)
        for one in deployment.get("schedules", [])
    ]
    assert [(one.slug, one.schedule, one.active) for one in held.schedules] == declared


def test_without_an_image_nothing_is_deployed(deployed: tuple[Deployments, Deployments]) -> None:
    """Else the worker would take Prefect's own image, without our code."""
    assert deploy("-n", "replay", MILLRACE_VERSION=VERSION).exit_code != 0
    assert run_coro_as_sync(_read())["replicate/replay"].job_variables["image"] == IMAGE
