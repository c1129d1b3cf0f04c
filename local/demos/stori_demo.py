"""The demo: the pipeline `stori` on the whole stack, twice, with changes in between, and a look into the warehouse.

Everything it does, a user can do by hand with the commands of the README.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from typing import Any

import typer
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from rich.table import Table

from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.load import load_source_mongo, load_source_postgres, load_warehouse
from millrace.blocks.sql import opener
from millrace.cli.show import console, print_report, print_seeded
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.seed_data.stori.changes import (
    change_trades,
    change_trades_silently,
    change_transactions,
    change_transactions_silently,
)
from millrace.seed_data.stori.flow import SeedRequest, seed

INSERTS, UPDATES = 250, 100
SILENT, DELETES = 25, 50
QUESTIONS = {
    "transactions": "SELECT count(*), count(DISTINCT account_no), sum(deposit_amt), max(updated_at) "
    "FROM stori.transactions",
    "trades": "SELECT count(*), count(DISTINCT ticket), sum(price::BIGINT * shares), max(updated_at) FROM stori.trades",
}
SAMPLES = (
    "SELECT transaction_no, account_no, date, withdrawal_amt, deposit_amt, balance_amt FROM stori.transactions "
    "ORDER BY updated_at DESC, transaction_no DESC LIMIT 3",
    "SELECT id, ticker, ticket, price, details_asks, time_date FROM stori.trades ORDER BY updated_at DESC, id LIMIT 3",
)


async def demo(rows: int, documents: int) -> None:
    """Seed, replicate, change the sources, replicate again, change them silently, sweep, look."""
    begun = time.monotonic()
    _say("Blocks: where things are (python -m millrace.blocks.bootstrap)")
    await bootstrap(os.environ)
    _say("Seed: generate, land in S3, import into Postgres and MongoDB (millrace seed stori)")
    print_seeded(await seed(SeedRequest(rows=rows, documents=documents)))
    _say("First run: everything (millrace run stori)")
    print_report(await replicate(ReplicateRequest(pipeline="stori")))
    _say(f"Change the sources: {INSERTS} inserts and {UPDATES} updates in each")
    await _change()
    _say("Second run: only what changed; MongoDB's last minute is read again and found unchanged")
    print_report(await replicate(ReplicateRequest(pipeline="stori")))
    _say(f"Change the sources as no cursor shows: {SILENT} silent updates and {DELETES} deletes in each")
    await _change_silently()
    _say("Sweep: source and warehouse compared as a whole (millrace sweep stori; by itself once a day)")
    print_report(await replicate(ReplicateRequest(pipeline="stori", mode="sweep")))
    _say("The warehouse")
    await asyncio.to_thread(_look, opener((await load_warehouse()).connector))
    _say("Flow runs, as Prefect has them")
    await _show_runs()
    _say(f"Done in {time.monotonic() - begun:.0f} s.")


async def _change() -> None:
    connect = opener(await load_source_postgres())

    def change() -> None:
        with closing(connect()) as connection:
            change_transactions(connection, inserts=INSERTS, updates=UPDATES, seed=1)

    await asyncio.to_thread(change)
    client = (await load_source_mongo()).get_client()
    try:
        await change_trades(client["finance"], inserts=INSERTS, updates=UPDATES, seed=1)
    finally:
        client.close()


async def _change_silently() -> None:
    connect = opener(await load_source_postgres())

    def change() -> None:
        with closing(connect()) as connection:
            change_transactions_silently(connection, updates=SILENT, deletes=DELETES, seed=1)

    await asyncio.to_thread(change)
    client = (await load_source_mongo()).get_client()
    try:
        await change_trades_silently(client["finance"], updates=SILENT, deletes=DELETES, seed=1)
    finally:
        client.close()


def _look(connect: Any) -> None:
    with closing(connect()) as connection, connection.cursor() as cursor:
        for table, question in QUESTIONS.items():
            cursor.execute(question)
            count, distinct, total, latest = cursor.fetchone()
            console().print(f"stori.{table}: {count:,} rows, {distinct:,} distinct, total {total:,}, latest {latest}")
        for sample in SAMPLES:
            cursor.execute(sample)
            shown = Table(*(column.name for column in cursor.description))
            for row in cursor.fetchall():
                shown.add_row(*("" if value is None else str(value) for value in row))
            console().print(shown)


async def _show_runs() -> None:
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.START_TIME_ASC)
    for run in runs:
        seconds = run.total_run_time.total_seconds()
        console().print(f"{run.state_name or '':<10} {seconds:6.1f} s  {run.name}")


def _say(text: str) -> None:
    console().print(f"\n{text}", style="bold")


def main(
    rows: int = typer.Option(116_201, help="Bank transactions."), documents: int = typer.Option(20_000, help="Trades.")
) -> None:
    """Run the demo; needs the environment of `python -m local run`."""
    asyncio.run(demo(rows, documents))


if __name__ == "__main__":
    typer.run(main)
