"""Which columns a document fills depends on the document and the target alone: its row is the same by every way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from millrace import Incremental, Merge, Queue, Stream
from millrace.base.naming import ROW_HASH
from millrace.base.types import DOCUMENT, Column
from millrace.hashes.row_hash import add_row_hash
from millrace.sources.chunk import Chunk
from millrace.sources.mongo_values import OPTIONS, Decoder
from tests.support.engine import Engine
from tests.support.queue_messages import collect

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
PAPERS = Stream("papers", "mongo:finance.papers", "_id", Incremental("changed"))
Documents = Sequence[dict[str, Any]]
Rows = dict[int, dict[str, Any]]

NAMES = st.sampled_from(["a", "b", "aB", "a_b", "a.b", "", "c"])
SCALARS = st.sampled_from([
    None, True, 1, 2.0, 2.5, Int64(2**53 + 1), Decimal128("1.50"), "1", "x\x00", "2024-01-01", b"\x01", YESTERDAY,
    ObjectId("0123456789abcdef01234567"), Timestamp(1, 2), bson.Code("f()"), bson.Regex("a", "i"),
])  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2), max_leaves=6
)
IRREGULAR = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=8)


def decode(decoder: Decoder, documents: Documents) -> Chunk:
    return decoder.decode(b"".join(bson.encode(document, codec_options=OPTIONS) for document in documents))


def read(documents: Documents, sizes: Sequence[int], known: Sequence[Column]) -> tuple[Rows, tuple[Column, ...]]:
    """Every document's row hash, or that it is rejected, when they are read in chunks of these sizes."""
    decoder, begin = Decoder(PAPERS, known), 0
    outcome: dict[Any, Any] = {}
    columns: tuple[Column, ...] = ()
    for size in [*sizes, len(documents)]:
        if not (part := documents[begin : begin + size]):
            break
        chunk = decode(decoder, part)
        columns = chunk.columns
        hashed = add_row_hash(chunk.frame, chunk.columns)
        outcome |= dict(hashed.select("_id", ROW_HASH).rows())
        outcome |= {json.loads(where)["_id"]["$numberInt"]: "rejected" for where in chunk.rejected["coordinates"]}
        begin += size
    return {int(key): value for key, value in outcome.items()}, columns


@settings(max_examples=150)
@given(IRREGULAR, st.lists(st.integers(1, 4), max_size=4), st.lists(st.integers(1, 4), max_size=4), st.randoms())
def test_a_row_is_the_same_whatever_is_read_beside_it(
    documents: Documents, first: list[int], then: list[int], order: Any
) -> None:
    """By the window that made the target, and afterwards by window, sweep, look-up and a read of everything."""
    held = [document | {"_id": number, "changed": YESTERDAY} for number, document in enumerate(documents)]
    rows, columns = read(held, first, ())
    assert rows.keys() == set(range(len(held)))
    again = order.sample(held, len(held))
    assert read(again, then, columns)[0] == rows
    for document in held:
        assert read([document], [], columns)[0] == {document["_id"]: rows[document["_id"]]}


