"""Measure how long a run of `totesys` takes, without changes and with a hundred.

``python -m local run -- python -m bench.totesys``, on two years of data.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any

import typer

from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.load import load_source_postgres
from millrace.blocks.sql import opener
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.seed_data.totesys.simulation import TotesysSimulation, install

REQUEST = ReplicateRequest(pipeline="totesys")
DAYS = 730
CHANGES = 100
CHANGE = (
    "UPDATE payment SET paid = NOT paid, last_updated = simulation.now() AT TIME ZONE 'UTC' "
    "WHERE payment_id IN (SELECT payment_id FROM payment ORDER BY payment_id DESC LIMIT %s)"
)


async def run() -> tuple[int, float]:
    """Rows that changed in the source's copies, and seconds."""
    begun = time.monotonic()
    report = await replicate(REQUEST)
    return sum(one.loaded for one in report.streams if one.kind != "model"), time.monotonic() - begun


async def measure(times: int) -> None:
    """Print median, p95 and maximum of both."""
    await bootstrap(os.environ)
    connect = opener(await load_source_postgres("totesys-writer"))
    with closing(connect()) as connection:
        install(connection)
        start = datetime.now(UTC).date() - timedelta(days=DAYS + 1)
        TotesysSimulation(connection, 1, start).fill(DAYS)
        rows, seconds = await run()
        print(f"first load: {rows:,} rows in {seconds:.1f} s")
        tell("idle", [await run() for _ in range(times)])
        tell(f"{CHANGES} changes", [await change_and_run(connection) for _ in range(times)])


async def change_and_run(connection: Any) -> tuple[int, float]:
    """Change rows, then measure a run."""
    with connection, connection.cursor() as cursor:
        cursor.execute(CHANGE, (CHANGES,))
    return await run()


def tell(what: str, runs: list[tuple[int, float]]) -> None:
    """One line."""
    rows, seconds = {rows for rows, _ in runs}, [seconds for _, seconds in runs]
    p95 = quantiles(seconds, n=20, method="inclusive")[-1]
    print(
        f"{what}: {len(runs)} runs of {rows} changed rows: median {median(seconds):.1f} s, p95 {p95:.1f} s, "
        f"max {max(seconds):.1f} s"
    )


def main(times: int = typer.Option(20, min=2, help="Runs of each kind.")) -> None:
    """Needs the environment of `python -m local run`."""
    asyncio.run(measure(times))


if __name__ == "__main__":
    typer.run(main)
