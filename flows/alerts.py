"""Hooks that tell of a run's end, in the process of the run (or of the runner that cancels it).

Of a crash, and of a failure that no hook could see, the server tells: flows/automations.py. So that it is told once, a
hook that told emits ``millrace.alerted``. A subflow's end is its parent's to tell.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from millrace.tasks.alerts import tell
from millrace.tasks.events import emit_alerted
from millrace.tasks.messages import AlertMessage, cancelled, failed, is_dry_run


async def alert_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """``on_failure``: tell what failed and what to do; beyond a threshold of rejects, that. A dry run changes nothing,
    and whoever asked for it looks at it."""
    if is_dry_run(flow_run):
        emit_alerted(flow.name, flow_run, state)
    elif flow_run.parent_task_run_id is None:
        error = await state.aresult(raise_on_failure=False)
        words = failed(flow.name, flow_run, error if isinstance(error, BaseException) else None)
        await _tell(words, flow, flow_run, state)


async def alert_cancellation(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """``on_cancellation``: tell that the run was stopped."""
    if flow_run.parent_task_run_id is None:
        await _tell(cancelled(flow.name, flow_run), flow, flow_run, state)


async def _tell(message: AlertMessage, flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    if await tell(message, flow_run_logger(flow_run, flow)):
        emit_alerted(flow.name, flow_run, state)
