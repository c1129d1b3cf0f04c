"""Create and update the work pool and its queues on Prefect's server."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound

from infra import work_pool
from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from millrace.base.errors import ConfigurationError

KIND = "work pool"


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
        changes = [_pool(client, template(cloud), dry_run)]
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


def _pool(client: SyncPrefectClient, wanted: dict[str, Any], dry_run: bool) -> StackChange:
    stored = find_pool(client)
    if stored is None:
        if not dry_run:
            client.create_work_pool(WorkPoolCreate(name=work_pool.NAME, type=work_pool.TYPE, base_job_template=wanted))
        return StackChange(KIND, work_pool.NAME, Action.CREATED)
    if stored.type != work_pool.TYPE:
        raise ConfigurationError(
            f"it is of type {stored.type}", place=f"work pool {work_pool.NAME}", remedy="delete or rename it"
        )
    if stored.base_job_template == wanted:
        return StackChange(KIND, work_pool.NAME, Action.UNCHANGED)
    if not dry_run:
        client.update_work_pool(work_pool.NAME, WorkPoolUpdate(base_job_template=wanted))
    return StackChange(KIND, work_pool.NAME, Action.UPDATED, "base job template")


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
