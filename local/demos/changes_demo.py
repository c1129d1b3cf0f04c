"""The demo of change logs: writers change three tables and a collection while two pipelines follow them.

One follows into the Redshift stand-in and one into Postgres. Every second the sum over both tables of
Postgres is looked at in both warehouses: transfers never change it. At the end both are compared with the sources.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, Any

import psycopg2
import typer
from rich.table import Table

from millrace import ChangeLog, Pipeline, Stream
from millrace.blocks.bootstrap import bootstrap
from millrace.cli.show import console, print_report
from millrace.flows.follow import FollowRequest, follow
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.seed_data.payments import PAYMENTS, PaymentWriter, create_payments, list_payments
from millrace.seed_data.receipts import COLLECTION, DATABASE, ReceiptWriter, create_receipts, list_receipts
from millrace.seed_data.transfers import OPENING_AMOUNT, TABLES, TransferWriters, create_tables, writing
from millrace.tasks.follow import Followed

STREAMS = [
    *(Stream(name, f"postgres/transfers:public.{name}", "id", ChangeLog()) for name in TABLES),
    Stream(COLLECTION, f"mongo:{DATABASE}.{COLLECTION}", "_id", ChangeLog()),
    # It is emptied now and then.
    Stream(PAYMENTS, f"mysql/transfers:{DATABASE}.{PAYMENTS}", "id", ChangeLog(), max_delete_share=1.0),
]
INTO_REDSHIFT = Pipeline("transfers", streams=STREAMS)
INTO_POSTGRES = Pipeline("transfers_copy", streams=STREAMS, warehouse="stocks")
WAREHOUSES = {"Redshift": (INTO_REDSHIFT, "WAREHOUSE_URL"), "Postgres": (INTO_POSTGRES, "WAREHOUSE_STOCKS_URL")}
NAMES = [f"local.demos.changes_demo:{attribute}" for attribute in ("INTO_REDSHIFT", "INTO_POSTGRES")]
ROWS = "SELECT id, amount, md5(note) FROM {}.{} ORDER BY 1"
RECEIPTS = "SELECT _id, amount, note FROM {}.receipts"
LOADED_PAYMENTS = "SELECT id, amount, note FROM {}.payments"
SUM = "SELECT (SELECT sum(amount) FROM {0}.left_side) + (SELECT sum(amount) FROM {0}.right_side)"
RETAINED = (
    "SELECT pg_size_pretty(max(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn))) "
    "FROM pg_replication_slots WHERE slot_name LIKE 'millrace\\_transfers\\_%'"
)
END_SECONDS = 10
"""How long the pipelines go on after the writers have ended."""


@dataclass
class Observed:
    """What was seen while the pipelines followed."""

    looks: int = 0
    """How often the sum was looked at in a warehouse."""
    wrong: int = 0
    """How often it was another one than the source always has."""
    retained: list[str] = field(default_factory=list)
    """How much log the source kept."""


async def demo(seconds: int, accounts: int, transactions_per_second: int, every_seconds: float) -> bool:
    """Run the demo; return whether both warehouses hold what the source holds, and never held anything else."""
    begun, source_url = time.monotonic(), os.environ["SOURCE_POSTGRES_TRANSFERS_URL"]
    mongo_url, mysql_url = os.environ["SOURCE_MONGO_URL"], os.environ["SOURCE_MYSQL_TRANSFERS_URL"]
    await bootstrap(os.environ)
    _say(f"Two tables of {accounts:,} accounts, a publication of their keys for each pipeline; a collection; MariaDB")
    _execute(source_url, create_tables(accounts))
    create_receipts(mongo_url)
    create_payments(mysql_url)
    for pipeline, _ in WAREHOUSES.values():
        _execute(source_url, _publish(pipeline))
    _say("A first run of both (millrace run)")
    for name in NAMES:
        print_report(await replicate(ReplicateRequest(pipeline=name)))
    _say(f"Two pipelines that follow them every {every_seconds:g} s; five writers for {seconds} s")
    writers = TransferWriters(source_url, accounts, seed=1, pause_seconds=3 / transactions_per_second)
    receipts = ReceiptWriter(mongo_url, pause_seconds=2 / transactions_per_second)
    payments = PaymentWriter(mysql_url, pause_seconds=2 / transactions_per_second)
    observed = Observed()
    followed, _ = await asyncio.gather(
        _follow_all(every_seconds, seconds + END_SECONDS),
        asyncio.to_thread(
            _write_and_look, writers, receipts, payments, observed, seconds, 2 * accounts * OPENING_AMOUNT
        ),
    )
    # The last cycle may have begun before the writers ended: on a busy machine cycles are long.
    for name in NAMES:
        await replicate(ReplicateRequest(pipeline=name))
    differences = _compare(source_url, mongo_url, mysql_url)
    _show(
        followed,
        observed,
        f"{writers.committed:,} transactions in Postgres, {receipts.written:,} in MongoDB, {payments.written:,} in "
        "MariaDB",
        differences,
    )
    _say(f"Done in {time.monotonic() - begun:.0f} s: {sum(differences.values())} differences.")
    return not observed.wrong and not sum(differences.values())


def _publish(pipeline: Pipeline) -> str:
    tables = ", ".join(f"{name} (id)" for name in TABLES)
    return f"CREATE PUBLICATION millrace_{pipeline.name} FOR TABLE {tables} WITH (publish_via_partition_root = true)"


async def _follow_all(every_seconds: float, seconds: float) -> list[Followed]:
    requests = [FollowRequest(pipeline=name, every_seconds=every_seconds, seconds=seconds) for name in NAMES]
    return await asyncio.gather(*map(follow, requests))


def _write_and_look(
    writers: TransferWriters,
    receipts: ReceiptWriter,
    payments: PaymentWriter,
    observed: Observed,
    seconds: int,
    expected: int,
) -> None:
    with writing(writers), receipts, payments:
        for _ in range(seconds):
            time.sleep(1)
            for pipeline, variable in WAREHOUSES.values():
                found = _execute(os.environ[variable], SUM.format(pipeline.target_schema))
                observed.looks += 1
                observed.wrong += found != [(expected,)]
            observed.retained += [row[0] for row in _execute(os.environ["SOURCE_POSTGRES_TRANSFERS_URL"], RETAINED)]


def _compare(source_url: str, mongo_url: str, mysql_url: str) -> dict[str, int]:
    """Return the number of rows that differ, by warehouse."""
    differences = {}
    for name, (pipeline, variable) in WAREHOUSES.items():
        differences[name] = sum(
            len(
                set(_execute(source_url, ROWS.format("public", table)))
                ^ set(_execute(os.environ[variable], ROWS.format(pipeline.target_schema, table)))
            )
            for table in TABLES
        )
        loaded = _execute(os.environ[variable], RECEIPTS.format(pipeline.target_schema))
        differences[name] += len(set(list_receipts(mongo_url)) ^ set(loaded))
        payments = _execute(os.environ[variable], LOADED_PAYMENTS.format(pipeline.target_schema))
        differences[name] += len(set(list_payments(mysql_url)) ^ set(payments))
    return differences


def _show(followed: Sequence[Followed], observed: Observed, transactions: str, differences: dict[str, int]) -> None:
    table = Table("", *WAREHOUSES, title=transactions)
    ages = [sorted(one.ages) for one in followed]
    rows: dict[str, list[Any]] = {
        "cycles": [one.cycles for one in followed],
        "keys of the log": [sum(number for number, *_ in one.ages) for one in followed],
        "rows changed": [one.changes for one in followed],
        "age at the middle, s": [f"{_middle([middle for _, middle, _, _ in one]):.1f}" for one in ages],
        "age of 95 %, s": [f"{max(late for _, _, late, _ in one):.1f}" for one in ages],
        "greatest age, s": [f"{max(greatest for *_, greatest in one):.1f}" for one in ages],
        "differences": [differences[name] for name in WAREHOUSES],
    }
    for what, values in rows.items():
        table.add_row(what, *(f"{value:,}" if isinstance(value, int) else value for value in values))
    console().print(table)
    console().print(f"sum over both tables: looked at {observed.looks} times, wrong {observed.wrong} times")
    console().print(f"log that the source kept: {observed.retained[-1] if observed.retained else 'none'}")


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    plain = url.replace("redshift+psycopg2", "postgresql")
    with closing(psycopg2.connect(plain)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _say(text: str) -> None:
    console().print(f"\n{text}", style="bold")


def main(
    seconds: Annotated[int, typer.Option(min=5, help="How long the writers write.")] = 60,
    accounts: Annotated[int, typer.Option(min=10, help="Accounts of each table.")] = 20_000,
    transactions_per_second: Annotated[int, typer.Option(min=1, help="Of all writers together, at most.")] = 100,
    every_seconds: Annotated[float, typer.Option(min=1, help="From one cycle to the next.")] = 3,
) -> None:
    """Run the demo; needs the environment of `python -m local run`. Exit code 1 when a warehouse is wrong."""
    if not asyncio.run(demo(seconds, accounts, transactions_per_second, every_seconds)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
