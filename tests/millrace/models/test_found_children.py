"""Arrays of documents fill tables whose columns are found at run time, exactly as MongoDB holds their elements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import bson
import polars as pl
import pytest
from bson import Decimal128, Int64, ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection

from millrace import Incremental, Partial, Pipeline, Redact, Snapshot, Stream, decimal
from millrace.base.errors import SchemaConflict
from millrace.base.types import INT64, Column
from millrace.contract.fitting import Fitting
from millrace.declaration.children import ChildModel, make_children, ordinal_column
from millrace.declaration.consent import Consent
from millrace.runs.choose import ReadRequest
from millrace.runs.reload import find_applied_groups, reload_model
from millrace.sources.found_elements import read_stored
from millrace.sources.mongo_values import Decoder
from millrace.warehouse.dialect import POSTGRES_DIALECT
from millrace.warehouse.rename_stream import rename_stream
from tests.support.engine import Together
from tests.support.mongo_cases import FIELDS

Orders = Collection[dict[str, Any]]
SWEEP = ReadRequest("sweep", consent=Consent(allow_deletes=True, accept_rejects=True))
MOMENT = datetime(2026, 1, 5, 10, 30, 0, 123_000, tzinfo=UTC)


@pytest.fixture
def orders(together: Together, mongo_database: str) -> Iterator[Orders]:
    with MongoClient[dict[str, Any]](together.engine.mongo_url, tz_aware=True) as client:
        yield client[mongo_database]["orders"]


@pytest.fixture
def stream(mongo_database: str) -> Stream:
    return Stream(
        "orders",
        f"mongo:{mongo_database}.orders",
        "_id",
        Incremental("changed"),
        children=["items"],
        sweep="0 0 1 1 *",
        max_reject_share=1.0,
    )


def shop(stream: Stream, **options: Any) -> Pipeline:
    return Pipeline("shop", streams=[stream], **options)


def order(number: int, *items: Any, **more: Any) -> dict[str, Any]:
    return {"_id": number, "items": list(items), "changed": datetime.now(UTC), **more}


def found(together: Together, table: str = "orders_items") -> list[dict[str, Any]]:
    """The rows of a child without the columns that Millrace adds, NULLs left out."""
    names = [
        name
        for (name,) in together.engine.query(
            f"SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' "
            f"AND table_name = '{table}' ORDER BY ordinal_position"
        )
    ]
    rows = together.engine.query(f"SELECT * FROM shop.{table} ORDER BY 1, 2")
    named = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        {name: comparable(value) for name, value in row.items() if value is not None and not name.startswith("_")}
        for row in named
    ]


def comparable(value: Any) -> Any:
    """The value as both warehouses tell it: Redshift gives bytes as their digits, and documents as their JSON."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return json.dumps(value, separators=(",", ":"), sort_keys=True) if isinstance(value, list | dict) else value


def expected(orders: Orders) -> list[dict[str, Any]]:
    """What the table must hold: computed from the documents alone."""
    return [
        {"orders_id": document["_id"], "ordinal": ordinal, **flat(element)}
        for document in orders.find().sort("_id")
        for ordinal, element in enumerate(document.get("items") or ())
    ]