@pytest.fixture
def papers(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    """A stream, and its collection."""
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        yield replace(PAPERS, source=f"mongo:{mongo_database}.papers"), client[mongo_database]["papers"]


async def test_one_empty_array_takes_no_column_from_other_documents(engine: Engine, papers: Any) -> None:
    stream, collection = papers
    collection.insert_many([{"_id": n, "address": {"city": f"c{n}"}, "changed": YESTERDAY} for n in range(3)])
    await engine.deliver(stream)
    collection.insert_one({"_id": 9, "address": [], "changed": datetime.now(UTC)})
    await engine.deliver(stream)
    result = await engine.sweep(stream)
    assert result is not None
    assert engine.query("SELECT address_city FROM engine.papers WHERE _id < 9 ORDER BY _id") == [
        ("c0",),
        ("c1",),
        ("c2",),
    ]
    assert (result.updated, result.unchanged) == (0, 4)


VARIED: Documents = [
    {"v": []},
    {"v": {"a": 1}},
    {"v": {}},
    {"v": [{"a": 1}]},
    {"v": {"a": {"b": [1]}}},
    {"v": {"a": {"b": {"c": {}}}}},
    {"v": None},
    {},
    {"w": {"a": 1}, "w.a": 2, "w_a": 3},
    {"w": 5},
]


@pytest.mark.parametrize("documents", [VARIED, VARIED[::-1]], ids=["arrays first", "objects first"])
async def test_a_sweep_a_full_read_and_a_replay_of_what_did_not_change_update_nothing(
    engine: Engine, papers: Any, documents: Documents
) -> None:
    stream, collection = papers
    collection.insert_many([one | {"_id": number, "changed": YESTERDAY} for number, one in enumerate(documents)])
    first = await engine.deliver(stream)
    assert first is not None
    for way in (engine.sweep, lambda stream: engine.deliver(stream, full=True)):
        result = await way(stream)
        assert result is not None
        assert (result.inserted, result.updated, result.deleted, result.unchanged) == (0, 0, 0, first.inserted)
        assert result.rejected == first.rejected


async def test_what_a_sweep_finds_new_gets_the_same_columns_in_every_block(
    engine: Engine, papers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up reads each document alone here; types and names of new fields are those of the scan."""
    monkeypatch.setattr("millrace.sources.chunk.BLOCK_ROWS", 1)
    stream, collection = papers
    collection.insert_one({"_id": 0, "changed": YESTERDAY})
    await engine.deliver(stream)
    found: Documents = [{"n": 1}, {"n": 1.5}, {"n": 2.5}, {"aB": 1}, {"a_b": "x"}, {"v": []}, {"v": {"a": 1}}]
    collection.insert_many([one | {"_id": n, "changed": YESTERDAY} for n, one in enumerate(found, 1)])
    result = await engine.sweep(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (len(found), 0)
    again = await engine.sweep(stream)
    assert again is not None
    assert (again.updated, again.unchanged) == (0, len(found) + 1)
    assert engine.query("SELECT n FROM engine.papers WHERE n IS NOT NULL ORDER BY n") == [(1.0,), (1.5,), (2.5,)]


async def test_a_target_of_whole_documents_keeps_them_whole(engine: Engine, papers: Any) -> None:
    """What a target of an earlier release holds is not taken apart, nor hashed again."""
    stream, collection = papers
    collection.insert_one({"_id": 1, "v": [1], "changed": YESTERDAY})
    await engine.deliver(stream)
    collection.insert_one({"_id": 2, "v": {"a": 1}, "changed": datetime.now(UTC)})
    await engine.deliver(stream)
    assert [name for name in engine.batches[-1].columns if name.path.startswith("v.")] == []
    result = await engine.sweep(stream)
    assert result is not None
    assert (result.updated, result.unchanged) == (0, 2)


def test_a_declared_document_stays_whole_and_a_value_beside_objects_has_a_column_of_its_own() -> None:
    decoder = Decoder(replace(PAPERS, types={"a": DOCUMENT}), ())
    chunk = decode(decoder, [{"_id": 1, "a": {"x": 1}, "b": {"x": 1}}, {"_id": 2, "a": 5, "b": [1]}])
    assert chunk.frame.select("a", "b", "b_x").rows() == [('{"x":1}', None, 1), ("5", "[1]", None)]


def test_an_omitted_field_is_left_out_of_documents_that_stay_whole() -> None:
    stream = replace(PAPERS, omitted=["person.name", "list.name", "deep.a.b.name"], types={"person": DOCUMENT})
    document = {"person": {"name": "Ada", "age": 1}, "list": [{"name": "Ada"}], "deep": {"a": {"b": {"name": "Ada"}}}}
    chunk = decode(Decoder(stream, ()), [{"_id": 1, **document}])
    assert chunk.frame.select("person", "list", "deep_a_b").rows() == [('{"age":1}', "[{}]", "{}")]


def test_a_field_of_which_no_value_can_be_held_gets_no_column() -> None:
    chunk = decode(Decoder(PAPERS, ()), [{"_id": 1, "a": bson.Code("f()")}, {"_id": 2}])
    assert [column.name for column in chunk.columns] == ["changed", "_id"]
    assert chunk.rejected.select("reason", "field").rows() == [("type_mismatch", "a")]


async def test_messages_of_any_shape_beside_each_other_become_the_same_rows(engine: Engine) -> None:
    stream = Stream("orders", "sqs/orders", "id", Queue(), load=Merge())
    bodies = [json.dumps({"id": str(n), **one}) for n, one in enumerate(VARIED)]
    collect(engine, *bodies[:4])
    collect(engine, *bodies[4:])
    first = await engine.run(stream)
    assert first is not None
    for body in bodies:
        collect(engine, body)
    again = await engine.run(stream)
    assert again is not None
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, first.inserted)
    assert again.rejected == first.rejected
