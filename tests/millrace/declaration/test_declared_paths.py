"""Paths of a declaration are compared with what the source has: at once where it has columns, else after a read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from bson import ObjectId
from pymongo import MongoClient

from millrace import Append, Incremental, Queue, Snapshot, Stream
from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.base.types import DOCUMENT, INT64, TIMESTAMP_UTC, text
from millrace.drivers.mongo_client import open_client
from millrace.runs.choose import ReadRequest
from millrace.sources.chunk import Window
from millrace.sources.mongo import MongoSource
from tests.support.engine import Engine
from tests.support.queue_messages import collect, order

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
ITEMS = Stream("items", "postgres:public.items", "id", Incremental("changed", timedelta(0)))


class Misspelt(dy.Schema):
    emial = dy.String(nullable=True)


@pytest.fixture
def papers(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed", timedelta(0)))
        yield stream, client[mongo_database]["papers"]


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"types": {"emial": text(20)}}, "types names 'emial', and there is no such column"),
    ({"types": {"e_mail": text(20)}}, "choose from id, eMail, changed"),
    ({"rewritten": {"emial": pl.lit("x")}}, "rewritten names 'emial'.*choose from id, e_mail, changed"),
    ({"sorted_by": "chnaged"}, "sorted_by names 'chnaged'"),
    ({"contract": Misspelt}, "contract names 'emial'"),
]


@pytest.mark.parametrize(("declared", "told"), UNKNOWN)
async def test_an_unknown_column_of_a_table_is_refused_and_by_a_plan_as_well(
    engine: Engine, declared: dict[str, Any], told: str
) -> None:
    engine.source('CREATE TABLE items (id bigint PRIMARY KEY, "eMail" text, changed timestamptz)')
    for stream in (replace(ITEMS, **declared), replace(ITEMS, capture=Snapshot(), **declared)):
        with pytest.raises(SourceMissing, match=told):
            await engine.run(stream)
        with pytest.raises(SourceMissing, match=told):
            await engine.table_source(stream).plan(stream, (), Window())


@pytest.mark.parametrize(
    ("capture", "told"),
    [
        (Incremental("eMail"), "cursor 'eMail' is of type text"),
        (Incremental("price"), "cursor 'price' is of type decimal"),
        (Snapshot("day"), "cursor 'day' is of type date"),
        (Snapshot("id"), "cursor 'id' is of type int64"),
    ],
)
async def test_a_column_that_holds_no_moments_is_no_cursor_of_a_table(
    engine: Engine, capture: Incremental | Snapshot, told: str
) -> None:
    engine.source('CREATE TABLE items (id bigint PRIMARY KEY, "eMail" text, day date, price numeric(9, 2))')
    engine.source("INSERT INTO items VALUES (1, 'x', '2026-01-01', 1.5)")
    stream = replace(ITEMS, capture=capture)
    with pytest.raises(ConfigurationError, match=f"{told}.*use a timestamp"):
        await engine.run(stream)
    with pytest.raises(ConfigurationError, match=told):
        await engine.table_source(stream).plan(stream, (), Window())


async def test_declared_columns_that_the_table_has_are_accepted(engine: Engine) -> None:
    engine.source('CREATE TABLE items (id bigint PRIMARY KEY, "eMail" text, changed timestamptz)')
    engine.source("INSERT INTO items VALUES (1, 'Ann@x', now())")
    rewritten = {"e_mail": pl.col("e_mail").str.to_lowercase()}
    stream = replace(ITEMS, types={"eMail": text(20)}, rewritten=rewritten, sorted_by="changed")
    result = await engine.run(stream)
    assert result and result.warnings == ()
    assert engine.rows("items", "id", "e_mail") == [(1, "ann@x")]


@pytest.mark.parametrize(
    "value",
    [
        pl.col("e_mail").first(),
        pl.col("e_mail").shift(1),
        pl.len().over("e_mail").cast(pl.String),
        pl.col("nowhere"),
        pl.col("e_mail").cast(pl.Int64),
    ],
)
async def test_what_is_rewritten_is_computed_of_its_row_alone(engine: Engine, value: pl.Expr) -> None:
    engine.source('CREATE TABLE items (id bigint PRIMARY KEY, "eMail" text, changed timestamptz)')
    engine.source("INSERT INTO items VALUES (1, 'secret', now()), (2, 'secret', now())")
    with pytest.raises(ConfigurationError, match="rewritten") as raised:
        await engine.run(replace(ITEMS, rewritten={"e_mail": value}))
    assert "secret" not in str(raised.value)


MISSING: list[tuple[dict[str, Any], str]] = [
    ({"omitted": ["emial"]}, "'emial' (omitted)"),
    ({"omitted": ["who.emial"]}, "'who.emial' (omitted)"),
    ({"types": {"emial": text()}}, "'emial' (types)"),
    ({"rewritten": {"emial": pl.lit("x")}}, "'emial' (rewritten)"),
    ({"contract": Misspelt}, "'emial' (contract)"),
    ({"capture": Incremental("chnaged")}, "'chnaged' (cursor)"),
]


@pytest.mark.parametrize(("declared", "told"), MISSING)
async def test_a_field_that_no_document_has_is_told_by_each_read_of_everything(
    engine: Engine, papers: tuple[Stream, Any], declared: dict[str, Any], told: str
) -> None:
    stream, collection = papers
    collection.insert_one({"_id": 1, "email": "a", "who": {"email": "a"}, "changed": YESTERDAY})
    misspelt = replace(stream, **declared)
    for read_request in (ReadRequest(), ReadRequest("full"), ReadRequest("sweep")):
        result = await engine.run(misspelt, read_request)
        assert result and any(told in warning for warning in result.warnings), read_request
    collection.insert_one({"_id": 2, "changed": datetime.now(UTC)})
    result = await engine.run(misspelt)
    assert result and not any("misspelt" in warning for warning in result.warnings)


async def test_a_column_to_sort_by_that_no_document_has_is_told_also_where_the_table_is_there(
    engine: Engine, papers: tuple[Stream, Any]
) -> None:
    stream, collection = papers
    collection.insert_one({"_id": 1, "changed": YESTERDAY})
    await engine.run(stream)
    result = await engine.run(replace(stream, sorted_by="chnaged"), ReadRequest("full"))
    assert result and any("'chnaged' (sorted_by)" in warning for warning in result.warnings)


async def test_fields_that_a_document_has_are_not_told(engine: Engine, papers: tuple[Stream, Any]) -> None:
    stream, collection = papers
    declared = replace(
        stream,
        omitted=["email", "who.email", "who.address.zip"],
        types={"who.address": DOCUMENT, "n": INT64},
        sorted_by="changed",
    )
    collection.insert_one(
        {
            "_id": 1,
            "email": "a",
            "who": {"email": "a", "address": {"city": "x", "zip": 1}},
            "n": 1,
            "changed": YESTERDAY,
        }
    )
    collection.insert_one({"_id": 2, "changed": YESTERDAY})
    for read_request in (ReadRequest(), ReadRequest("full"), ReadRequest("sweep")):
        result = await engine.run(declared, read_request)
        assert result and result.warnings == ()


def test_a_type_of_a_field_below_what_is_opened_is_refused() -> None:
    types = {"a.b.c.d": text()}
    stream = Stream("papers", "mongo:shop.papers", "_id", Incremental("changed"), flatten_depth=3, types=types)
    with pytest.raises(ConfigurationError, match="lies deeper than flatten_depth=2"):
        replace(stream, flatten_depth=2)


async def test_a_table_is_not_made_without_the_column_it_is_sorted_by(
    engine: Engine, papers: tuple[Stream, Any]
) -> None:
    stream, collection = papers
    collection.insert_one({"_id": 1, "changed": YESTERDAY})
    with pytest.raises(ConfigurationError, match=r"sorted_by names 'chnaged'.*choose from _id, changed"):
        await engine.run(replace(stream, sorted_by="chnaged"))


@pytest.mark.parametrize(
    ("cursor", "told"),
    [
        ("by", "cursor 'by' is of type objectId"),
        ("n", "cursor 'n' is of type int"),
        ("who.at", "'who.at' is of type s"),
    ],
)
async def test_a_cursor_that_is_no_date_is_refused_in_one_line(
    engine: Engine, papers: tuple[Stream, Any], cursor: str, told: str
) -> None:
    stream, collection = papers
    undated = replace(stream, capture=Incremental(cursor))
    documents = [
        {"_id": ObjectId(), "by": ObjectId(), "n": number, "who": {"at": "2026-01-01"}} for number in range(20)
    ]
    collection.insert_many([*documents, {"_id": ObjectId(), "n": None}])
    for read_request in (ReadRequest(), ReadRequest("full")):
        with pytest.raises(ConfigurationError, match=f"{told}.*use a field of type date"):
            await engine.run(undated, read_request)
    client = open_client(engine.mongo_url)
    with pytest.raises(ConfigurationError, match=told):
        await MongoSource(client).plan(undated, (), Window())
    client.close()


async def test_a_cursor_that_is_a_date_in_one_document_is_taken(engine: Engine, papers: tuple[Stream, Any]) -> None:
    stream, collection = papers
    collection.insert_many([{"_id": 1, "changed": "yesterday"}, {"_id": 2, "changed": YESTERDAY}, {"_id": 3}])
    result = await engine.run(stream)
    assert result and (result.read, result.rejected) == (3, 1)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"omitted": ["emial"]}, "'emial' (omitted)"),
        ({"types": {"emial": text()}}, "'emial' (types)"),
        ({"types": {"who.emial": text()}}, "'who.emial' (types)"),
        ({"rewritten": {"emial": pl.lit("x")}}, "'emial' (rewritten)"),
        ({"contract": Misspelt}, "'emial' (contract)"),
        ({"capture": Queue(stamp="plcaed_at")}, "'plcaed_at' (cursor)"),
    ],
)
async def test_a_field_that_no_message_has_is_told_by_each_read_of_everything(
    engine: Engine, declared: dict[str, Any], told: str
) -> None:
    stream = replace(Stream("orders", "sqs/orders", "id", Queue(), load=Append()), **declared)
    collect(engine, order("a", email="a", who={"email": "a"}))
    for read_request in (ReadRequest(), ReadRequest("full")):
        result = await engine.run(stream, read_request)
        assert result and any(told in warning for warning in result.warnings), read_request
    collect(engine, order("b"))
    result = await engine.run(stream)
    assert result and not any("misspelt" in warning for warning in result.warnings)


async def test_a_table_of_messages_is_not_made_without_the_column_it_is_sorted_by(engine: Engine) -> None:
    collect(engine, order("a"))
    with pytest.raises(ConfigurationError, match=r"sorted_by names 'plcaed_at'.*choose from id, placed_at"):
        await engine.run(Stream("orders", "sqs/orders", "id", Queue(), load=Append(), sorted_by="plcaed_at"))


async def test_a_stamp_of_messages_without_a_declared_type_is_refused(engine: Engine) -> None:
    stream = Stream("orders", "sqs/orders", "id", Queue(stamp="placed_at"), load=Append())
    collect(engine, order("a"))
    with pytest.raises(ConfigurationError, match="stamp 'placed_at' is of type text"):
        await engine.run(stream)
    result = await engine.run(replace(stream, types={"placed_at": TIMESTAMP_UTC}))
    assert result and result.inserted == 1
