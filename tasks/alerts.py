"""Telling people: a message to every channel."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from prefect.logging import get_logger
from prefect.runtime import flow_run

from millrace.blocks.alerts import load_channels, send
from millrace.tasks.events import emit_breached
from millrace.tasks.messages import AlertMessage, Breach, breached


async def tell(message: AlertMessage, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> bool:
    """Send to every channel; whether at least one took it. What went wrong is logged, for an alert that fails must
    not fail what it is about."""
    channels = await load_channels()
    if not channels:
        logger.warning("Nobody is told: there is no notification block named `alerts`. %s", message.subject)
        return False
    failures = await send(channels, message.subject, message.body)
    for failure in failures:
        logger.error("%s", failure)
    return len(failures) < len(channels)


async def alert_breach(pipeline: str, objective: timedelta, breaches: Sequence[Breach]) -> None:
    """Tell of streams whose changes became visible later than ``objective``: one event and one message for all of
    them; nothing when there are none. Raises nothing because a channel fails."""
    if not breaches:
        return
    ages = {one.stream: {name: age for name, age in asdict(one).items() if name != "stream"} for one in breaches}
    emit_breached(pipeline, objective, ages)
    await tell(breached(pipeline, objective, breaches, flow_run.id), get_logger("millrace.alerts"))
