"""`prefect deploy` in these tests, and so that no schedule starts a run.

What does not belong here: what the deployments are (prefect.yaml).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.testing.cli import CycloptsCliRunner

from infra import work_pool
from local.ecs import IMAGE
from tests.infra.deployments import FILE

RELEASE = {"MILLRACE_IMAGE": IMAGE, "MILLRACE_VERSION": "local", "MILLRACE_IMAGE_READY": "1"}
Deployments = dict[str, DeploymentResponse]


def deploy(*arguments: str, **environment: str) -> Any:
    """As at a terminal, but in this process: one of its own takes longer to import all flows than for all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FILE.parent)
        for name, value in ({"MILLRACE_IMAGE_READY": "1"} | environment).items():
            patch.setenv(name, value)
        return CycloptsCliRunner().invoke(["--no-prompt", "deploy", *arguments])


def deploy_all() -> None:
    """Everything in prefect.yaml."""
    done = deploy("--all", **RELEASE)
    assert done.exit_code == 0, done.output


@contextmanager
def no_schedules(client: SyncPrefectClient) -> Iterator[None]:
    """Deploy inside of this: no schedule starts a run, neither there nor later."""
    client.update_work_pool(work_pool.NAME, WorkPoolUpdate(is_paused=True))
    yield
    for deployment in client.read_deployments():
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    client.update_work_pool(work_pool.NAME, WorkPoolUpdate(is_paused=False))


def deployments(client: SyncPrefectClient) -> Deployments:
    """By full name."""
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[one.flow_id]}/{one.name}": one for one in client.read_deployments()}