def flat(element: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(element, dict):
        return {} if element is None else {"value": plain(element)}
    values: dict[str, Any] = {}
    for name, value in element.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{name}_")
        elif value is not None:
            values[f"{prefix}{name}"] = plain(value)
    return values


def plain(value: Any) -> Any:
    match value:
        case Decimal128():
            return value.to_decimal().quantize(Decimal("1e-9"))
        case ObjectId():
            return str(value)
        case _:
            return comparable(value)


RICH = {
    "sku": "a",
    "qty": 2,
    "big": Int64(2**53 + 1),
    "price": {"amount": Decimal128("1.50"), "deep": {"n": 1.5}},
    "share": 0.1,
    "at": MOMENT,
    "gift": True,
    "ref": ObjectId("0123456789abcdef01234567"),
    "raw": b"\x00\xff",
    "tags": ["x", {"y": 1}],
}


async def test_every_step_of_a_history_arrives_exactly(together: Together, orders: Orders, stream: Stream) -> None:
    pipeline = shop(stream)
    orders.insert_many([order(1, RICH, {"sku": "b"}), order(2), {"_id": 3, "changed": MOMENT}, order(4, {"n": 1})])
    await together.run(pipeline)
    assert found(together) == expected(orders)
    steps = [
        lambda: orders.insert_one(order(5, {"sku": "c", "colour": "red"}, None, [], {})),
        lambda: orders.update_one({"_id": 1}, {"$pop": {"items": 1}, "$currentDate": {"changed": True}}),
        lambda: orders.update_one(
            {"_id": 4}, {"$set": {"items": [{"n": 7, "new": {"x": MOMENT}}], "changed": datetime.now(UTC)}}
        ),
        lambda: orders.update_one({"_id": 1}, {"$set": {"items.0.qty": 3.0, "changed": datetime.now(UTC)}}),
        lambda: orders.update_one({"_id": 5}, {"$set": {"items": [], "changed": datetime.now(UTC)}}),
        lambda: orders.update_one(
            {"_id": 2}, {"$set": {"items": [{"sku": f"s{n}"} for n in range(30)], "changed": datetime.now(UTC)}}
        ),
        lambda: orders.update_one({"_id": 2}, {"$unset": {"items": ""}, "$currentDate": {"changed": True}}),
        lambda: orders.insert_one(order(6, [1], [[2]], None, {"sku": "d"})),
    ]
    for step in steps:
        step()
        await together.run(pipeline)
        assert found(together) == expected(orders)
    orders.delete_one({"_id": 1})
    await together.run(pipeline, read_request=SWEEP)
    assert found(together) == expected(orders)


async def test_a_rejected_array_rejects_its_row_and_touches_no_child(
    together: Together, orders: Orders, stream: Stream
) -> None:
    pipeline = shop(stream)
    orders.insert_many([order(number, {"qty": number, "at": MOMENT}) for number in range(1, 5)])
    await together.run(pipeline)
    before = expected(orders)
    for number, items in enumerate(("no array", [{"qty": "2"}], [{"at": "2026-01-05"}], [{"qty": 1.5}]), start=1):
        orders.update_one({"_id": number}, {"$set": {"items": items, "changed": datetime.now(UTC)}})
    batches = await together.read(pipeline)
    wrong = ["items", "items.qty", "items.at", "items.qty"]
    assert [(one["reason"], one["field"]) for one in together.engine.rejects(batches[0])] == [
        ("type_mismatch", field) for field in wrong
    ]
    assert "elements:" not in str(together.engine.rejects(batches[0]))
    together.load(pipeline, together.transform(pipeline, batches))
    assert found(together) == before
    for number in range(1, 5):
        orders.update_one({"_id": number}, {"$set": {"items": [{"qty": 9}, {"qty": 8}]}})
    await together.run(pipeline, read_request=ReadRequest("replay"))
    assert found(together) == expected(orders)


@pytest.mark.parametrize("deletes", ["hard", "soft"])
async def test_a_snapshot_replaces_deletes_and_keeps_children(
    together: Together, orders: Orders, stream: Stream, deletes: Any
) -> None:
    pipeline = shop(replace(stream, capture=Snapshot(), sweep="", deletes=deletes))
    orders.insert_many(
        [order(1, {"n": 1}, {"n": 2}), order(2, {"n": 3}), order(3, {"n": 1e17, "d": Decimal128("1E+3")})]
    )
    await together.run(pipeline)
    kept = [row for row in found(together) if row["orders_id"] == 3]
    orders.update_one({"_id": 1}, {"$set": {"items": [{"n": 5}]}})
    orders.update_one({"_id": 3}, {"$set": {"items": [{"n": "text"}]}})
    orders.insert_one(order(4, {"m": "later"}))
    await together.run(pipeline)
    rows = found(together) if deletes == "hard" else live(together)
    orders.update_one({"_id": 3}, {"$set": {"items": [{"n": 0.5}]}})
    assert [row for row in rows if row["orders_id"] == 3] == kept
    orders.delete_one({"_id": 2})
    await together.run(pipeline)
    rows = found(together) if deletes == "hard" else live(together)
    assert rows == expected(orders)


def live(together: Together) -> list[dict[str, Any]]:
    marked = together.engine.query('SELECT orders_id, ordinal FROM shop.orders_items WHERE "_deleted_at" IS NOT NULL')
    return [row for row in found(together) if (row["orders_id"], row["ordinal"]) not in set(marked)]


async def test_what_the_stream_declares_of_fields_holds_for_elements(
    together: Together, orders: Orders, stream: Stream
) -> None:
    declared = replace(
        stream,
        types={"items.price": decimal(9, 2)},
        omitted=["items.note", "items.inner.secret"],
        mask={"items.email": Partial(2), "items.inner.born": Redact()},
    )
    orders.insert_one(
        order(1, {"price": 5, "note": "n", "email": "a@b.example", "inner": {"secret": 1, "born": MOMENT, "x": 1}})
    )
    results = await together.run(shop(declared))
    shown = {"orders_id": 1, "ordinal": 0, "price": Decimal("5.00"), "email": "****", "inner_x": 1}
    assert found(together) == [shown]
    assert "misspelt" not in str(results["orders"])
    assert "b.example" not in str(together.engine.query("SELECT * FROM shop.orders"))


async def test_fields_called_as_columns_that_millrace_adds_get_others(
    together: Together, orders: Orders, stream: Stream
) -> None:
    orders.insert_one(order(1, {"ordinal": 7, "ordersId": "x", "_row_hash": "h", "": 1, "a.b": 2}))
    batches = await together.read(shop(stream))
    assert "items.ordinal is in column ordinal_" in batches[0].note
    await together.run(shop(stream))
    (row,) = found(together)
    assert (row.pop("orders_id"), row.pop("ordinal")) == (1, 0)
    assert sorted(map(str, row.values())) == ["1", "2", "7", "x"]


async def test_fields_that_are_data_are_refused_by_their_name(
    together: Together, orders: Orders, stream: Stream
) -> None:
    orders.insert_one(order(1, *({f"id{number}": 1} for number in range(30))))
    with pytest.raises(SchemaConflict) as caught:
        await together.run(shop(replace(stream, max_new_columns=20)))
    assert "the fields of 'items' would become 30 new columns" in caught.value.problem
    assert "out of children" in caught.value.remedy


async def test_quarantine_rejects_rows_with_elements_of_other_columns(
    together: Together, orders: Orders, stream: Stream
) -> None:
    pipeline = shop(replace(stream, schema_policy="quarantine"))
    orders.insert_one(order(1, {"n": 1}))
    await together.run(pipeline)
    orders.insert_many([order(2, {"n": 2, "new": 1}), order(3, {"n": 3})])
    batches = await together.read(pipeline)
    assert [(one["reason"], one["field"]) for one in together.engine.rejects(batches[0])] == [
        ("schema_new_column", "items.new")
    ]
    frozen = shop(replace(stream, schema_policy="freeze"))
    with pytest.raises(SchemaConflict, match="new"):
        await together.run(frozen)


async def test_a_child_that_is_declared_later_holds_all_rows_and_can_be_reloaded(
    together: Together, orders: Orders, stream: Stream
) -> None:
    orders.insert_many([order(1, {"a": MOMENT}), order(2, {"b": 2}), order(3)])
    orders.update_many({}, {"$set": {"changed": datetime.now(UTC) - timedelta(days=1)}})
    await together.run(shop(replace(stream, children=[])))
    await together.run(shop(stream))
    assert found(together) == expected(orders)
    pipeline = shop(stream)
    model = pipeline.model("orders_items")
    groups = find_applied_groups(together.engine.warehouse, pipeline, model)
    reload_model(pipeline, model, groups, together.engine.store, together.processed, together.engine.warehouse)
    assert found(together) == expected(orders)


async def test_after_a_rename_a_child_is_reloaded_under_its_new_key(
    together: Together, orders: Orders, stream: Stream
) -> None:
    orders.insert_many([order(1, {"a": 1}, {"a": 2}), order(2)])
    await together.run(shop(stream))
    pipeline = shop(replace(stream, name="sales", target="orders"))
    renamed = rename_stream(together.engine.warehouse, pipeline, "orders", pipeline.stream("sales"), "test")
    assert renamed.children == ("orders_items",)
    groups = find_applied_groups(together.engine.warehouse, pipeline, pipeline.model("orders_items"))
    reload_model(
        pipeline, pipeline.model("orders_items"), groups,
        together.engine.store, together.processed, together.engine.warehouse,
    )  # fmt: skip
    orders.update_one({"_id": 2}, {"$set": {"items": [{"a": 3}], "changed": datetime.now(UTC)}})
    await together.run(pipeline)
    rows = "SELECT sales_id, ordinal, a FROM shop.orders_items ORDER BY 1, 2"
    assert together.engine.query(rows) == [(1, 0, 1), (1, 1, 2), (2, 0, 3)]


def test_huge_arrays_are_taken_apart_in_bounded_pieces() -> None:
    """An array that is repeated for each of its elements, or taken apart at once, does not fit into memory."""
    stream = Stream("orders", "mongo:shop.orders", "_id", Incremental("changed"), children=["items"])
    items = [{"n": number, "text": f"element {number}" * 8} for number in range(100_000)]
    documents = [{"_id": 1, "items": items, "changed": MOMENT}, {"_id": 2, "items": items[:30_000], "changed": MOMENT}]
    chunk = Decoder(stream, ()).decode(b"".join(map(bson.encode, documents)))
    fitting = Fitting(stream, POSTGRES_DIALECT.limits, (), ["_id"])
    frame, _, rejected = fitting.accept(fitting.fit(chunk))
    assert (frame.height, rejected.height) == (2, 0)
    assert not [name for name in frame.columns if name.startswith("elements:")]
    child = make_children(stream)[0]
    assert isinstance(child, ChildModel)
    elements = fitting.children.columns["items"]
    found_columns = [Column("orders_id", "orders_id", INT64), ordinal_column(), *elements]
    rows = child.with_columns(found_columns, read_stored(stream, "items", elements)).function(orders=frame)
    assert rows.group_by("orders_id").agg(pl.len(), pl.col("n").sum()).sort("orders_id").rows() == [
        (1, 100_000, sum(range(100_000))),
        (2, 30_000, sum(range(30_000))),
    ]


def test_every_bson_value_is_the_same_in_the_child_as_in_a_stream() -> None:
    """The child reads elements from the parent's JSON; a stream of the same documents reads them from BSON."""
    values = [(field, value) for field, values in FIELDS.items() for value, _ in values]
    elements = [{"_id": row, "changed": MOMENT, field: value} for row, (field, value) in enumerate(values)]
    plain_stream = Stream("elements", "mongo:shop.elements", "_id", Incremental("changed"))
    alone = Decoder(plain_stream, ()).decode(b"".join(map(bson.encode, elements)))
    stream = Stream("orders", "mongo:shop.orders", "_id", Incremental("changed"), children=["items"])
    parents = [{"_id": one["_id"], "changed": MOMENT, "items": [one]} for one in elements]
    fitting = Fitting(stream, POSTGRES_DIALECT.limits, (), ["_id"])
    frame, *_ = fitting.accept(fitting.fit(Decoder(stream, ()).decode(b"".join(map(bson.encode, parents)))))
    found_columns = fitting.children.columns["items"]
    _, rows = read_stored(stream, "items", found_columns)(frame["items"].to_list())
    assert {column.path: column.type for column in alone.columns}.items() >= {
        column.path: column.type for column in found_columns
    }.items()
    both = alone.frame.join(rows.select("_id"), on="_id", how="semi").select(rows.columns)
    assert rows.height > len(values) / 2
    for name in rows.columns:
        assert rows[name].equals(both[name], null_equal=True), name


async def test_collections_without_arrays_have_an_empty_child(
    together: Together, orders: Orders, stream: Stream
) -> None:
    orders.insert_many([{"_id": 1, "changed": MOMENT}, order(2)])
    pipeline = shop(replace(stream, capture=Snapshot(), sweep=""))
    # Nobody knows the columns yet, so a plan shows no statement that makes a table without them.
    warehouse = together.engine.warehouse
    assert warehouse.plan(pipeline, pipeline.models[0], ()) == (["create table shop.orders_items"], [])
    await together.run(pipeline)
    orders.insert_one(order(3, {"n": 1}))
    await together.run(pipeline)
    assert found(together) == expected(orders)
    orders.delete_many({})
    await together.run(pipeline, read_request=ReadRequest(consent=Consent(allow_deletes=True)))
    assert found(together) == []
