"""Sources that are not as declared: an error that names stream, place and remedy, and nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from pymongo import MongoClient

from millrace import Incremental, Snapshot, Stream
from millrace.base.errors import ConfigurationError, KeyViolation, MillraceError, SourceMissing, UnmappableType
from millrace.sources import mongo
from tests.support.engine import Engine

NOTES = "CREATE TABLE notes (id int, body text, changed timestamptz DEFAULT clock_timestamp())"


@pytest.fixture(autouse=True)
def _unchanged(engine: Engine) -> Iterator[None]:
    """After every test of this file the warehouse holds no target."""
    yield
    assert engine.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'engine'") == []


async def failure(engine: Engine, stream: Stream) -> MillraceError:
    with pytest.raises(MillraceError) as raised:
        await engine.run(stream)
    assert raised.value.place
    assert raised.value.remedy
    return raised.value


def notes(key: str = "id", cursor: str = "changed", source: str = "postgres:public") -> Stream:
    return Stream("notes", f"{source}.notes", key, Incremental(cursor))


async def test_a_missing_table(engine: Engine) -> None:
    reason = await failure(engine, notes())
    assert isinstance(reason, SourceMissing)
    assert "stream notes (postgres:public.notes)" in str(reason)


async def test_a_missing_collection(engine: Engine) -> None:
    reason = await failure(engine, notes(source="mongo:nowhere"))
    assert isinstance(reason, SourceMissing)
    assert "mongo:nowhere.notes" in str(reason)


async def test_a_missing_key_column(engine: Engine) -> None:
    engine.source(NOTES)
    reason = await failure(engine, notes("number"))
    assert isinstance(reason, SourceMissing)
    assert "'number'" in str(reason)
    assert "id, body, changed" in reason.remedy


async def test_a_cursor_that_is_no_timestamp(engine: Engine) -> None:
    engine.source(NOTES)
    assert isinstance(await failure(engine, notes(cursor="body")), ConfigurationError)


async def test_a_key_that_is_repeated(engine: Engine) -> None:
    engine.source(f"{NOTES}; INSERT INTO notes (id, body) VALUES (7, 'good'), (1, 'a'), (1, 'b')")
    reason = await failure(engine, notes())
    assert isinstance(reason, KeyViolation)
    assert "stream engine.notes (postgres:public.notes)" in str(reason)


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([{"id": 1, "a": 1}, {"id": 1, "a": 2}], "1 keys are repeated in the source (id)"),
        ([{"a": 1}, {"b": math.nan}], "none of 2 rows has the key (id)"),
    ],
    ids=["repeated", "of no document"],
)
async def test_a_key_of_documents_that_is_none(
    engine: Engine, mongo_database: str, documents: list[dict[str, object]], told: str
) -> None:
    with MongoClient[dict[str, object]](engine.mongo_url) as client:
        client[mongo_database]["notes"].insert_many(documents)
    reason = await failure(engine, notes(source=f"mongo:{mongo_database}"))
    assert isinstance(reason, KeyViolation)
    assert told in str(reason)


async def test_a_key_that_is_misspelt_stops_a_read_before_its_end(
    engine: Engine, mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "BATCH_DOCUMENTS", 15)
    with MongoClient[dict[str, object]](engine.mongo_url) as client:
        client[mongo_database]["orders"].insert_many([{"n": n, "body": "x" * 200} for n in range(500)])
    stream = Stream("orders", f"mongo:{mongo_database}.orders", "orderNo", Snapshot(), max_rejects=20)
    with pytest.raises(KeyViolation, match=r"none of \d\d rows has the key \(order_no\)"):
        await engine.run(stream)


async def test_a_type_nobody_can_map(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int PRIMARY KEY, price money, changed timestamptz)")
    reason = await failure(engine, notes())
    assert isinstance(reason, UnmappableType)
    assert "column price" in str(reason)
