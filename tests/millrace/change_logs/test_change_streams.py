"""Capture by the change stream of MongoDB: what changed arrives with the next run, and nothing else is read."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Timestamp
from pymongo import MongoClient

from local.mongo import start_mongo
from millrace import ChangeLog, Pipeline, Scd2, Stream
from millrace.base.errors import ConfigurationError, SourceMissing, Superseded
from millrace.blocks.store import BucketStore
from millrace.change_logs.changed_documents import ChangedDocuments
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.mongo_log import MongoLog
from millrace.change_logs.reading import LogEntry
from millrace.drivers.mongo_client import open_client
from millrace.runs.choose import ReadRequest
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import PIPELINE, Engine, Together, counts

POSITIONS = "SELECT stream, position FROM millrace.logs ORDER BY 1"


@dataclass(frozen=True)
class Trades:
    """A collection of five documents, and the stream that follows it."""

    engine: Engine
    client: MongoClient[dict[str, Any]]
    database: Any
    stream: Stream

    @property
    def documents(self) -> Any:
        """The collection."""
        return self.database.trades

    async def follow(self, **read_request: Any) -> LoadResult:
        """Bring the stream to the present; something must have changed."""
        return (await self.engine.follow(self.stream, read_request=ReadRequest(**read_request)))["trades"]

    def assert_equal(self) -> None:
        """The target holds what the collection holds."""
        expected = sorted((document["_id"], document.get("note")) for document in self.documents.find())
        assert self.engine.rows("trades", "_id", "note") == expected

    def set_position(self, position: str) -> None:
        """As if the last run had recorded another position."""
        self.engine.query(f"UPDATE millrace.logs SET position = '{position}'")


@pytest.fixture
def trades(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> Iterator[Trades]:
    """The collection, not loaded. The warehouse is Postgres, unless the test asks for both."""
    engine = request.getfixturevalue("either" if "either" in request.fixturenames else "postgres_engine")
    stream = Stream("trades", f"mongo:{mongo_database}.trades", "_id", ChangeLog(), max_delete_share=1.0)
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        client[mongo_database].trades.insert_many([{"_id": number, "note": "first"} for number in range(1, 6)])
        yield Trades(engine, client, client[mongo_database], stream)


async def test_every_change_of_a_document_arrives_with_the_next_run(either: Engine, trades: Trades) -> None:
    assert counts(await trades.follow()) == {"read": 5, "inserted": 5}
    assert await trades.engine.follow(trades.stream) == {}
    trades.documents.insert_one({"_id": 6, "note": "new"})
    trades.documents.update_one({"_id": 1}, {"$set": {"note": "changed"}})
    trades.documents.replace_one({"_id": 2}, {"note": "replaced", "price": 3})
    trades.documents.delete_one({"_id": 3})
    trades.documents.insert_one({"_id": 7})
    trades.documents.delete_one({"_id": 7})
    result = await trades.follow()
    assert (result.kind, counts(result)) == (
        "log",
        {"read": 5, "inserted": 1, "updated": 2, "deleted": 1, "unchanged": 1},
    )
    trades.assert_equal()
    assert await trades.engine.follow(trades.stream) == {}
    assert result.freshness is not None
    assert result.freshness.stamped == 5
    assert 0 <= (result.freshness.max_seconds or -1) < 60


async def test_more_events_than_a_first_batch_and_more_documents_than_are_kept(
    trades: Trades, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trades.follow()
    trades.documents.insert_many([{"_id": number} for number in range(100, 600)])
    for number in range(100, 600, 2):
        trades.documents.delete_one({"_id": number})
    assert counts(await trades.follow()) == {"read": 500, "inserted": 250, "unchanged": 250}
    monkeypatch.setattr("millrace.change_logs.changed_documents.MOST_KEYS", 10)
    trades.documents.delete_many({"_id": {"$gte": 100}})
    result = await trades.follow()
    assert (result.kind, result.deleted) == ("sweep", 250)
    assert "more than 10 documents changed" in "; ".join(result.warnings)
    trades.assert_equal()


async def test_nothing_is_written_while_nothing_changes_until_the_position_is_old(
    trades: Trades, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trades.follow()
    before = trades.engine.query(POSITIONS)
    trades.database.others.insert_many([{} for _ in range(200)])
    assert await trades.engine.follow(trades.stream) == {}
    assert trades.engine.query(POSITIONS) == before
    monkeypatch.setattr("millrace.change_logs.mongo_log.MOVED_SECONDS", 0)
    assert counts(await trades.follow()) == {}
    assert trades.engine.query(POSITIONS) != before
    trades.documents.delete_one({"_id": 1})
    assert counts(await trades.follow()) == {"read": 1, "deleted": 1}


async def test_a_stream_that_is_read_while_others_write_ends(trades: Trades, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents that are written while the log is read wait for the next run, transactions as a whole."""
    await trades.follow()
    numbers = iter(range(1000, 2000, 2))

    class WrittenMeanwhile(ChangedDocuments):
        def __init__(self, collections: set[str]) -> None:
            super().__init__(collections)
            self._write()

        def add(self, event: Any) -> None:
            super().add(event)
            self._write()

        def _write(self) -> None:
            first = next(numbers)
            with trades.client.start_session() as session, session.start_transaction():
                trades.documents.insert_many([{"_id": first}, {"_id": first + 1}], session=session)

    monkeypatch.setattr("millrace.change_logs.mongo_stream.ChangedDocuments", WrittenMeanwhile)
    assert (await trades.follow()).inserted == 2
    trades.documents.insert_one({"_id": 6})
    assert (await trades.follow()).inserted < 20
    assert len(trades.engine.query("SELECT _id FROM engine.trades WHERE _id >= 1000")) % 2 == 0
    monkeypatch.undo()
    await trades.follow()
    trades.assert_equal()


