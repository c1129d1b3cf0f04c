"""The steps of the flows that simulate sample sources, as Prefect sees them: fill one, let it live, send events."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from prefect import get_run_logger, task

from millrace.blocks.load import load_source_mysql, load_source_postgres, load_source_queue
from millrace.blocks.sql import opener
from millrace.drivers.psycopg_errors import database_errors
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.seed_data.events.sending import SENDERS, Producer, Sent
from millrace.seed_data.events.stream import messages
from millrace.seed_data.stocks import simulation as stocks
from millrace.seed_data.totesys import simulation as totesys
from millrace.seed_data.totesys.happened import Happened
from millrace.tasks.policy import TASK_OPTIONS
from millrace.tasks.signals import stop_on_signals

TOTESYS_WRITER, STOCKS_WRITER = "totesys-writer", "stocks-writer"
"""The connections of the sources' owners; the pipelines have some that only read."""
EVENTS = "events"
"""The connection of the queue."""
FOREVER = datetime.max.replace(tzinfo=UTC)

Simulation = totesys.TotesysSimulation | stocks.StocksSimulation
Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True)
class Simulated:
    """What happened between two times of a simulation."""

    start: datetime
    end: datetime
    happened: Happened


@task(name="fill-source", task_run_name="fill {days} days from {start}", **TASK_OPTIONS)
async def fill_source(days: int, seed: int, start: date, silent_rate: float) -> Simulated:
    """Make the tables of `totesys`, where they are missing, and what happened in them from ``start`` on."""

    def make() -> Simulated:
        with _totesys(connect) as connection:
            return _fill(totesys.TotesysSimulation(connection, seed, start, silent_rate), days)

    connect = opener(await load_source_postgres(TOTESYS_WRITER))
    return await asyncio.to_thread(make)


@task(name="fill-stocks-source", task_run_name="fill {days} days from {start}", **TASK_OPTIONS)
async def fill_stocks_source(days: int, seed: int, start: date, rare_rate: float) -> Simulated:
    """Generate the history of `stocks` in its source."""

    def make() -> Simulated:
        with _stocks(connect) as connection:
            return _fill(stocks.StocksSimulation(connection, seed, start, rare_rate), days)

    connect = opener(await load_source_mysql(STOCKS_WRITER))
    return await asyncio.to_thread(make)


@task(name="simulate-source", task_run_name="simulate at speed {speed}", **TASK_OPTIONS)
async def simulate_source(speed: float, days: float | None, silent_rate: float) -> Simulated:
    """Let the source of `totesys` live for ``days``, or until a signal; logs each simulated hour."""

    def live() -> Simulated:
        with _totesys(connect) as connection:
            return _live(totesys.TotesysSimulation.resume(connection, silent_rate), speed, days, stop, logger)

    connect, logger = opener(await load_source_postgres(TOTESYS_WRITER)), get_run_logger()
    with stop_on_signals() as stop:
        return await asyncio.to_thread(live)


@task(name="simulate-stocks-source", task_run_name="simulate at speed {speed}", **TASK_OPTIONS)
async def simulate_stocks_source(speed: float, days: float | None, rare_rate: float) -> Simulated:
    """Simulate the stock platform in its source."""

    def live() -> Simulated:
        with _stocks(connect) as connection:
            return _live(stocks.StocksSimulation.resume(connection, rare_rate), speed, days, stop, logger)

    connect, logger = opener(await load_source_mysql(STOCKS_WRITER)), get_run_logger()
    with stop_on_signals() as stop:
        return await asyncio.to_thread(live)


# No retries: they would send the same events again, and what was sent cannot be taken back.
@task(name="send-events", task_run_name="send {rate} a second", **TASK_OPTIONS | {"retries": 0})
async def send_events(
    rate: float, count: int | None, duplicates: float, malformed: float, seed: int, start: datetime
) -> Sent:
    """Send events to the queue of `events`, ``count`` messages or until a signal; logs now and then how many."""

    def send() -> Sent:
        client = queue.client(SENDERS)
        producer = Producer(client, queue.url, stop.wait, lambda taken: logger.info("%d messages sent", taken))
        return producer.send(islice(messages(seed, start, rate, duplicates, malformed), count))

    queue, logger = await load_source_queue(EVENTS), get_run_logger()
    with stop_on_signals() as stop:
        return await asyncio.to_thread(send)


@contextmanager
def _totesys(connect: Callable[[], Any]) -> Iterator[Any]:
    with database_errors(totesys.PLACE), closing(connect()) as connection:
        totesys.install(connection)
        yield connection


@contextmanager
def _stocks(connect: Callable[[], Any]) -> Iterator[Any]:
    with mysql_errors(stocks.PLACE), closing(connect()) as connection:
        stocks.install(connection)
        yield connection


def _fill(simulation: Simulation, days: int) -> Simulated:
    begin = simulation.now()
    happened = simulation.fill(days)
    return Simulated(begin, simulation.now(), happened)


def _live(simulation: Simulation, speed: float, days: float | None, stop: threading.Event, logger: Logger) -> Simulated:
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
