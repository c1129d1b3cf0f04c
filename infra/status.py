"""The state of an environment: a line for each part, and whether it works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.sorting import FlowRunSort

from infra import cloudformation, work_pool
from infra.cloud_environment import CloudEnvironment
from infra.deployments import read_declared, read_stored
from infra.pool import find_pool
from infra.secret_values import apply_secrets
from millrace.blocks.names import variables_of
from millrace.declaration.find import find_pipeline

WELL = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


@dataclass(frozen=True)
class Line:
    """The state of one part, and whether it works."""

    what: str
    state: str
    is_well: bool = True


def lines(cloud: CloudEnvironment) -> Iterator[Line]:
    """Yield the state of stack, worker, secrets, work pool, and of deployments with their latest run."""
    status = cloudformation.status_of(cloud)
    yield Line(f"stack {cloud.settings.stack_name}", status or "is not there", status in WELL)
    if status is None:
        return
    yield from _worker(cloud)
    yield from _secrets(cloud)
    yield _topic(cloud)
    with cloud.prefect() as client:
        yield _pool(client)
        for one in read_declared(""):
            yield from _deployment(client, one.name)


def _worker(cloud: CloudEnvironment) -> Iterator[Line]:
    if not cloud.settings.worker:
        return
    found = cloud.client("ecs").describe_services(
        cluster=cloud.outputs["ClusterArn"], services=[f"{cloud.settings.stack_name}-worker"]
    )["services"]
    for one in found:
        state = f"{one['runningCount']} of {one['desiredCount']} run {cloudformation.worker_image(cloud)}"
        yield Line("worker", state, one["runningCount"] >= one["desiredCount"])
    if not found:
        yield Line("worker", "is not there", is_well=False)


def _secrets(cloud: CloudEnvironment) -> Iterator[Line]:
    """Yield the state of each secret. One may be empty if as many pipelines can run without it."""
    left = {one.name: one.detail for one in apply_secrets(cloud, overwrite=False, dry_run=True)}
    required = {variable for name in cloud.settings.pipelines for variable in variables_of(find_pipeline(name))}
    wanted = [*cloud.settings.secret_variables(), cloud.settings.prefect_credential]
    for variable in wanted:
        if variable != "none":
            has_value = variable in cloud.secret_arns
            is_well = has_value or variable not in {*required, cloud.settings.prefect_credential}
            yield Line(f"secret {variable}", "has a value" if has_value else left[variable], is_well)


def _topic(cloud: CloudEnvironment) -> Line:
    attributes = cloud.client("sns").get_topic_attributes(TopicArn=cloud.outputs["AlertTopicArn"])["Attributes"]
    confirmed = int(attributes.get("SubscriptionsConfirmed", 0))
    return Line("alerts", f"{confirmed} confirmed subscriptions", confirmed > 0)


def _pool(client: SyncPrefectClient) -> Line:
    pool = find_pool(client)
    state = pool.status.value.lower().replace("_", " ") if pool and pool.status else "is not there"
    return Line(f"work pool {work_pool.NAME}", state, state == "ready")


def _deployment(client: SyncPrefectClient, name: str) -> Iterator[Line]:
    stored = read_stored(client, name)
    if stored is None:
        return
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[stored.id])),
        sort=FlowRunSort.START_TIME_DESC,
        limit=1,
    )
    latest = next((run for run in runs if run.start_time), None)
    told = f"{latest.state_name} at {latest.start_time:%Y-%m-%d %H:%M} UTC" if latest else "no run yet"
    schedule = ", paused" if any(not one.active for one in stored.schedules) else ""
    is_well = latest is None or latest.state_name not in ("Failed", "Crashed", "TimedOut")
    yield Line(f"deployment {name}", told + schedule, is_well)