@pytest.mark.parametrize(
    "case", ["not understood", "gone", "of another form", "of a later time", "of another cluster", "long"]
)
async def test_a_position_that_the_server_does_not_go_on_from(trades: Trades, case: str) -> None:
    await trades.follow()
    position = json.loads(trades.engine.query(POSITIONS)[0][1])
    token = position["token"]["_data"]
    match case:
        case "not understood":
            position["token"]["_data"] = "82FFFF"
        case "gone":
            # The stand-in forgets what it wrote before this entry.
            position["token"]["_data"] = "ff" * 10
        case "long":
            position["token"]["_data"] = "ab" * 1000
        case "of a later time":
            position["time"][0] += 1000
        case "of another cluster":
            trades.engine.query("UPDATE millrace.logs SET origin = 'rs0/other/database'")
        case "of another form":
            position = {"0/16B3748": token}
    trades.set_position(json.dumps(position))
    trades.documents.delete_one({"_id": 1})
    trades.documents.update_one({"_id": 2}, {"$set": {"note": "changed"}})
    result = await trades.follow()
    assert (result.kind, result.updated, result.deleted) == ("sweep", 1, 1)
    assert "the log does not go on" in "; ".join(result.warnings)
    trades.assert_equal()
    assert await trades.engine.follow(trades.stream) == {}


async def test_another_cluster_with_a_collection_of_the_same_name_is_a_gap(trades: Trades, tmp_path: Path) -> None:
    await trades.follow()
    other = start_mongo(tmp_path)
    try:
        with MongoClient[dict[str, Any]](other.url) as client:
            client[trades.database.name].trades.insert_one({"_id": 9, "note": "of another"})
            engine = replace(trades.engine, mongo_url=other.url)
            result = (await engine.follow(trades.stream))["trades"]
    finally:
        other.stop()
    assert (result.kind, result.inserted, result.deleted) == ("sweep", 1, 5)


@pytest.mark.parametrize("case", ["dropped", "renamed", "renamed twice", "replaced", "database"])
async def test_a_collection_that_is_not_the_same_any_more_is_compared_as_a_whole(trades: Trades, case: str) -> None:
    await trades.follow()
    match case:
        case "dropped":
            trades.documents.drop()
        case "renamed" | "renamed twice":
            trades.documents.rename("elsewhere")
            trades.database.elsewhere.delete_one({"_id": 5})
        case "replaced":
            trades.database.fresh.insert_one({"_id": 1, "note": "of the new one"})
            trades.database.fresh.rename("trades", dropTarget=True)
        case "database":
            trades.client.drop_database(trades.database.name)
    if case in {"dropped", "renamed", "database"}:
        before = trades.engine.query(POSITIONS)
        with pytest.raises(SourceMissing, match="no such collection"):
            await trades.follow()
        assert trades.engine.query(POSITIONS) == before
        assert len(trades.engine.rows("trades")) == 5
    if case == "renamed twice":
        trades.database.elsewhere.rename("trades")
    elif case != "replaced":
        trades.documents.insert_one({"_id": 9, "note": "again"})
    result = await trades.follow()
    assert result.kind == "sweep"
    trades.assert_equal()
    assert await trades.engine.follow(trades.stream) == {}


