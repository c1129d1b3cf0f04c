"""``python -m millrace.flows.automations``: create and update Prefect's automations as the code declares them.

It may be repeated at any time: an automation that is equal is not updated, because an update would restart what it
waits for. Automations are identified by name. One of Millrace's that the code no longer declares is removed; those of
others are not touched. An automation that somebody paused in the UI stays paused.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.blocks.abstract import NotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.events.schemas.automations import Automation, AutomationCore

from millrace.base.errors import MillraceError
from millrace.base.redact import redact
from millrace.blocks import names as documents
from millrace.blocks.alerts import load_channels
from millrace.blocks.api import api_errors, is_on_cloud
from millrace.blocks.sns import SnsNotification
from millrace.declaration.find import find_pipeline, pipeline_names
from millrace.flows.automation_rules import FLOWS, PREFIX, Patience, Watched, declare_automations
from millrace.tasks.events import emit_watched

TRANSFORM = "transform"
PAGE = 200
REFUSED = frozenset({402, 403})
"""Statuses by which Prefect Cloud refuses what a plan or the role of a key does not allow."""
LENGTH_SHOWN = 200


async def apply_automations(
    *,
    fresh_within: dict[str, timedelta] | None = None,
    flows: Sequence[str] = FLOWS,
    patience: Patience | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Create, update and remove automations until Prefect has the declared ones; return a line for each.

    With ``dry_run`` nothing is changed, and the lines say what would be. ``fresh_within`` maps pipelines to the
    greatest age of their data, by default as the pipelines declare it. Deployments and notification blocks are those
    that Prefect has now: apply again when they change. Raises the errors of ``api_errors``.
    """
    promises = declared_promises(pipeline_names()) if fresh_within is None else fresh_within
    with api_errors():
        channels = [_identifier(block._block_document_id) for block in await _find_channels()]
        async with get_client() as client:
            watched = Watched(channels, await _find_transforms(client), promises, flows, patience or Patience())
            lines = await _apply(client, list(declare_automations(watched)), dry_run=dry_run)
    if not channels:
        return [*lines, f"no alert is sent: {_missing_channel()}"]
    for pipeline in promises if not dry_run else ():
        emit_watched(pipeline)
    return lines


async def remove_automations() -> list[str]:
    """Remove all automations of Millrace; return a line for each."""
    async with get_client() as client:
        return await _apply(client, [], dry_run=False)


def declared_promises(pipelines: Iterable[str]) -> dict[str, timedelta]:
    """Return ``fresh_within`` of each pipeline that declares it."""
    found = [find_pipeline(name) for name in pipelines]
    return {pipeline.name: pipeline.fresh_within for pipeline in found if pipeline.fresh_within is not None}


async def _find_channels() -> list[NotificationBlock]:
    """Return the channels that Prefect's server can send through; Prefect Cloud runs no block type of ours."""
    found = await load_channels()
    return [one for one in found if not isinstance(one, SnsNotification)] if is_on_cloud() else found


def _missing_channel() -> str:
    if is_on_cloud():
        return (
            "Prefect Cloud runs no block type of ours; save a Slack, Microsoft Teams, PagerDuty or Email block named "
            f"`{documents.ALERTS}`"
        )
    return f"there is no notification block named `{documents.ALERTS}`"


async def _find_transforms(client: PrefectClient) -> dict[str, UUID]:
    """Return the deployments of the flow `transform` by name, which is that of the pipeline."""
    only = FlowFilter(name=FlowFilterName(any_=[TRANSFORM]))
    return {deployment.name: deployment.id for deployment in await client.read_deployments(flow_filter=only)}


async def _apply(client: PrefectClient, wanted: Sequence[AutomationCore], *, dry_run: bool) -> list[str]:
    stored = await _read_stored(client)
    lines = []
    for one in wanted:
        try:
            lines.append(f"{await _save(client, one, stored.pop(one.name, []), dry_run=dry_run)} {one.name}")
        except httpx.HTTPStatusError as error:
            # What the plan of Prefect Cloud or the role of the key does not allow; the others may be allowed.
            if error.response.status_code not in REFUSED:
                raise
            answer = redact(error.response.text[:LENGTH_SHOWN])
            lines.append(
                f"the automation `{one.name}` is refused (HTTP {error.response.status_code}: {answer}): see what the "
                "plan of Prefect and the role of the key allow"
            )
    for automation in (automation for unwanted in stored.values() for automation in unwanted):
        if not dry_run:
            await client.delete_automation(automation.id)
        lines.append(f"removed {automation.name}")
    return lines


async def _read_stored(client: PrefectClient) -> dict[str, list[Automation]]:
    """Return the automations of Millrace by name, with duplicates that a race may have created."""
    found: dict[str, list[Automation]] = defaultdict(list)
    offset = 0
    while page := await client.read_automations(limit=PAGE, offset=offset):
        offset += len(page)
        for automation in page:
            if automation.name.startswith(PREFIX):
                found[automation.name].append(automation)
    return found


async def _save(client: PrefectClient, wanted: AutomationCore, stored: Sequence[Automation], *, dry_run: bool) -> str:
    if not stored:
        if not dry_run:
            await client.create_automation(wanted)
        return "created"
    paused = "" if stored[0].enabled else " (paused)"
    is_equal, twins = _content(stored[0]) == _content(wanted), stored[1:]
    if is_equal and not twins:
        return f"unchanged{paused}"
    for twin in () if dry_run else twins:
        await client.delete_automation(twin.id)
    if not (is_equal or dry_run):
        await _update(client, wanted, stored[0])
    return f"updated{paused}"


async def _update(client: PrefectClient, wanted: AutomationCore, stored: Automation) -> None:
    # The client sends only fields that were set explicitly; after validation of a dump all of them are.
    whole = AutomationCore.model_validate(wanted.model_dump(exclude={"owner_resource"}) | {"enabled": stored.enabled})
    await client.update_automation(stored.id, whole)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return what is declared, with sets sorted, because the server returns them in another order."""
    content = automation.model_dump(exclude={"id", "enabled", "owner_resource"})
    return {name: _sort_sets(value) for name, value in content.items()}


def _sort_sets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sort_sets(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_sort_sets(item) for item in value]
    return sorted(value) if isinstance(value, set) else value


def _identifier(document_id: UUID | None) -> UUID:
    if document_id is None:
        raise RuntimeError("a block that was loaded has an id")
    return document_id


def main() -> int:
    """Apply the automations; return exit code 0, or 1 with the reason on stderr."""
    try:
        lines = asyncio.run(apply_automations())
    except MillraceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
