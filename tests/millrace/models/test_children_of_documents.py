"""Arrays of documents fill tables of their own: replaced with their parent, deleted with it, rejected with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from millrace import (
    DOCUMENT,
    Append,
    Child,
    Hash,
    Incremental,
    Model,
    Partial,
    Pipeline,
    Queue,
    Redact,
    Replace,
    Snapshot,
    Stream,
    text,
)
from millrace.base.errors import ConfigurationError
from millrace.base.types import INT64
from millrace.declaration.consent import Consent
from millrace.runs.choose import ReadRequest
from tests.support.engine import PIPELINE, Together, counts
from tests.support.queue_messages import LATER, NOON, collect

Orders = Collection[dict[str, Any]]
SWEEP = ReadRequest("sweep")
DELETE_ALL = Consent(allow_deletes=True)


class Item(dy.Schema):
    """An item of an order."""

    sku = dy.String(nullable=False)
    qty = dy.Int32(nullable=True, min=1)
    price_amount = dy.Decimal(9, 2, nullable=True)
    at = dy.Datetime(time_unit="us", time_zone="UTC", nullable=True)


class Weighed(dy.Schema):
    """Columns of further types."""

    weight = dy.Float64(nullable=True)
    is_gift = dy.Bool(nullable=True)
    day = dy.Date(nullable=True)


@pytest.fixture
def orders(together: Together, mongo_database: str) -> Iterator[Orders]:
    with MongoClient[dict[str, Any]](together.engine.mongo_url) as client:
        yield client[mongo_database]["orders"]


@pytest.fixture
def stream(mongo_database: str) -> Stream:
    return Stream(
        "orders",
        f"mongo:{mongo_database}.orders",
        "_id",
        Incremental("changed"),
        types={"_id": INT64},
        children={"items": Child(Item)},
        sweep="0 0 1 1 *",
    )


def shop(stream: Stream, **options: Any) -> Pipeline:
    return Pipeline("shop", streams=[stream], **options)


def item(sku: str, qty: Any = 1, **more: Any) -> dict[str, Any]:
    return {"sku": sku, "qty": qty, **more}


def order(number: int, *items: Any, **more: Any) -> dict[str, Any]:
    return {"_id": number, "items": list(items), "changed": datetime.now(UTC), **more}


def found(together: Together, table: str = "orders_items", where: str = "true") -> list[tuple[Any, ...]]:
    query = f"SELECT orders_id, ordinal, sku, qty FROM shop.{table} WHERE {where} ORDER BY 1, 2"
    return together.engine.query(query)


async def test_elements_fill_a_table_in_the_types_of_their_schema(
    together: Together, orders: Orders, stream: Stream
) -> None:
    moment = datetime(2026, 1, 5, 10, 30, 0, 123_000, tzinfo=UTC)
    orders.insert_many(
        [
            order(1, item("a", 2, price={"amount": "1.50"}, at=moment), item("b", None, note="not in the schema")),
            order(2),
            {"_id": 3, "changed": moment},
            {"_id": 4, "items": None, "changed": moment},
        ]
    )
    results = await together.run(shop(stream))
    assert counts(results["orders"]) == {"read": 4, "inserted": 4}
    assert counts(results["orders_items"]) == {"read": 2, "inserted": 2}
    rows = together.engine.query(
        "SELECT orders_id, ordinal, sku, qty, price_amount, at FROM shop.orders_items ORDER BY 2"
    )
    assert rows == [(1, 0, "a", 2, Decimal("1.50"), moment), (1, 1, "b", None, None, None)]
    assert results["orders"].target == "shop.orders"
    assert results["orders_items"].target == "shop.orders_items"


@pytest.mark.parametrize("deletes", ["hard", "soft"])
async def test_children_are_replaced_as_a_whole_and_leave_with_their_parent(
    together: Together, orders: Orders, stream: Stream, deletes: Any
) -> None:
    pipeline = shop(replace(stream, deletes=deletes))
    live = '"_deleted_at" IS NULL' if deletes == "soft" else "true"
    orders.insert_many([order(1, item("a"), item("b"), item("c")), order(2, item("d")), order(3, item("e"))])
    await together.run(pipeline)
    orders.replace_one({"_id": 1}, order(1, item("a"), item("x")))
    orders.replace_one({"_id": 3}, order(3, item("e"), item("f")))
    results = await together.run(pipeline)
    assert counts(results["orders_items"]) == {"read": 6, "inserted": 1, "updated": 1, "deleted": 1, "unchanged": 3}
    expected = [(1, 0, "a", 1), (1, 1, "x", 1), (2, 0, "d", 1), (3, 0, "e", 1), (3, 1, "f", 1)]
    assert found(together, where=live) == expected
    orders.replace_one({"_id": 3}, order(3))
    orders.delete_one({"_id": 1})
    results = await together.run(pipeline, read_request=SWEEP)
    assert results["orders"].deleted == 1
    assert found(together, where=live) == [(2, 0, "d", 1)]
    assert len(found(together)) == (1 if deletes == "hard" else 6)


async def test_a_snapshot_replaces_and_deletes_children(together: Together, orders: Orders, stream: Stream) -> None:
    pipeline = shop(replace(stream, capture=Snapshot(), sweep=""))
    orders.insert_many([order(1, item("a"), item("b")), order(2, item("c"))])
    await together.run(pipeline)
    orders.replace_one({"_id": 1}, order(1, item("z")))
    orders.delete_one({"_id": 2})
    await together.run(pipeline)
    assert found(together) == [(1, 0, "z", 1)]


WRONG: dict[str, tuple[Any, str, str]] = {
    "no array": ("a text", "type_mismatch", "items"),
    "a document": ({"sku": "a"}, "type_mismatch", "items"),
    "no document": ([item("a"), 5], "type_mismatch", "items[]"),
    "null": ([None], "type_mismatch", "items[]"),
    "an array in an array": ([[item("a")]], "type_mismatch", "items[]"),
    "another type": ([item("a", "two")], "type_mismatch", "items.qty"),
    "a document for a number": ([item("a", {"n": 1})], "type_mismatch", "items.qty"),
    "a fraction": ([item("a", 1.5)], "type_mismatch", "items.qty"),
    "too large": ([item("a", 2**31)], "number_does_not_fit", "items.qty"),
    "too many decimals": ([item("a", price={"amount": 1.005})], "number_does_not_fit", "items.price.amount"),
    "not a number": ([item("a", price={"amount": "NaN"})], "number_does_not_fit", "items.price.amount"),
    "a great exponent": ([item("a", 1e300)], "number_does_not_fit", "items.qty"),
    "no moment": ([item("a", at="soon")], "type_mismatch", "items.at"),
    "a rule": ([item("a"), item("b", 0)], "contract_min", "items.qty"),
    "no value": ([{"qty": 1}], "contract_nullability", "items.sku"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_array_rejects_its_parent_and_touches_no_child(
    together: Together, orders: Orders, stream: Stream, wrong: str
) -> None:
    items, reason, field = WRONG[wrong]
    pipeline = shop(stream)
    orders.insert_many([order(1, item("a"), item("b")), order(2, item("c"))])
    await together.run(pipeline)
    orders.update_one({"_id": 1}, {"$set": {"items": items, "changed": datetime.now(UTC)}})
    orders.replace_one({"_id": 2}, order(2, item("d")))
    batches = await together.read(pipeline)
    assert [(one["reason"], one["field"]) for one in together.engine.rejects(batches[0])] == [(reason, field)]
    results = together.load(pipeline, together.transform(pipeline, batches))
    assert counts(results["orders"]) == {"read": 2, "updated": 1, "rejected": 1}
    assert found(together) == [(1, 0, "a", 1), (1, 1, "b", 1), (2, 0, "d", 1)]
    orders.replace_one({"_id": 1}, {**order(1, item("e")), "changed": datetime(2020, 1, 1, tzinfo=UTC)})
    await together.run(pipeline, read_request=ReadRequest("replay"))
    assert found(together) == [(1, 0, "e", 1), (2, 0, "d", 1)]


async def test_a_rejected_parent_keeps_its_children_in_a_snapshot(
    together: Together, orders: Orders, stream: Stream
) -> None:
    pipeline = shop(replace(stream, capture=Snapshot(), sweep=""))
    orders.insert_many([order(1, item("a"), item("b")), order(2, item("c"))])
    await together.run(pipeline)
    orders.replace_one({"_id": 1}, order(1, item("a", "wrong")))
    orders.replace_one({"_id": 2}, order(2))
    await together.run(pipeline)
    assert found(together) == [(1, 0, "a", 1), (1, 1, "b", 1)]


async def test_several_children_with_other_names_and_types(together: Together, orders: Orders, stream: Stream) -> None:
    declared = replace(stream, children={"items": Child(Item, target="order_lines"), "cart.weights": Child(Weighed)})
    parcel = {"weight": 2, "isGift": True, "day": datetime(2026, 1, 5, tzinfo=UTC)}
    weights = [parcel | {"day": "2026-01-05"}, {"weight": 0.1}]
    orders.insert_one(order(1, item("a"), cart={"weights": weights, "n": 1}))
    await together.run(shop(declared))
    assert found(together, "order_lines") == [(1, 0, "a", 1)]
    rows = together.engine.query(
        "SELECT orders_id, weight, is_gift, day FROM shop.orders_cart_weights ORDER BY ordinal"
    )
    assert rows == [(1, 2.0, True, datetime(2026, 1, 5, tzinfo=UTC).date()), (1, 0.1, None, None)]


async def test_masks_and_omitted_fields_hold_for_children(together: Together, orders: Orders, stream: Stream) -> None:
    masks = {"items.sku": Partial(2), "items.qty": Redact()}
    pipeline = shop(replace(stream, mask=masks, omitted=["items.at"]))
    orders.insert_one(order(1, item("secret", 7, at="no moment, and nobody sees it")))
    await together.run(pipeline)
    assert found(together) == [(1, 0, "****", None)]
    assert "secret" not in str(together.engine.query("SELECT * FROM shop.orders"))


async def test_a_child_that_is_declared_later_is_filled_with_all_rows(
    together: Together, orders: Orders, stream: Stream
) -> None:
    orders.insert_many([order(1, item("a")), order(2, item("b"))])
    orders.update_many({}, {"$set": {"changed": datetime.now(UTC) - timedelta(days=1)}})
    await together.run(shop(replace(stream, children={}, types={"_id": INT64, "items": DOCUMENT})))
    await together.run(shop(stream))
    assert found(together) == [(1, 0, "a", 1), (2, 0, "b", 1)]


def counted(orders_items: pl.DataFrame) -> pl.DataFrame:
    """A model of a child."""
    return orders_items.select("orders_id", "ordinal", pl.col("qty").fill_null(0).alias("pieces"))


class Counted(dy.Schema):
    """Pieces of an item."""

    orders_id = dy.Int64(nullable=False)
    ordinal = dy.Int32(nullable=False)
    pieces = dy.Int32(nullable=False)


async def test_a_text_that_is_too_long_rejects_the_parent(
    on_redshift: Together, mongo_database: str, stream: Stream
) -> None:
    with MongoClient[dict[str, Any]](on_redshift.engine.mongo_url) as client:
        collection = client[mongo_database]["orders"]
        collection.insert_many([order(1, item("a"), item("x" * 70_000)), order(2, item("b"))])
        batches = await on_redshift.read(shop(stream))
    rejects = on_redshift.engine.rejects(batches[0])
    assert [(one["reason"], one["field"]) for one in rejects] == [("too_long", "items")]


async def test_messages_have_children_too(together: Together) -> None:
    stream = Stream(
        "orders", "sqs/orders", "orderId", Queue(), types={"orderId": text()}, children={"items": Child(Item)}
    )
    first = {"orderId": "o1", "items": [item("a", price={"amount": 2.5}), item("b")]}
    for at, message in ((NOON, first), (LATER, {"orderId": "o1", "items": [item("c")]})):
        collect(together.engine, json.dumps(message), at=at)
        await together.run(Pipeline(PIPELINE, streams=[stream]))
    rows = together.engine.query("SELECT orders_order_id, ordinal, sku FROM engine.orders_items")
    assert rows == [("o1", 0, "c")]


async def test_a_model_takes_a_child_as_its_input(together: Together, orders: Orders, stream: Stream) -> None:
    keyed = Model(counted, Counted, key=["orders_id", "ordinal"], root_key={"orders_id": "_id"}, deletes="hard")
    pipeline = shop(stream, models=[keyed])
    orders.insert_one(order(1, item("a", 5), item("b", None)))
    await together.run(pipeline)
    assert together.engine.query("SELECT ordinal, pieces FROM shop.counted ORDER BY 1") == [(0, 5), (1, 0)]


async def test_random_histories_end_where_the_collection_is(together: Together, orders: Orders, stream: Stream) -> None:
    """Documents with up to four items are inserted, changed, spoiled and deleted; the oracle is plain Python."""
    random = Random(11)  # noqa: S311
    pipeline = shop(stream)
    current: dict[int, list[dict[str, Any]]] = {}
    orders.insert_one(order(0, item("first")))
    current[0] = [item("first")]
    for _ in range(12):
        for _ in range(random.randrange(1, 6)):
            number = random.randrange(8)
            items = [item(random.choice("abc"), random.choice([None, 1, 2])) for _ in range(random.randrange(5))]
            if random.random() < 0.25:
                orders.delete_one({"_id": number})
                current.pop(number, None)
            else:
                orders.replace_one({"_id": number}, order(number, *items), upsert=True)
                current[number] = items
        kind: Any = random.choice(["incremental", "sweep", "full"])
        await together.run(pipeline, read_request=ReadRequest(kind, consent=DELETE_ALL))
    await together.run(pipeline, read_request=ReadRequest("sweep", consent=DELETE_ALL))
    expected = [
        (number, ordinal, one["sku"], one["qty"])
        for number in sorted(current)
        for ordinal, one in enumerate(current[number])
    ]
    assert found(together) == expected


class Nested(dy.Schema):
    """With an array in an element."""

    lines = dy.List(dy.String())


class Ordinal(dy.Schema):
    """With a column of Millrace's."""

    ordinal = dy.Int32()


