"""What is deployed in these tests, and so that no schedule of it starts a run.

What does not belong here: what the deployments are (prefect.yaml).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse

from infra import work_pool
from local.ecs import IMAGE

RELEASE = {"MILLRACE_IMAGE": IMAGE, "MILLRACE_VERSION": "local", "MILLRACE_IMAGE_READY": "1"}
Deployments = dict[str, DeploymentResponse]


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
