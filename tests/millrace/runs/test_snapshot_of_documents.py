"""Snapshot capture of a MongoDB collection: no date, no sweep, and no snapshot that the server would show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from bson import Int64, ObjectId
from pymongo import MongoClient

from millrace import Replace, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError, FatalError
from millrace.sources import mongo
from tests.support.altered_source import alter_answers
from tests.support.engine import Engine, counts

NAME = "users"
COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = '{}'"


@pytest.fixture
def users(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    """A stream without any date, and its collection of five documents."""
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        collection = client[mongo_database][NAME]
        collection.insert_many([{"_id": number, "name": f"user {number}"} for number in range(1, 6)])
        yield Stream(NAME, f"mongo:{mongo_database}.{NAME}", "_id", Snapshot()), collection


async def test_every_run_finds_what_came_changed_and_was_deleted(engine: Engine, users: tuple[Stream, Any]) -> None:
    stream, collection = users
    assert counts(await engine.run(stream)) == {"read": 5, "inserted": 5}
    collection.insert_one({"_id": 6, "name": "new"})
    collection.update_one({"_id": 1}, {"$set": {"name": "changed"}})
    collection.delete_many({"_id": {"$in": [2, 3]}})
    assert counts(await engine.run(stream)) == {"read": 6, "inserted": 1, "updated": 1, "deleted": 2, "unchanged": 2}
    assert engine.rows(NAME, "_id", "name") == [(1, "changed"), (4, "user 4"), (5, "user 5"), (6, "new")]
    assert counts(await engine.run(stream)) == {"read": 4, "unchanged": 4}
    collection.delete_many({})
    allowed = replace(stream, max_delete_share=1.0)
    assert counts(await engine.run(allowed)) == {"read": 4, "deleted": 4}


@pytest.mark.parametrize(
    "keys",
    [
        [ObjectId(), ObjectId(), ObjectId()],
        ["a", "ä", ""],
        [1, Int64(2**40), 3],
    ],
    ids=["ids", "texts", "numbers"],
)
async def test_keys_of_any_type_are_looked_up(engine: Engine, users: tuple[Stream, Any], keys: list[Any]) -> None:
    stream, collection = users
    collection.delete_many({})
    collection.insert_many([{"_id": key, "v": 1} for key in keys])
    await engine.run(stream)
    collection.delete_one({"_id": keys[1]})
    result = await engine.run(stream)
    assert result is not None
    assert (result.deleted, result.inserted, result.updated) == (1, 0, 0)


class Missing:
    """Takes documents out of the answer to a read of everything, as if they had moved meanwhile."""

    def __init__(self, *keys: int) -> None:
        self._keys = keys

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(~pl.col("_id").is_in(self._keys))


async def test_a_document_that_moved_while_it_was_read_is_not_deleted(
    engine: Engine, users: tuple[Stream, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, collection = users
    await engine.run(stream)
    collection.update_one({"_id": 4}, {"$set": {"name": "moved"}})
    collection.delete_one({"_id": 5})
    alter_answers(engine, monkeypatch, scan=Missing(3, 4))
    assert counts(await engine.run(stream)) == {"read": 5, "updated": 1, "deleted": 1, "unchanged": 3}
    assert engine.rows(NAME, "_id", "name")[2:] == [(3, "user 3"), (4, "moved")]


async def test_a_source_that_does_not_find_its_rows_by_key_confirms_no_delete(
    engine: Engine, users: tuple[Stream, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, collection = users
    await engine.run(stream)
    collection.delete_one({"_id": 5})
    alter_answers(engine, monkeypatch, keys=lambda found: set())
    with pytest.raises(FatalError, match=r"4 rows that the source holds are not found by their key \(_id int64\)"):
        await engine.run(stream)
    assert len(engine.rows(NAME)) == 5


async def test_a_row_that_is_deleted_between_read_and_look_up_is_no_broken_look_up(
    engine: Engine, users: tuple[Stream, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, collection = users
    await engine.run(stream)
    collection.delete_one({"_id": 5})
    alter_answers(engine, monkeypatch, before=lambda: collection.delete_one({"_id": 1}))
    assert counts(await engine.run(stream)) == {"read": 5, "deleted": 1, "unchanged": 4}
    assert counts(await engine.run(stream)) == {"read": 4, "deleted": 1, "unchanged": 3}


async def test_versions_are_kept_of_documents_too(engine: Engine, users: tuple[Stream, Any]) -> None:
    stream, collection = users
    stream = replace(stream, load=Scd2("version"))
    await engine.run(stream)
    collection.delete_one({"_id": 2})
    collection.update_one({"_id": 1}, {"$set": {"name": "changed"}})
    await engine.run(stream)
    versions = engine.rows(NAME, "_id", "name", "is_current", order="1, 3")
    assert versions[:3] == [(1, "user 1", False), (1, "changed", True), (2, "user 2", False)]


def test_equal_documents_cannot_be_counted(users: tuple[Stream, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"MongoDB may give a row twice. Remedy: declare load=Merge\(\)"):
        replace(users[0], load=Replace())


async def test_a_field_without_a_name_is_a_field(engine: Engine, users: tuple[Stream, Any]) -> None:
    """It is not taken for the cursor column, which a snapshot does not have; without it there is no column for it."""
    stream, collection = users
    await engine.run(stream)
    assert not [name for (name,) in engine.query(COLUMNS.format(NAME)) if name.startswith("field_")]
    collection.insert_one({"_id": 6, "": "nameless"})
    assert counts(await engine.run(stream)) == {"read": 6, "inserted": 1, "unchanged": 5}


class Ordered(dy.Schema):
    order_no = dy.Int32(nullable=False)


@pytest.mark.parametrize("contract", [None, Ordered], ids=["no contract", "the key in the contract"])
async def test_documents_without_the_key_in_a_chunk_of_their_own_are_rejected_alone(
    engine: Engine, mongo_database: str, contract: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if they come first, when nobody knows the type of the key."""
    monkeypatch.setattr(mongo, "BATCH_DOCUMENTS", 20)
    with MongoClient[dict[str, object]](engine.mongo_url) as client:
        collection = client[mongo_database]["orders"]
        collection.insert_many([{"_id": number, "note": "no number"} for number in range(40)])
        collection.insert_many([{"_id": number, "orderNo": number} for number in range(40, 500)])
    stream = Stream("orders", f"mongo:{mongo_database}.orders", "orderNo", Snapshot(), contract=contract)
    for changes in ({"inserted": 460}, {"unchanged": 460}):
        assert counts(await engine.run(stream)) == {"read": 500, "rejected": 40, **changes}
        assert {reject["coordinates"] for reject in engine.rejects()} == {f'{{"_id":{n}}}' for n in range(40)}
