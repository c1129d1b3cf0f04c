"""Documents whose stamp is no moment: every window counts them, and no run passes them over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from pymongo import MongoClient

from millrace import Incremental, Stream
from millrace.drivers.mongo_client import open_client
from millrace.sources.chunk import Window
from millrace.sources.mongo import MongoSource
from millrace.sources.mongo_queries import NO_DATES, window_query
from tests.support.engine import Engine

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
NO_STAMPS = [
    "2026-01-05T10:00:00Z", "", 1_796_016_752.9, 5, Int64(5), Decimal128("5"), Timestamp(1_796_016_752, 1), True,
    {"at": LONG_AGO}, {}, ObjectId(), b"\x00", Regex("a", "i"), Code("f()"), Code("f()", {}), MinKey(), MaxKey(),
    [], [LONG_AGO], [LONG_AGO, "x"], [[LONG_AGO]], [datetime(9999, 1, 1, tzinfo=UTC)],
]  # fmt: skip
"""The last ones are arrays: an operator of MongoDB looks at what they hold."""
TYPES_OF_BSON = 21
OPENED = [{"at": LONG_AGO}, {}]
"""They open up: the stamp itself is missing, which is a row like any other."""


@pytest.fixture
def papers(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    """A stream, and its collection."""
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed"), max_reject_share=1.0)
        yield stream, client[mongo_database]["papers"]


@pytest.mark.parametrize("has_index", [False, True], ids=["no index", "index"])
async def test_a_stamp_that_is_no_date_is_counted_by_every_window(engine: Engine, papers: Any, has_index: bool) -> None:
    stream, collection = papers
    collection.insert_many([{"_id": number, "changed": YESTERDAY} for number in range(-30, 0)])
    if has_index:
        collection.create_index("changed")
    await engine.deliver(stream)
    collection.insert_many([{"_id": number, "changed": stamp} for number, stamp in enumerate(NO_STAMPS)])
    for _ in range(2):
        result = await engine.deliver(stream)
        assert result is not None
        assert (result.read, result.rejected) == (len(NO_STAMPS), len(NO_STAMPS) - len(OPENED))
    assert {(one["reason"], one["field"]) for one in engine.rejects()} == {("type_mismatch", "changed")}


async def test_a_missing_stamp_is_in_every_window_and_a_backfill_asks_for_its_own_dates_alone(
    engine: Engine, papers: Any
) -> None:
    stream, collection = papers
    collection.insert_many([{"_id": 1, "changed": LONG_AGO}, {"_id": 2, "changed": None}, {"_id": 3}])
    collection.insert_one({"_id": 4, "changed": "2001"})
    await engine.deliver(stream)
    again = await engine.deliver(stream)
    backfill = await engine.deliver(stream, full=True, upper=YESTERDAY.isoformat())
    assert again is not None
    assert backfill is not None
    assert (again.read, again.unchanged, again.rejected) == (3, 2, 1)
    assert (backfill.read, backfill.unchanged) == (1, 1)


async def test_a_stamp_inside_of_an_array_of_documents_is_in_every_window(engine: Engine, papers: Any) -> None:
    stream, collection = papers
    nested = Stream("papers", stream.source, "_id", Incremental("log.at"), max_reject_share=1.0)
    collection.insert_one({"_id": 1, "log": {"at": YESTERDAY}})
    await engine.deliver(nested)
    collection.insert_many([{"_id": 2, "log": [{"at": LONG_AGO}]}, {"_id": 3, "log": 5}, {"_id": 4, "log": {"at": 5}}])
    result = await engine.deliver(nested)
    assert result is not None
    assert (result.read, result.inserted, result.rejected) == (3, 2, 1)


async def test_an_index_that_holds_no_array_spares_the_scan(engine: Engine, papers: Any) -> None:
    """What is asked for without it is served by the index: no `$not`, and no look into whole documents."""
    stream, collection = papers
    collection.insert_one({"_id": 1, "changed": LONG_AGO})
    client = open_client(engine.mongo_url)
    source = MongoSource(client)
    asked = [await asked_for(source, stream)]
    collection.create_index("changed")
    asked.append(await asked_for(source, stream))
    collection.insert_one({"_id": 2, "changed": [LONG_AGO]})
    asked.append(await asked_for(source, stream))
    client.close()
    assert ['"$type": "array"' in one for one in asked] == [True, False, True]


async def asked_for(source: MongoSource, stream: Stream) -> str:
    query, _ = await source.plan(stream, (), Window("2024-01-01T00:00:00+00:00"))
    return query


def test_every_type_but_dates_null_and_arrays_is_named() -> None:
    stream = Stream("t", "mongo:a.t", "_id", Incremental("a.b"))
    query = window_query(stream, Window("2024-01-01T00:00:00+00:00"))
    assert {"a.b": {"$type": list(NO_DATES)}} in query["$or"]
    assert query["$or"][-2:] == [{"a": {"$type": "array"}}, {"a.b": {"$type": "array"}}]
    assert set(NO_DATES).isdisjoint({"date", "null", "array"})
    assert len(set(NO_DATES)) == TYPES_OF_BSON - len({"date", "null", "array"})
