"""A document is found again by its key, whatever BSON type the key is of and whatever the column made of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient

from local.stack import Stack
from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError, FatalError
from millrace.base.types import BINARY, DATE, INT16, INT32, INT64, TIMESTAMP, DataType, Kind, decimal
from millrace.runs.scan import COMPARABLE_KINDS
from millrace.sources import bson_values
from millrace.sources.bson_values import find_converters
from millrace.sources.chunk import Chunk, Keys, Window
from millrace.sources.mongo_queries import bson_forms, keys_query, window_query
from millrace.sources.mongo_values import Decoder
from tests.conftest import unique
from tests.support.engine import Engine, bucket_store, quick_engine_between

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
UUIDS = [uuid.UUID(int=number) for number in (7, 2**128 - 1, 0)]
HEX = "0123456789abcdef01234567"
DAYS = [datetime(1969, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
    datetime(2024, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
]


@dataclass(frozen=True)
class Case:
    """Three keys of one Python type that a column of ``type`` takes (None: the column's own type)."""

    name: str
    keys: list[Any]
    type: DataType | None = None


CASES = [
    Case("bool", [True, False]),
    Case("int into int16", [-5, 0, 7], INT16),
    Case("long into int16", [Int64(-5), Int64(0), Int64(7)], INT16),
    Case("int into int32", [-5, 0, 7], INT32),
    Case("long into int32", [Int64(-5), Int64(0), Int64(7)], INT32),
    Case("int", [-(2**31), 0, 2**31 - 1]),
    Case("long", [Int64(-(2**63)), Int64(2**53 + 1), Int64(2**63 - 1)]),
    Case("whole doubles among ints", [2.0, -(2.0**60), 0.0], INT64),
    Case("Decimal128", [*map(Decimal128, ("1.500000000000", "-1E-9", "12345678901234567890123456789", "1E+3"))]),
    Case("int into decimal", [1, -2, 3], decimal(12, 2)),
    Case("long into decimal", [Int64(2**63 - 1), Int64(-2), Int64(3)], decimal(38, 9)),
    Case("string", ["a", "", "é"]),
    Case("strings like other keys", [HEX, str(UUIDS[0]), "2024-01-01"]),
    Case("strings like numbers", ["1.5", "1700000000.7", "1E3"]),
    Case("strings like patterns", ["/a/", "/.*/i", "/home/x"]),
    Case("strings like bytes", ["\\x00ff", "00ff", "\\\\x00"]),
    Case("ObjectId", [ObjectId(HEX), ObjectId("0" * 24), ObjectId("f" * 24)]),
    Case("UUID", [Binary.from_uuid(one) for one in UUIDS]),
    Case("regex", [Regex("^a", "i"), Regex("a/b", "imx"), Regex("", "")]),
    Case("BSON timestamp", [Timestamp(1_700_000_000, 1), Timestamp(1_700_000_000, 2), Timestamp(0, 1)]),
    Case("date", MOMENTS),
    Case("date into date", DAYS, DATE),
    Case("date into a naive timestamp", MOMENTS, TIMESTAMP),
]
INCOMPARABLE = [
    Case("double", [1.5, -2.5, 0.1]),
    Case("double into float32", [1.5, -2.5, 0.25], DataType(Kind.FLOAT32)),
    Case("int into double", [1, 2, 3], DataType(Kind.FLOAT64)),
    Case("long into double", [Int64(1), Int64(2), Int64(3)], DataType(Kind.FLOAT64)),
    Case("bytes", [b"\x00", b"", b"abc"]),
    Case("binary of other subtypes", [Binary(b"\x01" * 16, 3), Binary(b"\x02", 128), Binary(b"\x03", 5)], BINARY),
]
"""A sweep by them is refused; a replay is not."""
PATHS = ["_id", "in.a.code"]


def python_type(key: Any) -> type:
    return uuid.UUID if isinstance(key, Binary) and key.subtype == 4 else type(key)


def test_every_type_that_a_key_column_takes_is_tried() -> None:
    """Of documents as they are decoded: moments out of range are never held, and a document is no key of a sweep."""
    tried = {
        ((case.type or bson_values.TYPE_OF[python_type(key)]).kind, python_type(key))
        for case in CASES + INCOMPARABLE
        for key in case.keys
    }
    taken = {
        (kind, python)
        for kind in Kind
        for python in find_converters(DataType(kind))
        if kind is not Kind.DOCUMENT and python is not DatetimeMS
    }
    assert taken <= tried
    assert {kind for kind, _ in tried} >= COMPARABLE_KINDS


@pytest.fixture(scope="module")
def engine_of_keys(stack: Stack) -> Iterator[Engine]:
    """One source and one Postgres warehouse for all keys: each has a table of its own."""
    name = unique("keys")
    store = bucket_store(stack, stack.aws.create_bucket(unique("keys").replace("_", "-")))
    yield quick_engine_between(stack, store, "", stack.postgres.create_database(name))
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Any]:
    """A database of one's own."""
    name = unique("keys")
    with MongoClient[dict[str, Any]](stack.mongo.url) as client:
        yield client[name]
    stack.mongo.drop_database(name)


