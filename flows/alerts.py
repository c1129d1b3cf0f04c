"""Hooks that send an alert when a run fails or is cancelled, in the process of the run or of its runner.

The server sends the alert for a crash and for a failure that no hook saw (automation_rules.py). A hook that sent one
emits ``millrace.alerted``, so that the server sends no second one. For a subflow its parent sends the alert.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from millrace.tasks.alerts import send_alert
from millrace.tasks.events import emit_alerted
from millrace.tasks.messages import AlertMessage, cancellation_message, failure_message, is_dry_run


async def alert_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Send an alert that says what failed and what to do (hook ``on_failure``).

    A dry run sends none: it changes nothing, and the person who started it sees the failure.
    """
    if is_dry_run(flow_run):
        emit_alerted(flow.name, flow_run, state)
    elif flow_run.parent_task_run_id is None:
        error = await state.aresult(raise_on_failure=False)
        message = failure_message(flow.name, flow_run, error if isinstance(error, BaseException) else None)
        await _send(message, flow, flow_run, state)


async def alert_cancellation(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Send an alert that the run was cancelled (hook ``on_cancellation``)."""
    if flow_run.parent_task_run_id is None:
        await _send(cancellation_message(flow.name, flow_run), flow, flow_run, state)


async def _send(message: AlertMessage, flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    if await send_alert(message, flow_run_logger(flow_run, flow)):
        emit_alerted(flow.name, flow_run, state)
