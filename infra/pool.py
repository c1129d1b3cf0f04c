"""Create and update the work pool and its queues on Prefect's server."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from infra import work_pool
from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from millrace.base.errors import ConfigurationError

KIND = "work pool"
_OWNED = "Millrace environment "
"""How the description of a pool begins that says which environment it is of."""


def template(cloud: CloudEnvironment) -> dict[str, Any]:
    """Return the pool's job template for the outputs and secrets of this environment."""
    filled = work_pool.fill_template(cloud.outputs, cloud.secret_arns, cloud.settings.variables)
    if cloud.emulator():
        # It forgets this, unlike AWS; the worker would register a new revision for each run.
        filled["job_configuration"]["task_definition"].pop("enableFaultInjection", None)
    return filled


def apply_pool(cloud: CloudEnvironment, *, dry_run: bool = False) -> list[StackChange]:
    """Create or update pool and queues. Concurrency limits and pauses, which operators set, stay."""
    with cloud.prefect() as client:
        changes = [_pool(client, describe_owner(cloud), template(cloud), dry_run)]
        is_new = changes[0].action is Action.CREATED
        return changes + [
            _queue(client, name, priority, is_new=is_new, dry_run=dry_run)
            for name, priority in work_pool.QUEUES.items()
        ]


def find_pool(client: SyncPrefectClient) -> WorkPool | None:
    """Return the work pool, or None."""
    try:
        return client.read_work_pool(work_pool.NAME)
    except ObjectNotFound:
        return None


def describe_owner(cloud: CloudEnvironment) -> str:
    """Return the description of the pool of an environment."""
    region = cloud.session.region_name
    return f"{_OWNED}{cloud.settings.name} in AWS account {cloud.account}, region {region}."


def refuse_other_owner(cloud: CloudEnvironment) -> None:
    """Raise ConfigurationError if Prefect's server holds another environment.

    Pool, blocks, deployments and automations have the same names in each, so that `up` would take the other one's over,
    and `down` would delete them. A pool whose description names no environment is taken over.
    """
    with cloud.prefect() as client:
        stored = find_pool(client)
    said = (stored.description or "") if stored else ""
    if said.startswith(_OWNED) and said != describe_owner(cloud):
        raise ConfigurationError(
            f"it is of another environment ({said})",
            place=f"work pool {work_pool.NAME} at {PREFECT_API_URL.value()}",
            remedy=f"choose the Prefect workspace or server of {cloud.settings.name} (`prefect profile use`, "
            "PREFECT_API_URL); or, if the other environment is gone, delete its work pool",
        )


def _pool(client: SyncPrefectClient, owner: str, wanted: dict[str, Any], dry_run: bool) -> StackChange:
    stored = find_pool(client)
    if stored is None:
        if not dry_run:
            client.create_work_pool(
                WorkPoolCreate(name=work_pool.NAME, type=work_pool.TYPE, description=owner, base_job_template=wanted)
            )
        return StackChange(KIND, work_pool.NAME, Action.CREATED)
    if stored.type != work_pool.TYPE:
        raise ConfigurationError(
            f"it is of type {stored.type}", place=f"work pool {work_pool.NAME}", remedy="delete or rename it"
        )
    differing = {"base job template": stored.base_job_template != wanted, "description": stored.description != owner}
    if not any(differing.values()):
        return StackChange(KIND, work_pool.NAME, Action.UNCHANGED)
    if not dry_run:
        client.update_work_pool(work_pool.NAME, WorkPoolUpdate(description=owner, base_job_template=wanted))
    detail = ", ".join(name for name, differs in differing.items() if differs)
    return StackChange(KIND, work_pool.NAME, Action.UPDATED, detail)


def _queue(client: SyncPrefectClient, name: str, priority: int, *, is_new: bool, dry_run: bool) -> StackChange:
    kind = f"{KIND}'s queue"
    found = [] if is_new and dry_run else client.read_work_queues(work_pool_name=work_pool.NAME)
    stored = next((one for one in found if one.name == name), None)
    if stored is None:
        if not dry_run:
            client.create_work_queue(name, priority=priority, work_pool_name=work_pool.NAME)
        return StackChange(kind, name, Action.CREATED)
    if stored.priority == priority:
        return StackChange(kind, name, Action.UNCHANGED)
    if not dry_run:
        client.update_work_queue(stored.id, priority=priority)
    return StackChange(kind, name, Action.UPDATED, f"priority {priority}")