def document(path: str, key: Any, **fields: Any) -> dict[str, Any]:
    for step in reversed(path.split(".")):
        key = {step: key}
    return {**key, **fields, "changed": YESTERDAY}


def keyed(database: Any, case: Case, path: str, **options: Any) -> tuple[Stream, Any]:
    """A stream by this key, and its collection."""
    name = unique("t")
    types = {path: case.type} if case.type else {}
    stream = Stream(
        name,
        f"mongo:{database.name}.{name}",
        path,
        Incremental("changed"),
        types=types,
        max_reject_share=1.0,
        **options,
    )
    return stream, database[name]


def is_held(case: Case, path: str) -> bool:
    """MongoDB takes no pattern as a document's own key."""
    return not (path == "_id" and isinstance(case.keys[0], Regex))


WHERE = [(case, path) for case in CASES for path in PATHS if is_held(case, path)]


@pytest.mark.parametrize(("case", "path"), WHERE, ids=lambda one: getattr(one, "name", one))
async def test_a_sweep_finds_what_was_updated_and_what_is_gone(
    engine_of_keys: Engine, database: Any, case: Case, path: str
) -> None:
    stream, collection = keyed(database, case, path)
    for number, key in enumerate(case.keys):
        collection.insert_one(document(path, key, number=number))
    await engine_of_keys.deliver(stream)
    collection.update_one({"number": 0}, {"$set": {"v": 2}})
    collection.delete_one({"number": 1})
    result = await engine_of_keys.sweep(stream)
    assert result is not None
    assert (result.updated, result.deleted, result.unchanged) == (1, 1, len(case.keys) - 2)
    assert engine_of_keys.rows(stream.table, "number", "v", order="number") == [
        (number, 2 if number == 0 else None) for number in range(len(case.keys)) if number != 1
    ]


class Small(dy.Schema):
    """Numbers are small."""

    number = dy.Int64(nullable=False)
    v = dy.Int64(nullable=True, max=9)


@pytest.mark.parametrize("breach", ["contract", "value"])
@pytest.mark.parametrize(
    "case", [*(case for case in CASES if is_held(case, "_id")), *INCOMPARABLE], ids=lambda one: one.name
)
async def test_a_replay_finds_what_was_rejected(engine_of_keys: Engine, database: Any, case: Case, breach: str) -> None:
    """Where a rejected document lies is told by its own key: typed, or as the column has it."""
    stream, collection = keyed(database, case, "_id", contract=Small)
    for number, key in enumerate(case.keys):
        value = 10 if breach == "contract" else "\x00"
        collection.insert_one(document("_id", key, number=number, v=value if number else 1))
    first = await engine_of_keys.deliver(stream)
    collection.update_many({}, {"$set": {"v": 1}})
    result = await engine_of_keys.replay(stream)
    assert first is not None
    assert result is not None
    odd = len(case.keys) - 1
    assert (first.inserted, first.rejected, result.inserted, result.rejected) == (1, odd, odd, 0)


