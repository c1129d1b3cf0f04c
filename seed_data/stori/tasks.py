"""The steps of the flow `seed` as Prefect sees them: generate and land a file, import a landed file.

Tasks hand keys and counts to each other, never data.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task

from millrace.blocks.load import load_landing, load_source_mongo, load_source_postgres
from millrace.blocks.sql import opener
from millrace.blocks.store import BucketStore
from millrace.drivers.psycopg_errors import database_errors
from millrace.seed_data.stori.generate import Header, generate_trades, generate_transactions
from millrace.seed_data.stori.outcome import Outcome, sha256_of, with_reasons
from millrace.seed_data.stori.trade_validator import install_collection
from millrace.seed_data.stori.trades import import_trades
from millrace.seed_data.stori.transactions import PLACE, import_transactions, install_source
from millrace.tasks.policy import TASK_OPTIONS

DATABASE = "finance"
TRANSACTIONS_FILE, TRADES_FILE = "txns.csv", "trades.json"


@task(name="land-transactions", task_run_name="generate {rows} transactions", **TASK_OPTIONS)
async def land_transactions(rows: int, accounts: int, seed: int, header: Header) -> str:
    """Generate txns.csv and put it into the landing zone; returns its key."""
    generate = partial(generate_transactions, rows=rows, accounts=accounts, seed=seed, header=header)
    return await asyncio.to_thread(_land, await load_landing(), generate, TRANSACTIONS_FILE)


@task(name="land-trades", task_run_name="generate {documents} trades", **TASK_OPTIONS)
async def land_trades(documents: int, seed: int) -> str:
    """Generate trades.json and put it into the landing zone; returns its key."""
    generate = partial(generate_trades, documents=documents, seed=seed)
    return await asyncio.to_thread(_land, await load_landing(), generate, TRADES_FILE)


@task(name="land-file", task_run_name="land {path}", **TASK_OPTIONS)
async def land_file(path: str) -> str:
    """Put a file of this machine into the landing zone; returns its key."""
    return await asyncio.to_thread(_put, await load_landing(), Path(path))


@task(name="import-transactions", task_run_name="import {key}", **TASK_OPTIONS)
async def import_landed_transactions(key: str) -> Outcome:
    """Import a landed CSV file into the Postgres source, making its tables where they are missing."""
    connector = await load_source_postgres()
    return await asyncio.to_thread(_import_transactions, opener(connector), await load_landing(), key)


@task(name="import-trades", task_run_name="import {key}", **TASK_OPTIONS)
async def import_landed_trades(key: str) -> Outcome:
    """Import a landed JSON document into the MongoDB source, installing the collection's validator first."""
    store = await load_landing()
    client = (await load_source_mongo()).get_client()
    try:
        await install_collection(client[DATABASE])
        with tempfile.TemporaryDirectory() as directory:
            path = await asyncio.to_thread(_fetch, store, key, Path(directory))
            outcome = await import_trades(client[DATABASE], path, store)
            return await asyncio.to_thread(with_reasons, outcome, store)
    finally:
        client.close()


def _land(store: BucketStore, generate: Callable[[Path], None], name: str) -> str:
    """Put a file into the landing zone, named by its content, so that an equal file is the same object."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        generate(path)
        return _put(store, path)


def _put(store: BucketStore, path: Path) -> str:
    key = f"stori/imports/{sha256_of(path)}/{path.name}"
    store.put_file(path, key)
    return key


def _fetch(store: BucketStore, key: str, directory: Path) -> Path:
    path = directory / Path(key).name
    store.get_file(key, path)
    return path


def _import_transactions(connect: Callable[[], Any], store: BucketStore, key: str) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        path = _fetch(store, key, Path(directory))
        with database_errors(PLACE), closing(connect()) as connection:
            install_source(connection)
            return with_reasons(import_transactions(connection, path, store), store)