async def test_the_log_tells_that_a_collection_was_renamed_where_its_identity_stays(
    trades: Trades, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "millrace.change_logs.mongo_log.fingerprint_collections",
        lambda _database, _session, streams: {stream.name: "" for stream in streams},
    )
    await trades.follow()
    trades.documents.rename("elsewhere")
    trades.database.elsewhere.delete_one({"_id": 5})
    trades.database.elsewhere.rename("trades")
    result = await trades.follow()
    assert (result.kind, result.deleted) == ("sweep", 1)
    assert "rename" in "; ".join(result.warnings)


KEYS = {
    "int": [1, Int64(2), 3.0],
    "text": ["a", "", "5", "0" * 24],
    "ObjectId and its text": [ObjectId("0" * 23 + "1"), "0" * 23 + "2"],
    "UUID": [Binary.from_uuid(uuid.UUID(int=number)) for number in (1, 2, 3)],
    "date": [datetime(2024, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)],
    "decimal": [Decimal128("1.50"), Decimal128("-1E-9"), Decimal128("7")],
    "timestamp": [Timestamp(1_700_000_000, 1), Timestamp(1_700_000_000, 2)],
    "bytes": [b"\x00", b"abc"],
    "double": [1.5, -2.5],
}


@pytest.mark.parametrize("case", KEYS)
async def test_keys_of_every_type(trades: Trades, case: str) -> None:
    keys = KEYS[case]
    trades.documents.drop()
    trades.documents.insert_many([{"_id": key, "number": number} for number, key in enumerate(keys)])
    stream = replace(trades.stream, columns=("_id", "number"))
    await trades.engine.follow(stream)
    trades.documents.update_one({"_id": keys[0]}, {"$set": {"number": 10}})
    trades.documents.delete_one({"_id": keys[1]})
    result = (await trades.engine.follow(stream))["trades"]
    assert (result.kind, result.updated, result.deleted) == ("log", 1, 1)
    assert sorted(row[0] for row in trades.engine.rows("trades", "number")) == sorted([10, *range(2, len(keys))])


async def test_keys_within_an_id_and_keys_that_are_no_columns(trades: Trades) -> None:
    trades.documents.drop()
    trades.documents.insert_many([{"_id": {"a": number, "b": "x"}, "note": "first"} for number in range(3)])
    stream = replace(trades.stream, key=("_id.a", "_id.b"))
    await trades.engine.follow(stream)
    trades.documents.delete_one({"_id": {"a": 0, "b": "x"}})
    trades.documents.update_one({"_id": {"a": 1, "b": "x"}}, {"$set": {"note": "changed"}})
    result = (await trades.engine.follow(stream))["trades"]
    assert (result.kind, result.updated, result.deleted) == ("log", 1, 1)
    # A key that no column takes: all documents are compared, and this one is rejected.
    trades.documents.insert_one({"_id": {"a": "text", "b": "x"}})
    result = (await trades.engine.follow(stream))["trades"]
    assert (result.kind, result.rejected) == ("sweep", 1)
    with pytest.raises(ConfigurationError, match='declare key="_id"'):
        replace(trades.stream, key="note")