@pytest.mark.parametrize("breach", ["contract", "capture"])
@pytest.mark.parametrize("case", CASES + INCOMPARABLE, ids=lambda case: case.name)
async def test_a_rejected_document_that_a_look_up_does_not_find_stays_rejected(
    engine_of_keys: Engine, database: Any, monkeypatch: pytest.MonkeyPatch, case: Case, breach: str
) -> None:
    """A pass over the collection decides; what has left it is closed and reported."""
    stream, collection = keyed(database, case, "_id", contract=Small)
    odd = 10 if breach == "contract" else "\x00"
    collection.insert_many([document("_id", key, number=n, v=odd if n else 1) for n, key in enumerate(case.keys)])
    await engine_of_keys.deliver(stream)
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "decode", lambda *_: Chunk(pl.DataFrame(), ()))
        with pytest.raises(FatalError, match=f"{len(case.keys) - 1} rows .* are not found by their key"):
            await engine_of_keys.replay(stream)
    collection.delete_one({"number": 1})
    collection.update_many({}, {"$set": {"v": 1}})
    result = await engine_of_keys.replay(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (len(case.keys) - 2, 0)
    assert result.warnings == ("1 rejected rows have left the source",)


@pytest.mark.parametrize(
    "case", [*(case for case in CASES if is_held(case, "_id")), *INCOMPARABLE], ids=lambda one: one.name
)
async def test_a_document_that_was_rejected_in_both_ways_is_one_document(
    engine_of_keys: Engine, database: Any, case: Case
) -> None:
    """By its contract, which knows its key as the column has it, and then by its value, with its typed key."""
    stream, collection = keyed(database, case, "_id", contract=Small)
    collection.insert_many([document("_id", key, number=n, v=10 if n else 1) for n, key in enumerate(case.keys)])
    await engine_of_keys.deliver(stream)
    later = {"changed": datetime.now(UTC)}
    collection.update_many({"number": {"$gt": 0}}, {"$set": {"v": "\x00", **later}})
    await engine_of_keys.deliver(stream)
    collection.delete_one({"number": 1})
    collection.update_many({}, {"$set": {"v": 1}})
    result = await engine_of_keys.replay(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (len(case.keys) - 2, 0)


@pytest.mark.parametrize("key", [MinKey(), MaxKey(), Code("f()")], ids=repr)
async def test_a_key_that_no_column_holds_is_rejected_alone(engine_of_keys: Engine, database: Any, key: Any) -> None:
    stream, collection = keyed(database, Case("odd", [key]), "code")
    collection.insert_many([document("code", key), document("code", "a")])
    first = await engine_of_keys.deliver(stream)
    swept = await engine_of_keys.sweep(stream)
    assert first is not None
    assert swept is not None
    assert (first.inserted, first.rejected, swept.unchanged, swept.rejected) == (1, 1, 1, 1)


async def test_a_sweep_by_the_fields_of_an_id(engine_of_keys: Engine, database: Any) -> None:
    stream, collection = keyed(database, Case("fields", []), "_id.y")
    stream = replace(stream, key=["_id.y", "_id.m"])
    collection.insert_many([{"_id": {"y": 2024, "m": n}, "v": n, "changed": YESTERDAY} for n in (1, 2, 3)])
    await engine_of_keys.deliver(stream)
    collection.delete_one({"v": 2})
    collection.update_one({"v": 3}, {"$set": {"v": 4}})
    result = await engine_of_keys.sweep(stream)
    assert result is not None
    assert (result.updated, result.deleted, result.unchanged) == (1, 1, 1)


async def test_a_document_whose_id_opens_up_is_rejected_by_its_contract_and_replayed(
    engine_of_keys: Engine, database: Any
) -> None:
    stream, collection = keyed(database, Case("fields", []), "_id.y", contract=Small)
    collection.insert_many([{"_id": {"y": n}, "number": n, "v": n, "changed": YESTERDAY} for n in (1, 10, 11)])
    first = await engine_of_keys.deliver(stream)
    collection.update_many({}, {"$set": {"v": 1}})
    result = await engine_of_keys.replay(stream)
    assert first is not None
    assert result is not None
    assert (first.inserted, first.rejected, result.inserted) == (1, 2, 2)


async def test_a_document_without_the_key_is_rejected_alone(engine_of_keys: Engine, database: Any) -> None:
    stream, collection = keyed(database, Case("text", ["a"]), "code")
    collection.insert_many([document("code", "a"), {"changed": YESTERDAY}, document("code", None)])
    result = await engine_of_keys.deliver(stream)
    swept = await engine_of_keys.sweep(stream)
    assert result is not None
    assert swept is not None
    assert (result.inserted, result.rejected, swept.unchanged, swept.rejected) == (1, 2, 1, 2)
    assert {one["reason"] for one in engine_of_keys.rejects()} == {"no_key"}


async def test_a_rejected_document_that_left_is_told_and_stops_no_replay(engine_of_keys: Engine, database: Any) -> None:
    stream, collection = keyed(database, Case("ids", []), "_id", contract=Small)
    collection.insert_many([document("_id", ObjectId(), number=number, v=10) for number in range(2)])
    collection.insert_one(document("_id", ObjectId(), number=2, v=1))
    await engine_of_keys.deliver(stream)
    collection.delete_one({"number": 0})
    collection.update_many({}, {"$set": {"v": 1}})
    result = await engine_of_keys.replay(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (1, 0)
    assert "1 rejected rows have left the source" in engine_of_keys.batches[-1].note


def test_a_text_is_asked_for_as_everything_that_it_may_have_been() -> None:
    assert Regex("a/b", "imx") in bson_forms("/a/b/imx")
    assert Timestamp(1_700_000_000, 7) in bson_forms("1700000000.7")
    assert Binary(b"\x00\xff", 128) in bson_forms("\\x00ff")
    assert bson_forms("00ff") == ["00ff"]
    assert bson_forms("9999-12-31T23:59:59-12:00") == ["9999-12-31T23:59:59-12:00"]


def test_a_pattern_among_keys_matches_no_text() -> None:
    stream = Stream("t", "mongo:a.t", "code", Incremental("changed"))
    query = keys_query(stream, Keys(("code",), [("/a/",)]))
    assert query == {"$or": [{"code": {"$in": ["/a/"]}}, {"code": {"$eq": Regex("a", 0)}}]}


@pytest.mark.parametrize("path", ["a\\.b", "x.a\\.b"])
def test_a_field_with_a_dot_in_its_name_is_no_key_and_no_cursor(path: str) -> None:
    stream = Stream("t", "mongo:a.t", path, Incremental(path))
    with pytest.raises(ConfigurationError, match="its name holds a dot"):
        window_query(stream, Window("2024-01-01"))
    with pytest.raises(ConfigurationError, match="its name holds a dot"):
        keys_query(stream, Keys(("a",), [("x",)]))
    assert window_query(replace(stream, capture=Incremental("a\\\\b")), Window(upper="2024-01-01")).keys() == {"a\\b"}
