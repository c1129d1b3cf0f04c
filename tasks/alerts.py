"""Send alerts to people, on every channel."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from prefect.logging import get_logger
from prefect.runtime import flow_run

from millrace.blocks.alerts import load_channels, send
from millrace.blocks.api import translate_error
from millrace.change_logs.retention import RetainedLog
from millrace.tasks.alert_memory import choose_occasions
from millrace.tasks.events import emit_breached
from millrace.tasks.failures import describe_error
from millrace.tasks.messages import AlertMessage, Breach, breach_message, retained_log_message


async def send_alert(message: AlertMessage, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> bool:
    """Send a message to every channel, and return whether at least one accepted it.

    Failures are only logged: an alert that fails must not fail the run.
    """
    try:
        channels = await load_channels()
    except Exception as error:
        reason = describe_error(translate_error(error))
        logger.warning("No alert is sent, because the channels cannot be read: %s (%s)", reason, message.subject)
        return False
    if not channels:
        logger.warning("No alert is sent: there is no notification block named `alerts`. %s", message.subject)
        return False
    failures = await send(channels, message.subject, message.body)
    for failure in failures:
        logger.error("%s", failure)
    return len(failures) < len(channels)


async def alert_breach(pipeline: str, objective: timedelta, breaches: Sequence[Breach]) -> None:
    """Emit one event and send one alert for streams with changes that became visible later than ``objective``.

    Without such streams nothing is sent. A channel that fails raises no error.
    """
    if not breaches:
        return
    ages = {
        breach.stream: {name: age for name, age in asdict(breach).items() if name != "stream"} for breach in breaches
    }
    emit_breached(pipeline, objective, ages)
    await send_alert(breach_message(pipeline, objective, breaches, flow_run.id), get_logger("millrace.alerts"))


async def alert_retained_logs(pipeline: str, cli_name: str, logs: Sequence[RetainedLog]) -> None:
    """Send an alert for each source that keeps much of its change log, and one when that is over.

    As long as it lasts the alert comes again, with growing pauses. A memory of alerts that cannot be used raises no
    error: it is logged, and no alert is sent, since it would be sent with every cycle of a continuous run.
    """
    by_fault = {f"log of {log.place}": log for log in logs}
    if not by_fault:
        return
    logger = get_logger("millrace.alerts")
    try:
        occasions = await choose_occasions(pipeline, {fault: log.retention.is_high for fault, log in by_fault.items()})
    except Exception as error:
        reason = describe_error(translate_error(error))
        logger.warning(
            "No alert of kept change logs of %s is sent, because the memory of alerts (a variable of Prefect) "
            "cannot be used: %s",
            pipeline,
            reason,
        )
        return
    for fault, occasion in occasions.items():
        message = retained_log_message(pipeline, cli_name, by_fault[fault], occasion, flow_run.id)
        await send_alert(message, logger)