async def test_two_streams_of_a_database_are_committed_together(trades: Trades) -> None:
    """Also with different positions, and a history that is chosen by chance, with crashes between the steps."""
    dice = random.Random(7)  # noqa: S311 (no secret)
    trades.documents.drop()
    trades.database.create_collection("trades")
    trades.database.create_collection("fees")
    where = {"kind": {"$ne": "hidden"}}
    fees = Stream(
        "fees", f"mongo:{trades.database.name}.fees", "_id", ChangeLog(), deletes="soft", max_delete_share=1.0
    )
    versions = replace(fees, name="versions", deletes="hard", load=Scd2("version_key"), where=where)
    streams = (replace(trades.stream, where=where), fees, versions)
    pipeline = Pipeline(PIPELINE, streams=streams)
    for step in range(25):
        for _ in range(dice.randrange(1, 8)):
            with trades.client.start_session() as session, session.start_transaction():
                _change_by_chance(trades.database, dice, session)
            if dice.random() < 0.3:
                session.abort_transaction() if session.in_transaction else None
        chosen = dice.sample(streams, dice.randrange(1, 4))
        batches = await trades.engine.read_log(pipeline, chosen)
        fate = dice.random()
        if fate < 0.3:
            continue  # killed before the commit
        if batches:
            trades.engine.warehouse.load(pipeline, batches, trades.engine.store)
            if fate < 0.5:
                with pytest.raises(Superseded):
                    trades.engine.warehouse.load(
                        pipeline, [replace(batches[0], batch_id=f"again-{step}")], trades.engine.store
                    )
    batches = await trades.engine.read_log(pipeline, streams)
    if batches:
        trades.engine.warehouse.load(pipeline, batches, trades.engine.store)
    shown = {name: list(trades.database[name].find()) for name in ("trades", "fees")}
    expected = sorted((d["_id"], d["n"]) for d in shown["trades"] if d["kind"] != "hidden")
    assert trades.engine.rows("trades", "_id", "n") == expected
    assert trades.engine.query("SELECT _id, n FROM engine.fees WHERE _deleted_at IS NULL ORDER BY 1") == sorted(
        (d["_id"], d["n"]) for d in shown["fees"]
    )
    assert trades.engine.query("SELECT _id, n FROM engine.versions WHERE is_current ORDER BY 1") == sorted(
        (d["_id"], d["n"]) for d in shown["fees"] if d["kind"] != "hidden"
    )


def _change_by_chance(database: Any, dice: random.Random, session: Any) -> None:
    """Change a document of each collection, in one transaction."""
    for name in ("trades", "fees"):
        key = {"_id": dice.randrange(40)}
        if dice.random() < 0.3:
            database[name].delete_one(key, session=session)
        else:
            fields = {"n": dice.randrange(1000), "kind": dice.choice(("shown", "hidden"))}
            database[name].update_one(key, {"$set": fields}, upsert=True, session=session)


async def test_collections_whose_log_does_not_tell_everything_are_refused(trades: Trades) -> None:
    trades.database.create_collection("ring", capped=True, size=4096)
    trades.database.create_collection("shown", viewOn="trades", pipeline=[])
    for name, problem in {"ring": "capped", "shown": "view"}.items():
        stream = replace(trades.stream, source=f"mongo:{trades.database.name}.{name}")
        with pytest.raises(ConfigurationError, match=problem):
            await trades.engine.follow(stream)


async def test_the_rows_of_children_follow_their_documents(trades: Trades, processed: BucketStore) -> None:
    trades.documents.drop()
    trades.documents.insert_many(
        [{"_id": 1, "items": [{"sku": "a"}, {"sku": "b"}]}, {"_id": 2, "items": [{"sku": "c"}]}]
    )
    together = Together(trades.engine, processed)
    pipeline = Pipeline(PIPELINE, streams=[replace(trades.stream, children=["items"])])

    async def follow() -> list[tuple[Any, ...]]:
        batches = await trades.engine.read_log(pipeline, pipeline.streams)
        together.load(pipeline, together.transform(pipeline, batches))
        return trades.engine.query("SELECT trades_id, ordinal, sku FROM engine.trades_items ORDER BY 1, 2")

    assert await follow() == [(1, 0, "a"), (1, 1, "b"), (2, 0, "c")]
    trades.documents.update_one({"_id": 1}, {"$set": {"items": [{"sku": "z"}]}})
    trades.documents.delete_one({"_id": 2})
    assert await follow() == [(1, 0, "z")]


async def test_what_is_kept_is_told_in_hours(trades: Trades) -> None:
    await trades.follow()
    entries = {"trades": LogEntry(*trades.engine.query("SELECT origin, position, fingerprint FROM millrace.logs")[0])}
    motor = open_client(trades.engine.mongo_url)
    try:
        log = MongoLog(motor, LogReader(PIPELINE, "", "", "source mongo"))
        (kept,) = log.list_kept(entries)
        assert (kept.status, kept.slot) == ("kept", "")
        assert kept.connection == f"source mongo, database {trades.database.name}"
        assert (kept.retention.remaining_seconds or -1) >= 0
        with pytest.raises(ConfigurationError, match="for all of its readers"):
            log.drop_kept(kept)
    finally:
        motor.close()