class Rounded(dy.Schema):
    """With a type that would round moments."""

    at = dy.Datetime(time_unit="ms")


REFUSED: dict[str, tuple[Mapping[str, Any], str]] = {
    "nested": ({"children": {"items": Child(Nested)}}, "column 'lines' of children['items'] is nested"),
    "milliseconds": ({"children": {"items": Child(Rounded)}}, "column 'at' of children['items'] is of type"),
    "ordinal": ({"children": {"items": Child(Ordinal)}}, "a column 'ordinal', which Millrace adds"),
    "no type of the key": ({"types": {}}, "the type of key '_id' is not declared"),
    "ignore": ({"deletes": "ignore"}, "deletes='ignore' keeps them"),
    "append": ({"load": Append()}, "Append does not hold one row per key"),
    "replace": ({"load": Replace(), "capture": Snapshot(), "sweep": ""}, "Replace does not hold one row per key"),
    "masked number": ({"mask": {"items.qty": Hash()}}, "'items.qty' is masked as text"),
    "table": ({"source": "postgres:shop.orders", "where": ""}, "children are of documents"),
    "type of a field": ({"types": {"_id": INT64, "items.qty": INT64}}, "field 'items.qty' lies in 'items'"),
    "other type": ({"types": {"_id": INT64, "items": text()}}, "declared as text"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_a_child_cannot_be_is_refused_with_a_remedy(mongo_database: str, refused: str) -> None:
    options, told = REFUSED[refused]
    declared: dict[str, Any] = {"types": {"_id": INT64}, "children": {"items": Child(Item)}}
    with pytest.raises(ConfigurationError) as caught:
        Stream(
            **{
                "name": "orders",
                "source": f"mongo:{mongo_database}.orders",
                "key": "_id",
                "capture": Incremental("changed"),
                **declared,
                **options,
            }
        )
    assert told in caught.value.problem
    assert caught.value.remedy
