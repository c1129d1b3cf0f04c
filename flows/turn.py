"""Runs of one deployment take turns: what a person asks for, and a retry, waits until the one at work has ended.

So do runs of the schedule, which would pile up behind a long one. The run whose turn it is cancels those that it makes
needless, and says so in their state: it begins later than they should have, and brings what they would have brought.
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
"""Prefect's own tag of a run that a schedule made."""
WAITING = "AwaitingConcurrencySlot"


async def leave_out_waiting(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """``on_running``: cancel runs of the schedule that wait for this one to end and were asked for the same."""
    del state
    if flow_run.deployment_id is None:
        return
    waiting = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[flow_run.deployment_id]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[WAITING])),
        tags=FlowRunFilterTags(all_=[SCHEDULED]),
    )
    reason = f"Left out: {flow_run.name} began later and brings what this run would have brought."
    async with get_client() as client:
        for one in await client.read_flow_runs(flow_run_filter=waiting):
            # One that ran before is a retry: a person asked for it.
            if one.run_count == 0 and one.parameters == flow_run.parameters:
                await client.set_flow_run_state(one.id, Cancelled(message=reason))
                flow_run_logger(flow_run, flow).info("Left out %s, which waited for its turn", one.name)
