"""The demo of `stocks`: thirty days of a stock platform, loaded into Postgres and into Redshift.

A run starts every night except two, and one of them twice. At the end both warehouses are compared with a second
computation. Simulated time stands still while a run reads, and then jumps to the next one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer
from prefect.client.orchestration import get_client
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from local.demos.stocks_star import Query, compare_stocks
from local.demos.totesys_star import TableCompared
from millrace.blocks.bootstrap import bootstrap, save
from millrace.blocks.environment import make_blocks
from millrace.blocks.load import load_source_mysql, load_warehouse
from millrace.blocks.sql import Warehouse, opener
from millrace.cli.show import console, print_report
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.seed_data.simulate_tasks import STOCKS_WRITER
from millrace.seed_data.stocks.script import schema_of
from millrace.seed_data.stocks.simulation import StocksSimulation, install
from millrace.tasks.report import RunReport
from millrace.tasks.views import create_views

REQUEST = ReplicateRequest(pipeline="stocks")
NIGHT = timedelta(minutes=30)
"""After midnight where the platform is."""
HERE = timedelta(hours=7)
WAREHOUSES = {
    "Postgres": {},
    "Redshift": {"WAREHOUSE_STOCKS_URL": "WAREHOUSE_URL", "WAREHOUSE_STOCKS_IAM_ROLE": "WAREHOUSE_IAM_ROLE"},
}
"""The setting by which the pipeline goes to each: a variable, and the one whose value it has."""
DIMENSION = "SELECT count(*), count(DISTINCT {key}), sum(CASE WHEN is_current THEN 1 ELSE 0 END) FROM stocks.{table}"
MISSED = [9, 17]
KEYS = {"stock_dim": "stock_id", "user_dim": "user_id"}
FACTS = "SELECT count(*), count(stock_key), count(user_id), count(user_key) FROM stocks.transaction_fact"


async def demo(days: int, missed: Sequence[int], again: int, rare_rate: float) -> bool:
    """Run the demo.

    Return whether both warehouses agree with the second computation and the repeated run changed nothing.
    """
    begun = time.monotonic()
    await bootstrap(os.environ)
    writer = opener(await load_source_mysql(STOCKS_WRITER))
    start = datetime.now(UTC).date() - timedelta(days=days + 1)
    with closing(writer()) as connection:
        await asyncio.to_thread(install, connection)
    with closing(writer()) as connection:
        _say(
            f"{days} days of a stock platform, a run every night but those of the days {_list_days(missed)}, "
            f"two in that of day {again}"
        )
        simulation = StocksSimulation(connection, 1, start, rare_rate)
        runs, changed = await _live(simulation, start, days, missed, again)
    is_equal = not changed
    console().print(f"The second run of day {again} changed {changed} rows.")
    for name, setting in WAREHOUSES.items():
        await _choose(setting)
        _say(f"{name}, with its views for analysts (millrace views stocks)")
        await create_views("stocks")
        with closing(writer()) as source, closing(opener((await load_warehouse("stocks")).connector)()) as held:
            with source.cursor() as cursor:
                schema = schema_of(cursor)
            warehouse = _query(held)
            _show_dimensions(warehouse)
            _show_facts(warehouse)
            is_equal &= _show_comparison(
                await asyncio.to_thread(compare_stocks, _query(source), schema, runs, warehouse)
            )
    await _choose(WAREHOUSES["Postgres"])
    _say(f"Done in {time.monotonic() - begun:.0f} s.")
    return is_equal


async def _live(
    simulation: StocksSimulation, start: date, days: int, missed: Sequence[int], again: int
) -> tuple[list[datetime], int]:
    """Run the days; return the times of the runs in UTC without zone, and how many rows the repeated run changed."""
    runs, changed = [], 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as progress:
        bar = progress.add_task("days", total=days)
        for day in range(1, days + 1):
            moment = _night(start + timedelta(days=day))
            await asyncio.to_thread(simulation.advance, moment)
            if day not in missed:
                runs.append(moment.replace(tzinfo=None))
                reports = await _run(WAREHOUSES)
            if day == again:
                changed = sum(one.loaded for report in await _run(WAREHOUSES) for one in report.streams)
            progress.update(bar, advance=1, description=f"{start + timedelta(days=day):%d %B}")
    _say("The last night's run, into Redshift (millrace run stocks)")
    print_report(reports[-1])
    return runs, changed


async def _run(warehouses: Mapping[str, Mapping[str, str]]) -> list[RunReport]:
    """Run the pipeline once into each warehouse."""
    reports = []
    for setting in warehouses.values():
        await _choose(setting)
        reports.append(await replicate(REQUEST))
    return reports


async def _choose(setting: Mapping[str, str]) -> None:
    """Choose the warehouses.

    This sets the variables and creates the blocks as `python -m millrace.blocks.bootstrap` does, for the warehouses
    alone.
    """
    environment = dict(os.environ) | {name: os.environ[value] for name, value in setting.items()}
    async with get_client() as client:
        for name, block in make_blocks(environment):
            if isinstance(block, Warehouse):
                await save(name, block, client)


def _night(day: date) -> datetime:
    """Return the time of the run on a day, in the platform's time zone."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + NIGHT - HERE


def _query(connection: Any) -> Query:
    def rows(statement: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    return rows


def _show_dimensions(warehouse: Query) -> None:
    table = Table("dimension", *("versions", "keys", "open", "closed"))
    for name, key in KEYS.items():
        [(versions, keys, is_open)] = warehouse(DIMENSION.format(key=key, table=name))
        table.add_row(name, *(f"{count:,}" for count in (versions, keys, is_open, versions - is_open)))
    console().print(table)


def _show_facts(warehouse: Query) -> None:
    [(facts, of_stock, with_user, of_user)] = warehouse(FACTS)
    console().print(
        f"{facts:,} facts: {of_stock:,} bound to a version of their stock, {of_user:,} of {with_user:,} with a user to "
        "a version of theirs"
    )


def _show_comparison(compared: Sequence[TableCompared]) -> bool:
    table = Table(*("table", "rows, computed again", "missing", "extra"))
    for one in compared:
        table.add_row(one.table, f"{one.rows:,}", str(one.missing), str(one.extra))
    differences = sum(one.missing + one.extra for one in compared)
    console().print(table)
    console().print(f"{differences} differences")
    return not differences


def _list_days(days: Sequence[int]) -> str:
    return " and ".join(map(str, days))


def _say(text: str) -> None:
    console().print(f"\n{text}", style="bold")


def main(
    days: Annotated[int, typer.Option(min=1, help="Simulated days.")] = 30,
    missed: Annotated[
        list[int] | None, typer.Option(help="A day without a run (repeatable).", show_default="9 and 17")
    ] = None,
    again: Annotated[int, typer.Option(help="The day whose run comes twice.")] = 12,
    rare_rate: Annotated[
        float, typer.Option(min=0, help="Factor on deletes, silent edits and the like; 1 is once a month.")
    ] = 3,
) -> None:
    """Run the demo; needs the environment of `python -m local run --mysql`. Exit code 1 when a warehouse is wrong."""
    if not asyncio.run(demo(days, missed or MISSED, again, rare_rate)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
