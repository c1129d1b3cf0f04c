"""Runs of one deployment take turns: each waits until the one before it has ended.

Scheduled runs would pile up behind a long one. So a run that starts cancels the scheduled ones that wait and asked for
the same, and says so in their state: it starts later than they should have, and loads what they would have loaded.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled

SCHEDULED = "auto-scheduled"
"""Prefect's tag of a run that a schedule created."""
WAITING = "AwaitingConcurrencySlot"


async def cancel_waiting_runs(
    flow: Flow[Any, Any],
    flow_run: FlowRun,
    state: State[Any],  # noqa: ARG001 - Prefect gives it by name
) -> None:
    """Cancel scheduled runs that wait for this one and were asked for the same (hook ``on_running``)."""
    if flow_run.deployment_id is None:
        return
    waiting = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[flow_run.deployment_id]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[WAITING])),
        tags=FlowRunFilterTags(all_=[SCHEDULED]),
    )
    reason = f"Left out: {flow_run.name} began later and loads what this run would have loaded."
    async with get_client() as client:
        for waiting_run in await client.read_flow_runs(flow_run_filter=waiting):
            # A run that ran before is a retry: a person asked for it.
            if waiting_run.run_count == 0 and waiting_run.parameters == flow_run.parameters:
                await client.set_flow_run_state(waiting_run.id, Cancelled(message=reason))
                flow_run_logger(flow_run, flow).info("Left out %s, which waited for its turn", waiting_run.name)
