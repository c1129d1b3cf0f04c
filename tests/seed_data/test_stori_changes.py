"""Changes of the demo: real ones, as many as asked for, the same for the same seed, and within the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millrace.seed_data.stori.changes import Changes, change_trades, change_transactions
from millrace.seed_data.stori.generate import generate_trades, generate_transactions
from millrace.seed_data.stori.trades import import_trades
from millrace.seed_data.stori.transactions import import_transactions
from tests.seed_data.directory_store import DirectoryStore

BROKEN_BALANCES = """
SELECT transaction_no FROM (
    SELECT transaction_no, balance_amt, sum(coalesce(deposit_amt, 0) - coalesce(withdrawal_amt, 0))
        OVER (PARTITION BY account_no ORDER BY transaction_no) AS expected
    FROM transactions) AS running
WHERE balance_amt <> expected
"""


def table(connection: Any, query: str = "SELECT * FROM transactions ORDER BY transaction_no") -> list[Any]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.fixture
def transactions(postgres: Any, tmp_path: Path, store: DirectoryStore) -> Any:
    generate_transactions(tmp_path / "txns.csv", rows=300)
    import_transactions(postgres, tmp_path / "txns.csv", store)
    return postgres


@pytest.fixture
async def trades(mongo: Any, tmp_path: Path, store: DirectoryStore) -> Any:
    generate_trades(tmp_path / "trades.json", documents=300)
    await import_trades(mongo, tmp_path / "trades.json", store)
    return mongo.trades


def test_transactions_change_as_asked(transactions: Any) -> None:
    before = table(transactions)
    assert change_transactions(transactions, inserts=20, updates=30, seed=5) == Changes(20, 30)
    after = table(transactions)
    changed = [new for old, new in zip(before, after, strict=False) if old != new]
    assert (len(after), len(changed)) == (320, 30)
    stamp = len(after[0]) - 1
    assert all(row[stamp] > max(old[stamp] for old in before) for row in changed + after[300:])
    assert table(transactions, BROKEN_BALANCES) == []


def test_transactions_change_again_elsewhere(transactions: Any) -> None:
    touched = "SELECT transaction_no FROM transactions WHERE updated_at > created_at"
    change_transactions(transactions, inserts=5, updates=10, seed=5)
    first = set(table(transactions, touched))
    change_transactions(transactions, inserts=0, updates=10, seed=5)
    assert set(table(transactions, touched)) > first


def test_no_more_is_updated_than_is_there(transactions: Any) -> None:
    assert change_transactions(transactions, inserts=0, updates=10_000, seed=5) == Changes(0, 300)


def test_an_empty_table_gets_its_first_transactions(postgres: Any) -> None:
    assert change_transactions(postgres, inserts=7, updates=7, seed=5) == Changes(7, 0)
    assert table(postgres, BROKEN_BALANCES) == []


async def test_trades_change_as_asked(trades: Any) -> None:
    before = {document["_id"]: document async for document in trades.find({})}
    assert await change_trades(trades.database, inserts=20, updates=30, seed=5) == Changes(20, 30)
    after = {document["_id"]: document async for document in trades.find({})}
    changed = [key for key in before if after[key] != before[key]]
    assert (len(after), len(changed)) == (320, 30)
    newest = max(document["updatedAt"] for document in before.values())
    assert all(after[key]["updatedAt"] > newest for key in [*changed, *(after.keys() - before.keys())])


async def test_trades_change_again_with_the_same_seed(trades: Any) -> None:
    for _ in range(2):
        assert await change_trades(trades.database, inserts=5, updates=0, seed=5) == Changes(5, 0)
    assert await trades.count_documents({}) == 310


async def test_no_more_trades_are_updated_than_are_there(trades: Any) -> None:
    assert await change_trades(trades.database, inserts=0, updates=1_000, seed=5) == Changes(0, 300)
