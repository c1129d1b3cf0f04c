"""The steps of the flows that simulate `totesys`, as Prefect sees them: fill its source, let it live.

What does not belong here: what happens in it (seed_data/totesys).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import Any

from prefect import get_run_logger, task

from blocks.load import load_source_postgres
from blocks.sql import opener
from millrace.database import database_errors
from seed_data.totesys.happened import Happened
from seed_data.totesys.simulation import PLACE, Simulation, install
from tasks.policy import STEP

WRITER = "totesys-writer"
"""The connection of the source's owner; the pipeline has one that only reads."""
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Simulated:
    """What happened between two moments of simulated time."""

    start: datetime
    end: datetime
    happened: Happened


@task(name="fill-source", task_run_name="fill {days} days from {start}", **STEP)
async def fill_source(days: int, seed: int, start: date, silent_rate: float) -> Simulated:
    """Make the tables, where they are missing, and what happened in them from ``start`` on."""

    def make() -> Simulated:
        with _installed(connect) as connection:
            simulation = Simulation(connection, seed, start, silent_rate)
            begin = simulation.now()
            happened = simulation.fill(days)
            return Simulated(begin, simulation.now(), happened)

    connect = opener(await load_source_postgres(WRITER))
    return await asyncio.to_thread(make)


@task(name="simulate-source", task_run_name="simulate at speed {speed}", **STEP)
async def simulate_source(speed: float, days: float | None, silent_rate: float) -> Simulated:
    """Let the source live for ``days``, or until a signal; logs each simulated hour."""

    def live() -> Simulated:
        with _installed(connect) as connection:
            simulation = Simulation.resume(connection, silent_rate)
            return _live(simulation, speed, days, stop, logger)

    connect, logger = opener(await load_source_postgres(WRITER)), get_run_logger()
    with _stopped_by_signals() as stop:
        return await asyncio.to_thread(live)


@contextmanager
def _installed(connect: Callable[[], Any]) -> Iterator[Any]:
    with database_errors(PLACE), closing(connect()) as connection:
        install(connection)
        yield connection


def _live(
    simulation: Simulation,
    speed: float,
    days: float | None,
    stop: threading.Event,
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
) -> Simulated:
    begin, happened = simulation.now(), Happened()
    until = FOREVER if days is None else begin + timedelta(days=days)
    for moment, recent in simulation.live(speed, until, stop.wait):
        happened += recent
        total = recent.total
        logger.info(
            "%s  %d inserted, %d updated, %d silent, %d deleted",
            f"{moment:%a %Y-%m-%d %H:%M}",
            *(total.inserted, total.updated, total.silent, total.deleted),
        )
    return Simulated(begin, simulation.now(), happened)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, where this is the thread that signals reach."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
