"""The flow `seed` on a Prefect server: files landed once, both sources filled, bad input named, retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from pydantic import SecretStr, ValidationError

from local.stack import Stack
from millrace.base.errors import ConfigurationError, Unreachable
from millrace.blocks.load import load_landing
from millrace.blocks.mongo import MongoDB
from millrace.blocks.store import BucketStore
from millrace.drivers.mongo_client import open_client
from millrace.seed_data.stori.flow import ImportRequest, SeedReport, SeedRequest, import_files, seed
from millrace.seed_data.stori.generate import generate_trades, generate_transactions
from millrace.seed_data.stori.outcome import Outcome
from millrace.seed_data.stori.tasks import import_landed_trades, import_landed_transactions

SMALL = SeedRequest(rows=300, documents=200, seed=4)


@pytest.fixture
async def store(
    bootstrapped: dict[str, str], aws_environment: dict[str, str], stack: Stack
) -> AsyncIterator[BucketStore]:
    """Blocks that point to fresh places; gives the landing zone."""
    stack.mongo.drop_database("finance")
    yield await load_landing()
    stack.mongo.drop_database("finance")


def transactions(url: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM transactions ORDER BY transaction_no")
        return cursor.fetchall()


async def trades(url: str) -> list[dict[str, Any]]:
    return await open_client(url).finance.trades.find({}).sort("id", 1).to_list(None)


async def test_seeding_fills_both_sources_and_seeding_again_changes_nothing(
    store: BucketStore, postgres_database: str, mongo_url: str
) -> None:
    assert await seed(SMALL) == SeedReport((Outcome("txns.csv", imported=300), Outcome("trades.json", imported=200)))
    before = transactions(postgres_database), await trades(mongo_url)
    assert (len(before[0]), len(before[1])) == (300, 200)
    assert await seed(SMALL) == SeedReport((Outcome("txns.csv", unchanged=300), Outcome("trades.json", unchanged=200)))
    assert (transactions(postgres_database), await trades(mongo_url)) == before
    assert [key.split("/")[-1] for key in store.list_keys("stori/imports/")] in (
        ["txns.csv", "trades.json"],
        ["trades.json", "txns.csv"],
    )


async def test_run_name_and_artifact_say_what_was_seeded(store: BucketStore) -> None:
    state = await seed(SMALL, return_state=True)
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
        [artifact] = await client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=["seed-stori"]), flow_run_id=ArtifactFilterFlowRunId(any_=[run.id])
            )
        )
    assert run.name == "stori: 300 transactions, 200 trades"
    table = json.loads(artifact.data)
    assert [(row["file"], row["read"], row["rejected"]) for row in table] == [
        ("txns.csv", 300, 0),
        ("trades.json", 200, 0),
    ]


async def test_a_users_own_files_are_imported_once_and_what_is_wrong_in_them_is_told(
    store: BucketStore, postgres_database: str, mongo_url: str, tmp_path: Path
) -> None:
    transactions_file, trades_file = tmp_path / "bank.CSV", tmp_path / "my trades.json"
    generate_transactions(transactions_file, 5, header="underscored")
    with transactions_file.open("a") as file:
        file.write("1,31-Jun-17,no such day,,29-Jun-17,,5.00,5.00\n1,29-Jun-17,no amount,,29-Jun-17,,,5.00\n")
    generate_trades(trades_file, 3)
    data = json.loads(trades_file.read_text())
    data["data"].append({"id": "no id", "price": 1})
    trades_file.write_text(json.dumps(data))
    request = ImportRequest(files=(transactions_file, trades_file))
    bank, own = (await import_files(request)).files
    assert (bank.file, bank.imported, bank.rejected) == ("bank.CSV", 5, 2)
    assert ("date|parse", 1, 7) in {astuple(one) for one in bank.reasons}
    assert (own.file, own.imported, own.rejected) == ("my trades.json", 3, 1)
    assert {one.first for one in own.reasons} == {4}
    assert len(transactions(postgres_database)) == 5
    assert len(await trades(mongo_url)) == 3
    again = (await import_files(request)).files
    assert [(one.imported, one.unchanged, one.rejected, one.reasons) for one in again] == [
        (0, 5, 2, bank.reasons),
        (0, 3, 1, own.reasons),
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.csv", "does not point to a file"),
        (".", "does not point to a file"),
        ("rows.xlsx", "neither a .csv file"),
    ],
)
def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"")
    with pytest.raises(ValidationError, match=told) as raised:
        ImportRequest(files=(tmp_path / name,))
    assert raised.value.error_count() == 1


async def test_a_damaged_file_fails_its_task_once_and_leaves_the_other_alone(
    store: BucketStore, mongo_url: str, postgres_database: str, tmp_path: Any
) -> None:
    await asyncio.to_thread(generate_trades, tmp_path / "trades.json", 20)
    data = await asyncio.to_thread((tmp_path / "trades.json").read_bytes)
    store.put_bytes(data[:-100], "stori/imports/cut/trades.json")
    store.put_bytes(b"\0", "stori/imports/binary/txns.csv")

    @flow
    async def both() -> list[Any]:
        return await asyncio.gather(
            import_landed_trades("stori/imports/cut/trades.json"),
            import_landed_transactions("stori/imports/binary/txns.csv"),
            return_exceptions=True,
        )

    errors = await both()
    assert [type(error) for error in errors] == [ConfigurationError, ConfigurationError]
    assert [error.place for error in errors] == ["trades.json, after record 19", "txns.csv, line 1"]
    assert await trades(mongo_url) == []
    assert transactions(postgres_database) == []


async def test_what_may_pass_by_itself_is_retried_and_the_other_import_ends(
    store: BucketStore, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = MongoDB(url=SecretStr("mongodb://127.0.0.1:1"), server_selection_timeout_seconds=0.1)
    await nowhere.asave("source-mongo", overwrite=True)
    monkeypatch.setattr(import_landed_trades, "retry_delay_seconds", [0.0, 0.0, 0.0])
    state = await seed(SMALL, return_state=True)
    with pytest.raises(Unreachable, match=r"finance\.trades"):
        await state.aresult()
    async with get_client() as client:
        runs = {
            run.name.split("/")[-1]: run
            for run in await client.read_task_runs()
            if run.flow_run_id == state.state_details.flow_run_id
        }
    assert runs["trades.json"].run_count == 4
    assert runs["txns.csv"].state_name == "Completed"
    assert len(transactions(postgres_database)) == 300


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"documents": -1}, {"header": "none"}, {"seed": -1}])
def test_a_request_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SeedRequest(**wrong)
