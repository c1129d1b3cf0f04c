"""Delete an environment: buckets and queues are checked first, and data is deleted only on request.

The warehouse is never deleted, and neither is what a person added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from infra import work_pool
from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from infra.cloudformation import Progress, delete_stack, physical_id, quiet, status_of
from infra.deployments import KIND as DEPLOYMENT
from infra.deployments import read_declared, read_stored
from infra.pool import KIND as POOL
from infra.secret_values import apply_secrets, keep_values
from millrace.base.errors import ConfigurationError

BUCKETS = ("LandingBucket", "ProcessedBucket")
"""Resources of the stack, and outputs: an output without its resource is a bucket that was there before."""
QUEUES = ("EventsQueueUrl", "EventsDeadLetterQueueUrl")
COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


def made_buckets(cloud: CloudEnvironment) -> list[str]:
    """Return the outputs of the buckets that the stack made. The stack tells it: settings may have changed since."""
    return [name for name in BUCKETS if physical_id(cloud, name) == cloud.outputs[name]]


def holding_data(cloud: CloudEnvironment, buckets: Collection[str]) -> list[str]:
    """Return what is not empty of these buckets and the queues of the environment; ``buckets`` are outputs."""
    found = [cloud.outputs[name] for name in buckets if _is_filled(cloud, cloud.outputs[name])]
    return found + [cloud.outputs[name] for name in QUEUES if _waiting(cloud, cloud.outputs[name])]


def remove_unfinished(cloud: CloudEnvironment) -> list[StackChange]:
    """Delete a stack that was never created completely, and so contains no data."""
    is_there = status_of(cloud) is not None
    delete_stack(cloud)
    return [StackChange("stack", cloud.settings.stack_name, Action.REMOVED if is_there else Action.UNCHANGED)]


def check(cloud: CloudEnvironment, *, with_data: bool) -> None:
    """Raise ConfigurationError if tasks still run, or if there is data and ``with_data`` is not set."""
    apply_secrets(cloud, overwrite=False, dry_run=True)
    if not with_data and (held := holding_data(cloud, made_buckets(cloud))):
        raise ConfigurationError(
            f"not empty: {', '.join(held)}",
            place=f"environment {cloud.settings.name}",
            remedy="save what is in them, or say --delete-data",
        )
    _refuse_running(cloud)


def tear_down(cloud: CloudEnvironment, *, with_data: bool, progress: Progress = quiet) -> list[StackChange]:
    """Delete deployments and work pool, then the stack, then the buckets and queues that the stack made and leaves.

    Without ``with_data`` a bucket or queue that was filled after the check stays, and is named.
    """
    buckets = made_buckets(cloud)
    changes = [*_from_prefect(cloud), *keep_values(cloud)]
    delete_stack(cloud, progress=progress)
    changes.append(StackChange("stack", cloud.settings.stack_name, Action.REMOVED))
    return changes + list(_left_by_stack(cloud, buckets, with_data))


def _refuse_running(cloud: CloudEnvironment) -> None:
    running = cloud.client("ecs").list_tasks(
        cluster=cloud.outputs["ClusterArn"], family=cloud.outputs["TaskFamily"], desiredStatus="RUNNING"
    )["taskArns"]
    if running:
        raise ConfigurationError(
            f"{len(running)} tasks still run",
            place=cloud.outputs["ClusterArn"],
            remedy="wait for them, or cancel their flow runs",
        )


def _from_prefect(cloud: CloudEnvironment) -> Iterator[StackChange]:
    with cloud.prefect() as client:
        for one in read_declared(""):
            if (stored := read_stored(client, one.name)) is not None:
                client.delete_deployment(stored.id)
                yield StackChange(DEPLOYMENT, one.name, Action.REMOVED)
        if _delete_pool(client):
            yield StackChange(POOL, work_pool.NAME, Action.REMOVED)


def _delete_pool(client: SyncPrefectClient) -> bool:
    try:
        client.delete_work_pool(work_pool.NAME)
    except ObjectNotFound:
        return False
    return True


def _left_by_stack(cloud: CloudEnvironment, buckets: Collection[str], with_data: bool) -> Iterator[StackChange]:
    kept = set() if with_data else set(holding_data(cloud, buckets))
    for name in (*BUCKETS, *QUEUES):
        kind, place = ("bucket" if name in BUCKETS else "queue"), cloud.outputs[name]
        if name in BUCKETS and name not in buckets:
            yield StackChange(kind, place, Action.LEFT, "it is yours: the stack did not make it")
            continue
        if place in kept:
            yield StackChange(kind, place, Action.LEFT, "something came into it meanwhile")
            continue
        if name in BUCKETS:
            _delete_bucket(cloud, place)
        else:
            cloud.client("sqs").delete_queue(QueueUrl=place)
        yield StackChange(kind, place, Action.REMOVED)
    if cloud.settings.warehouse == "serverless":
        yield StackChange("warehouse", cloud.settings.stack_name, Action.LEFT, "its namespace holds the tables")


def _is_filled(cloud: CloudEnvironment, bucket: str) -> bool:
    """Return whether a bucket has versions of objects, also deleted ones, which can be restored."""
    found = cloud.client("s3").list_object_versions(Bucket=bucket, MaxKeys=1)
    return bool(found.get("Versions") or found.get("DeleteMarkers"))


def _waiting(cloud: CloudEnvironment, queue_url: str) -> int:
    attributes = cloud.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(COUNTS))
    return sum(int(count) for count in attributes["Attributes"].values())


def _delete_bucket(cloud: CloudEnvironment, bucket: str) -> None:
    client = cloud.client("s3")
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found: list[dict[str, Any]] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            keys = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    client.delete_bucket(Bucket=bucket)
