"""prefect.yaml deployed to a real Prefect server, twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.steps.core import run_steps

from local.ecs import IMAGE
from tests.ecs.chain import Chain
from tests.ecs.deploying import RELEASE, Deployments, deploy, deployments
from tests.infra.deployments import document, flow_of

DEPLOYMENTS = document()["deployments"]


def full_name(deployment: dict[str, Any]) -> str:
    return f"{flow_of(deployment).name}/{deployment['name']}"


BY_NAME = {full_name(one): one for one in DEPLOYMENTS}
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)


async def test_the_image_is_built_and_pushed_unless_it_is_there(
    bare_chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert (held.version, held.tags) == (RELEASE["MILLRACE_VERSION"], deployment["tags"])
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


def test_without_an_image_nothing_is_deployed(chain: Chain) -> None:
    """Else the worker would take Prefect's own image, without our code."""
    assert deploy("-n", "replay", MILLRACE_VERSION="another").exit_code != 0
    assert deployments(chain.client)["replicate/replay"].job_variables["image"] == IMAGE
