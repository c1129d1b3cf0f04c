"""``Incremental("_id")``: the time in an ObjectId finds what was inserted, and nothing is passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection

from millrace import Incremental, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.drivers.mongo_client import open_client
from millrace.sources.chunk import Window
from millrace.sources.mongo import MongoSource
from tests.support.engine import Engine, counts

Papers = Collection[dict[str, Any]]
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def made(ago: timedelta) -> ObjectId:
    """A new id of a client whose clock is behind by so much."""
    fresh = ObjectId()
    return ObjectId(ObjectId.from_datetime(fresh.generation_time - ago).binary[:4] + fresh.binary[4:])


@pytest.fixture
def papers(engine: Engine, mongo_database: str) -> Iterator[Papers]:
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        yield client[mongo_database]["papers"]


@pytest.fixture
def stream(mongo_database: str) -> Stream:
    return Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("_id"))


@pytest.mark.both_warehouses
async def test_an_object_id_brings_what_was_inserted(either: Engine, papers: Papers, stream: Stream) -> None:
    papers.insert_many([{"_id": made(number * HOUR), "number": number} for number in range(1, 51)])
    assert counts(await either.run(stream)) == {"read": 50, "inserted": 50}
    batch = either.batches[-1]
    assert batch.progress.position == (batch.read_at - timedelta(minutes=5)).isoformat()
    papers.insert_many([{"_id": made(ago), "number": 0} for ago in (timedelta(0), timedelta(minutes=4))])
    papers.insert_one({"_id": made(timedelta(minutes=7)), "number": -1})
    papers.update_one({"number": 7}, {"$set": {"number": 700}})
    papers.delete_one({"number": 8})
    assert counts(await either.run(stream)) == {"read": 2, "inserted": 2}
    expected = {"read": 53, "inserted": 1, "updated": 1, "deleted": 1, "unchanged": 50}
    assert counts(await either.sweep(stream)) == expected


@pytest.mark.parametrize(("declared", "effective"), [(None, 300), (0, 60), (30, 60), (600, 600)])
async def test_the_overlap_is_five_minutes_or_what_is_declared(
    engine: Engine, papers: Papers, stream: Stream, declared: int | None, effective: int
) -> None:
    papers.insert_one({"_id": ObjectId()})
    overlap = None if declared is None else timedelta(seconds=declared)
    batch = await engine.extract(replace(stream, capture=Incremental("_id", overlap)))
    assert batch is not None
    assert batch.progress.position == (batch.read_at - timedelta(seconds=effective)).isoformat()


async def test_other_ids_are_read_every_time_and_told(engine: Engine, papers: Papers, stream: Stream) -> None:
    papers.insert_many([{"_id": made(HOUR)} for _ in range(30)])
    papers.insert_many([{"_id": "a text"}, {"_id": "another"}])
    await engine.run(stream)
    papers.insert_one({"_id": "later"})
    result = await engine.run(stream)
    assert counts(result) == {"read": 3, "inserted": 1, "unchanged": 2}
    assert result is not None
    assert "3 documents have an _id that is no ObjectId: every run reads them" in result.warnings
    assert counts(await engine.sweep(stream)) == {"read": 33, "unchanged": 33}


async def test_an_id_that_the_column_cannot_hold_is_rejected_every_time(
    engine: Engine, papers: Papers, stream: Stream
) -> None:
    papers.insert_many([{"_id": made(HOUR)} for _ in range(30)])
    papers.insert_many([{"_id": 5}, {"_id": None, "body": "no key"}])
    assert counts(await engine.run(stream)) == {"read": 32, "inserted": 30, "rejected": 2}
    assert sorted(reject["reason"] for reject in engine.rejects()) == ["no_key", "type_mismatch"]
    assert counts(await engine.run(stream)) == {"read": 2, "rejected": 2}


async def test_a_document_whose_id_is_null_is_rejected_and_replayed(
    engine: Engine, papers: Papers, stream: Stream
) -> None:
    """It is the only one in its collection. It has no row in the target, so that deletes beside it are found."""
    snapshot = replace(stream, capture=Snapshot())
    papers.insert_many([{"_id": number} for number in range(30)])
    papers.insert_one({"_id": None, "body": "no key"})
    assert counts(await engine.run(snapshot)) == {"read": 31, "inserted": 30, "rejected": 1}
    assert counts(await engine.replay(snapshot)) == {"read": 1, "rejected": 1}
    papers.delete_one({"_id": 4})
    assert counts(await engine.run(snapshot)) == {"read": 31, "deleted": 1, "unchanged": 29, "rejected": 1}
    papers.delete_one({"_id": None})
    assert await engine.replay(snapshot) is not None
    assert counts(await engine.sweep(snapshot)) == {"read": 29, "unchanged": 29}


async def test_dates_as_ids_are_in_their_windows(engine: Engine, papers: Papers, stream: Stream) -> None:
    papers.insert_many([{"_id": datetime.now(UTC) - number * HOUR} for number in range(1, 11)])
    await engine.run(stream)
    papers.insert_one({"_id": datetime.now(UTC)})
    assert counts(await engine.run(stream)) == {"read": 1, "inserted": 1}


async def test_a_window_of_time_has_the_seconds_that_it_touches(engine: Engine, papers: Papers, stream: Stream) -> None:
    second = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    papers.insert_many([{"_id": ObjectId.from_datetime(second + timedelta(seconds=number))} for number in range(4)])

    async def seconds(*bounds: str | None) -> list[int]:
        client = open_client(engine.mongo_url)
        window = Window(*bounds, is_chosen=True)
        async with MongoSource(client).read(stream, (), window) as reading:
            ids = [value async for chunk in reading.read_chunks() for value in chunk.frame["_id"]]
        client.close()
        return sorted(ObjectId(value).generation_time.second for value in ids)

    assert await seconds("2026-03-01T12:00:01+00:00", "2026-03-01T12:00:03+00:00") == [1, 2]
    assert await seconds("2026-03-01T12:00:01.900000+00:00", "2026-03-01T12:00:02.100000+00:00") == [1, 2]
    assert await seconds("1900-01-01T00:00:00+00:00", None) == [0, 1, 2, 3]
    assert await seconds(None, "9000-01-01T00:00:00+00:00") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("changed", "2026-01-01", 'Incremental("_id")'),
        ("changed", ObjectId(), 'Incremental("_id")'),
        ("_id", "a text", "Snapshot()"),
        ("_id", 5, "Snapshot()"),
    ],
    ids=["text", "object id elsewhere", "id of text", "id of number"],
)
async def test_a_cursor_that_tells_no_time_is_refused_in_one_line(
    engine: Engine, papers: Papers, stream: Stream, field: str, value: Any, remedy: str
) -> None:
    papers.insert_one({field: value})
    with pytest.raises(ConfigurationError) as caught:
        await engine.run(replace(stream, capture=Incremental(field)))
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)
