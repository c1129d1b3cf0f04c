"""The demo of `totesys`: five working days of a back office in a few minutes.

A run starts every twenty simulated minutes. At the end the warehouse is compared with a second computation. Simulated
time stands still while a run reads, and then jumps to the next run, so that ages are those of a real schedule.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from statistics import quantiles
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from local.demos.totesys_star import StarCompared, compare_star
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.load import load_source_postgres, load_warehouse
from millrace.blocks.sql import opener
from millrace.cli.show import console, print_report
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.seed_data.totesys.happened import Happened
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from millrace.tasks.report import RunReport
from millrace.tasks.views import create_views

REQUEST = ReplicateRequest(pipeline="totesys")
FIRST_RUN, LAST_RUN = timedelta(hours=7, minutes=40), timedelta(hours=19, minutes=20)
"""Times of day of the first and the last run: outside of them the back office does nothing, and neither does the
demo."""
WORKING_DAYS_A_WEEK = 5
OBJECTIVE = timedelta(minutes=30)
VERSIONS = "SELECT count(*), count(DISTINCT {key}), max(_version), count(_deleted_at) FROM totesys.{fact}"
KEYS = {"fact_sales_order": "sales_order_id", "fact_purchase_order": "purchase_order_id", "fact_payment": "payment_id"}
QUIET_FOUND = (
    "SELECT stream, sum(rows_silent), sum(rows_deleted) FROM millrace.batches "
    "WHERE pipeline = 'totesys' AND kind <> 'model' GROUP BY stream"
)
AGES = (
    "SELECT stream, sum(rows_stamped), max(age_max_seconds) FROM millrace.batches "
    "WHERE pipeline = 'totesys' AND rows_stamped > 0 GROUP BY stream ORDER BY stream"
)

Connect = Callable[[], Any]


async def demo(history_days: int, days: int, every: timedelta, silent_rate: float) -> bool:
    """Run the demo; return whether the warehouse agrees with the second computation and every change was fresh."""
    begun = time.monotonic()
    await bootstrap(os.environ)
    writer, warehouse = opener(await load_source_postgres("totesys-writer")), opener((await load_warehouse()).connector)
    start = _monday_of_last_week(days) - timedelta(days=history_days)
    with closing(writer()) as connection:
        _say(f"Seed: {history_days} days until {start + timedelta(days=history_days)} (millrace seed totesys)")
        await asyncio.to_thread(install, connection)
        simulation = TotesysSimulation(connection, 1, start, silent_rate)
        await asyncio.to_thread(simulation.fill, history_days)
        _say("First run: everything (millrace run totesys)")
        print_report(await replicate(REQUEST))
        _say(f"{days} working days, a run every {every.total_seconds() / 60:.0f} simulated minutes")
        moments = list(_moments(start + timedelta(days=history_days), days, every))
        happened, seconds, last = await _live(simulation, moments)
    _say("The last run")
    print_report(last)
    _say("The warehouse, with its views for analysts (millrace views totesys)")
    await create_views("totesys")
    compared = await asyncio.to_thread(compare_star, writer, warehouse)
    with closing(warehouse()) as connection, connection.cursor() as cursor:
        _show_versions(cursor)
        _show_quiet(cursor, happened, compared)
        is_fresh = _show_ages(cursor, compared, [took for _, took in seconds])
    _show_runs(seconds)
    is_equal = _show_comparison(compared)
    _say(f"Done in {time.monotonic() - begun:.0f} s.")
    return is_fresh and is_equal


async def _live(
    simulation: TotesysSimulation, moments: list[datetime]
) -> tuple[Happened, list[tuple[int, float]], RunReport]:
    """Simulate the days; return what happened, and the rows and seconds of each run."""
    happened, seconds = Happened(), []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as progress:
        bar = progress.add_task("runs", total=len(moments))
        for moment in moments:
            happened += await asyncio.to_thread(simulation.advance, moment)
            begun = time.monotonic()
            report = await replicate(REQUEST)
            seconds.append((sum(one.loaded for one in report.streams if one.kind != "model"), time.monotonic() - begun))
            progress.update(bar, advance=1, description=f"{moment:%a %H:%M}")
    return happened, seconds, report


def _monday_of_last_week(days: int) -> date:
    """So long ago that all working days are over."""
    today = datetime.now(UTC).date()
    weeks = -(-days // WORKING_DAYS_A_WEEK)
    return today - timedelta(days=today.weekday(), weeks=weeks)


def _moments(first: date, days: int, every: timedelta) -> Iterator[datetime]:
    """Return the times of the runs."""
    day = datetime(first.year, first.month, first.day, tzinfo=UTC)
    while days:
        if day.weekday() < WORKING_DAYS_A_WEEK:
            moment = day + FIRST_RUN
            while moment <= day + LAST_RUN:
                yield moment
                moment += every
            days -= 1
        day += timedelta(days=1)


def _show_versions(cursor: Any) -> None:
    table = Table(*("fact", "versions", "rows of the source", "most of one row", "deletions"))
    for fact, key in KEYS.items():
        cursor.execute(VERSIONS.format(fact=fact, key=key))
        table.add_row(fact, *(f"{count:,}" for count in cursor.fetchone()))
    console().print(table)


def _show_quiet(cursor: Any, happened: Happened, compared: StarCompared) -> None:
    cursor.execute(QUIET_FOUND)
    found = {stream: (int(silent or 0), int(deleted)) for stream, silent, deleted in cursor.fetchall()}
    table = Table(*("source table", "silent edits made", "seen apart", "found", "deletes made", "seen apart", "found"))
    for name, counts in happened.tables.items():
        silent, deleted = found.get(name, (0, 0))
        seen = (compared.silent.get(name, 0), compared.deleted.get(name, 0))
        if counts.silent or counts.deleted or silent or deleted:
            row = (counts.silent, seen[0], silent, counts.deleted, seen[1], deleted)
            table.add_row(name, *map(str, row))
    console().print(table)
    console().print(
        "Seen apart: two edits of a row between two runs are one change, and one that a stamp follows is none."
    )


def _show_ages(cursor: Any, compared: StarCompared, seconds: list[float]) -> bool:
    """Print the ages; return whether all are within the objective.

    The greatest age is the ledger's; p95 is that of the wait for a run, plus the longest run.
    """
    cursor.execute(AGES)
    table = Table(*("source table", "changes", "p95 min", "max min"))
    rows = cursor.fetchall()
    for stream, changes, most in rows:
        p95 = min(compared.wait_p95_seconds[stream] + max(seconds), most)
        table.add_row(stream, f"{changes:,}", f"{p95 / 60:.1f}", f"{most / 60:.1f}")
    console().print(table)
    return all(most <= OBJECTIVE.total_seconds() for *_, most in rows)


def _show_runs(seconds: list[tuple[int, float]]) -> None:
    for what, chosen in (
        ("idle", [took for rows, took in seconds if not rows]),
        ("busy", [took for rows, took in seconds if rows]),
    ):
        if len(chosen) > 1:
            p95 = quantiles(chosen, n=20, method="inclusive")[-1]
            console().print(f"{len(chosen)} {what} runs: p95 {p95:.1f} s, max {max(chosen):.1f} s")


def _show_comparison(compared: StarCompared) -> bool:
    table = Table(*("table", "rows, computed again", "missing", "extra"))
    for one in compared.tables:
        table.add_row(one.table, f"{one.rows:,}", str(one.missing), str(one.extra))
    console().print(table)
    console().print(f"{compared.differences} differences, {compared.orphans} facts without a dimension among them")
    return not compared.differences


def _say(text: str) -> None:
    console().print(f"\n{text}", style="bold")


def main(
    history: int = typer.Option(730, min=1, help="Days before the first run."),
    days: int = typer.Option(5, min=1, help="Working days."),
    every: float = typer.Option(20, min=1, help="Simulated minutes between runs."),
    silent_rate: float = typer.Option(20, min=0, help="Factor on silent edits and deletes; 1 is as measured."),
) -> None:
    """Run the demo; needs the environment of `python -m local run`. Exit code 1 when the warehouse is wrong or late."""
    if not asyncio.run(demo(history, days, timedelta(minutes=every), silent_rate)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
