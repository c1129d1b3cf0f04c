"""prefect.yaml deployed to a real Prefect server by the deploy command, twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.steps.core import run_steps

from infra.deployments import Declared, read_declared
from local.ecs import IMAGE
from tests.ecs.chain import Chain
from tests.ecs.deploying import deploy, deployments
from tests.infra.deployments import document

SOURCES = {"stori", "events", "totesys"}
"""Pipelines whose sources are in this stack."""


DECLARED = [one for one in read_declared(IMAGE) if one.pipeline in SOURCES]


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


def test_all_are_deployed_and_nothing_else(chain: Chain) -> None:
    assert deployments(chain.client).keys() == {one.name for one in DECLARED}


def test_deploying_again_changes_nothing(deployed: tuple[str, str]) -> None:
    assert "changes done" in deployed[0]
    assert deployed[1] == "No change."


@pytest.mark.parametrize("declared", DECLARED, ids=lambda one: one.name)
def test_the_server_holds_what_is_declared(chain: Chain, declared: Declared) -> None:
    held, deployment = deployments(chain.client)[declared.name], declared.content
    limit = deployment["concurrency_limit"]
    assert held.parameters == deployment["parameters"]
    assert held.enforce_parameter_schema is True
    assert held.entrypoint == deployment["entrypoint"]
    assert held.pull_steps == []
    assert held.tags == deployment["tags"]
    assert held.description == deployment["description"]
    assert held.work_queue_name == deployment["work_pool"]["work_queue_name"]
    assert held.job_variables == deployment["work_pool"]["job_variables"]
    assert held.job_variables["image"] == IMAGE
    assert held.global_concurrency_limit is not None
    assert held.global_concurrency_limit.limit == limit["limit"]
    assert held.concurrency_options is not None
    assert held.concurrency_options.collision_strategy == limit["collision_strategy"]
    schedules = [
        (one["slug"], CronSchedule(cron=one["cron"], timezone=one["timezone"]), False)
        for one in deployment.get("schedules", [])
    ]
    assert [(one.slug, one.schedule, one.active) for one in held.schedules] == schedules


def test_without_an_image_nothing_is_deployed(chain: Chain) -> None:
    """Else the worker would take Prefect's own image, without our code."""
    assert deploy("-n", "replay", MILLRACE_VERSION="another").exit_code != 0
    assert deployments(chain.client)["replicate/replay"].job_variables["image"] == IMAGE
