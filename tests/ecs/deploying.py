"""The deploy command in these tests, and so that no schedule starts a run.

Both commands run in this process: one of its own takes longer to import all flows than for all the rest.
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
from local.stack import Stack
from tests.ecs import runbook
from tests.infra.deployments import FILE

Deployments = dict[str, DeploymentResponse]


def up(stack: Stack) -> str:
    """``python -m infra.deploy up``; its last line."""
    return runbook.run(stack, runbook.UP).splitlines()[-1]


def deploy(*arguments: str, **environment: str) -> Any:
    """``prefect deploy``, which does not make the image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FILE.parent)
        for name, value in ({"MILLRACE_IMAGE_READY": "1", "MILLRACE_WORK_POOL": work_pool.NAME} | environment).items():
            patch.setenv(name, value)
        return CycloptsCliRunner().invoke(["--no-prompt", "deploy", *arguments])


@contextmanager
def no_schedules(client: SyncPrefectClient) -> Iterator[None]:
    """Deploy inside of this: the moment in which a schedule may be active starts no run."""
    client.update_work_pool(work_pool.NAME, WorkPoolUpdate(is_paused=True))
    yield
    assert not any(schedule.active for one in client.read_deployments() for schedule in one.schedules)
    client.update_work_pool(work_pool.NAME, WorkPoolUpdate(is_paused=False))


def deployments(client: SyncPrefectClient) -> Deployments:
    """By full name."""
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[one.flow_id]}/{one.name}": one for one in client.read_deployments()}
