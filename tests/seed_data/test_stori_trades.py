"""trades.json into MongoDB: typed documents, the validator, bad records kept, nothing changed twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import WriteError

from millrace.base.errors import ConfigurationError, Unreachable
from millrace.drivers.mongo_client import open_client
from millrace.seed_data.stori.generate import generate_trades
from millrace.seed_data.stori.outcome import Outcome
from millrace.seed_data.stori.trade_file import as_trade
from millrace.seed_data.stori.trade_validator import install_collection
from millrace.seed_data.stori.trades import import_trades
from tests.seed_data.directory_store import DirectoryStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    generate_trades(tmp_path / "trades.json", documents=1_200, seed=3)
    return tmp_path / "trades.json"


def records(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_bytes())["data"]


def write(path: Path, trades: list[Any]) -> Path:
    path.write_text(json.dumps({"data": trades}), encoding="utf-8")
    return path


def damage(path: Path, cut: Callable[[bytes], bytes]) -> None:
    path.write_bytes(cut(path.read_bytes()))


async def stored(mongo: Any) -> dict[str, dict[str, Any]]:
    return {document["id"]: document async for document in mongo.trades.find({})}


async def test_documents_equal_the_file_with_dates_and_doubles(mongo: Any, path: Path, store: DirectoryStore) -> None:
    assert await import_trades(mongo, path, store) == Outcome("trades.json", imported=1_200)
    documents = await stored(mongo)
    for record in records(path):
        document = documents[record["id"]]
        assert document.pop("updatedAt") and document.pop("_id")
        moment = document["time"].pop("date").replace(tzinfo=UTC)
        assert moment == datetime.fromisoformat(record["time"].pop("date"))
        assert document == record


async def test_importing_a_file_twice_changes_nothing(mongo: Any, path: Path, store: DirectoryStore) -> None:
    await import_trades(mongo, path, store)
    before = await stored(mongo)
    assert await import_trades(mongo, path, store) == Outcome("trades.json", unchanged=1_200)
    assert await stored(mongo) == before


async def test_only_what_differs_is_written(mongo: Any, path: Path, store: DirectoryStore) -> None:
    await import_trades(mongo, path, store)
    before = await stored(mongo)
    trades = records(path)
    trades[5]["price"] += 1
    with_ticket = next(trade for trade in trades if "ticket" in trade)
    del with_ticket["ticket"]
    trades[-1]["time"]["date"] = "2021-05-05T07:00:00.001+02:00"
    trades.append({**trades[9], "id": "f" * 24})
    outcome = await import_trades(mongo, write(path, trades), store)
    assert outcome == Outcome("trades.json", imported=1, updated=3, unchanged=1_197)
    after = await stored(mongo)
    changed = {trades[5]["id"], with_ticket["id"], trades[-2]["id"]}
    assert {key for key in before if after[key] != before[key]} == changed
    assert {key for key in before if after[key]["updatedAt"] > before[key]["updatedAt"]} == changed
    assert "ticket" not in after[with_ticket["id"]]
    assert after[trades[-2]["id"]]["time"]["date"] == datetime(2021, 5, 5, 5, 0, 0, 1_000)  # noqa: DTZ001 (as stored)


async def test_imports_at_once_write_each_document_once(mongo: Any, path: Path, store: DirectoryStore) -> None:
    outcomes = await asyncio.gather(*(import_trades(mongo, path, store) for _ in range(3)))
    assert sum(outcome.imported for outcome in outcomes) == 1_200
    assert {outcome.read for outcome in outcomes} == {1_200}
    assert sum(outcome.updated for outcome in outcomes) == 0
    assert await mongo.trades.count_documents({}) == 1_200


async def test_after_a_crash_half_way_the_next_import_adds_the_rest(
    mongo: Any, path: Path, store: DirectoryStore, tmp_path: Path
) -> None:
    await import_trades(mongo, write(tmp_path / "half.json", records(path)[:700]), store)
    assert await import_trades(mongo, path, store) == Outcome("trades.json", imported=500, unchanged=700)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def bad(**changes: Any) -> dict[str, Any]:
    details = {"asks": [1, 2.5, 3.0], "bids": [1.0, 2.0, 3.0, 4.0], "lag": 1, "system": "AJ"}
    time = {"date": "2020-01-01T00:00:00.000Z"}
    return {"id": "0" * 24, "price": 1, "shares": 2, "ticker": "X", "details": details, "time": time} | changes


@pytest.mark.parametrize(
    ("record", "reasons"),
    [
        (7, ["record|type"]),
        (bad(id=None), ["id|missing"]),
        (bad(_id=1), ["record|reserved_field"]),
        (bad(updatedAt="2020-01-01"), ["record|reserved_field"]),
        (bad(time={"date": "2020-13-01T00:00:00.000Z"}), ["time.date|parse"]),
        (bad(time={"date": "2020-01-01T00:00:00.000"}), ["time.date|parse"]),
        (bad(time={"date": "2020-01-01T00:00:00.000001Z"}), ["time.date|parse"]),
        (bad(shares=2**63), ["record|not_representable"]),
        (bad(id="not hexadecimal"), ["id|pattern"]),
        (bad(price="1"), ["price|bsonType"]),
        (bad(price=1.5, shares=None), ["price|bsonType", "shares|bsonType"]),
        (
            bad(details={"asks": [], "bids": [1.0, 2.0, 3.0, 4.0], "lag": 1}),
            ["details.asks|minItems", "details.system|required"],
        ),
        (bad(time={}), ["time.date|required"]),
        (bad(ticket=104), ["ticket|bsonType"]),
        (bad(ticket=nested(120)), ["record|nested_too_deep"]),
        (bad(ticket="x" * 16 * 1024**2), ["record|too_large"]),
    ],
)
async def test_a_bad_record_is_kept_with_its_reasons_and_the_others_go_in(
    record: Any, reasons: list[str], mongo: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    good = [bad(id="1" * 24), bad(id="2" * 24, ticker=None, ticket="z104")]
    outcome = await import_trades(mongo, write(tmp_path / "trades.json", [good[0], record, good[1]]), store)
    assert (outcome.imported, outcome.rejected, outcome.read) == (2, 1, 3)
    [reject] = map(json.loads, store.get_bytes(outcome.rejects_key).splitlines())
    assert reject == {"file": "trades.json", "position": 2, "reasons": reasons, "record": record}
    assert len(await stored(mongo)) == 2


async def test_a_record_deeper_than_any_json_is_written_is_kept_by_its_place(
    mongo: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    deep = '{"id": "a", "n": ' + "[" * 5_000 + "]" * 5_000 + "}"
    (tmp_path / "trades.json").write_text(f'{{"data": [{json.dumps(bad())}, {deep}]}}')
    outcome = await import_trades(mongo, tmp_path / "trades.json", store)
    assert (outcome.imported, outcome.rejected) == (1, 1)
    assert b'"position": 2, "reasons": ["record|nested_too_deep"]' in store.get_bytes(outcome.rejects_key)


async def test_a_byte_order_mark_is_no_part_of_the_file(mongo: Any, path: Path, store: DirectoryStore) -> None:
    damage(path, lambda text: b"\xef\xbb\xbf" + text)
    assert (await import_trades(mongo, path, store)).rejected == 0


async def test_a_bad_new_version_of_a_document_is_rejected_and_the_old_one_stays(
    mongo: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    await import_trades(mongo, write(tmp_path / "trades.json", [bad(), bad(id="1" * 24)]), store)
    outcome = await import_trades(
        mongo, write(tmp_path / "trades.json", [bad(price="x"), bad(id="1" * 24, price=5)]), store
    )
    assert (outcome.updated, outcome.rejected) == (1, 1)
    assert {key: document["price"] for key, document in (await stored(mongo)).items()} == {"0" * 24: 1, "1" * 24: 5}


async def test_numbers_that_no_double_holds_are_rejected_as_they_were(
    mongo: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "trades.json", [bad(price="HUGE")])
    path.write_text(path.read_text(encoding="utf-8").replace('"HUGE"', "1e400"), encoding="utf-8")
    outcome = await import_trades(mongo, path, store)
    assert json.loads(store.get_bytes(outcome.rejects_key))["reasons"] == ["record|number_out_of_range"]
    assert json.loads(store.get_bytes(outcome.rejects_key))["record"]["price"] == "1E+400"


async def test_the_later_of_two_records_with_one_id_counts(mongo: Any, store: DirectoryStore, tmp_path: Path) -> None:
    path = write(tmp_path / "trades.json", [bad(price=1), bad(price=2)])
    assert (await import_trades(mongo, path, store)).read == 2
    before = await stored(mongo)
    assert before["0" * 24]["price"] == 2
    assert (await import_trades(mongo, path, store)).unchanged == 2
    assert await stored(mongo) == before


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        (lambda text: text[: len(text) // 2], "is cut in the middle"),
        (lambda text: text[:-4], "is cut in the middle"),
        (lambda _: b"", "is cut in the middle"),
        (lambda _: b"\x89PNG\0secret", "is not JSON"),
        (lambda text: text + b'{"data": []}', "is not JSON"),
        (lambda _: b'[{"secret": 1}]', "has no list named data"),
        (lambda _: b'{"data": {"id": "secret"}}', "has no list named data"),
    ],
)
async def test_what_is_no_whole_document_imports_nothing(
    cut: Callable[[bytes], bytes], problem: str, mongo: Any, path: Path, store: DirectoryStore
) -> None:
    damage(path, cut)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        await import_trades(mongo, path, store)
    assert "trades.json" in caught.value.place
    assert "nothing of this file was imported" in caught.value.remedy
    assert "secret" not in str(caught.value)
    assert await stored(mongo) == {}


async def test_installing_again_brings_validator_and_indexes_to_an_existing_collection(
    mongo_url: str, mongo_database: str
) -> None:
    database = open_client(mongo_url)[mongo_database]
    await database.trades.insert_one(as_trade(1, bad()).document)
    for _ in range(2):
        await install_collection(database)
    with pytest.raises(WriteError) as caught:
        await database.trades.insert_one({"id": "1" * 24})
    assert caught.value.code == 121
    indexes = await database.trades.index_information()
    assert indexes["id_1"]["unique"]
    assert "updatedAt_1" in indexes
    assert await database.trades.count_documents({}) == 1


async def test_a_server_that_is_not_there_is_named(path: Path, store: DirectoryStore) -> None:
    client = open_client("mongodb://127.0.0.1:1", server_selection_timeout_seconds=0.2)
    with pytest.raises(Unreachable, match=r"finance\.trades"):
        await import_trades(client.finance, path, store)
