"""More fields than a table takes columns: the stream is refused by name, with what makes it narrower."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient

from millrace import Incremental, Merge, Queue, Snapshot, Stream
from millrace.base.errors import SchemaConflict
from millrace.base.types import DOCUMENT
from millrace.declaration.width import MAX_COLUMNS, refuse_fields_as_data
from millrace.runs.choose import ReadRequest
from tests.millrace.sources.test_shape_of_fields import YESTERDAY
from tests.support.engine import Engine
from tests.support.queue_messages import LATER, collect

ORDERS = Stream("orders", "sqs/orders", "id", Queue(), load=Merge(), max_new_columns=MAX_COLUMNS)
TOLD = r"stream orders \(sqs/orders\): .*different fields.*types=.*flatten_depth.*omitted"


def counted(first: int, fields: int) -> str:
    """A message with so many fields, none of which another one has."""
    return json.dumps({"id": str(first), "counts": {f"user{number}": 1 for number in range(first, first + fields)}})


async def test_as_many_columns_as_a_table_takes_are_loaded_and_one_more_is_refused(either: Engine) -> None:
    fields = MAX_COLUMNS - len(["id"])
    collect(either, *(counted(first, min(100, fields - first)) for first in range(0, fields, 100)))
    await either.run(ORDERS)
    [(columns,)] = either.query(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'engine' AND table_name = 'orders'"
    )
    assert columns >= MAX_COLUMNS
    before = either.query("SELECT count(*) FROM engine.orders")
    collect(either, counted(5_000, 1), at=LATER)
    with pytest.raises(SchemaConflict, match=TOLD) as raised:
        await either.run(ORDERS)
    assert "'counts'" in raised.value.problem
    assert either.query("SELECT count(*) FROM engine.orders") == before


async def test_ever_new_fields_are_refused_before_they_fill_the_memory(engine: Engine) -> None:
    collect(engine, *(counted(first * 10, 10) for first in range(5_000)))
    with pytest.raises(SchemaConflict, match=TOLD):
        await engine.run(ORDERS)
    result = await engine.run(replace(ORDERS, types={"counts": DOCUMENT}))
    assert result and result.inserted == 5_000


async def test_fields_that_are_data_are_refused_before_they_become_columns(engine: Engine, mongo_database: str) -> None:
    """The document is named, also where it lies in another one. Fields at the first level have no such limit."""
    papers = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed"), max_new_columns=20)
    wide = {f"f{number}": 1 for number in range(30)}
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        collection = client[mongo_database]["papers"]
        collection.insert_many(
            [{"_id": n, "changed": YESTERDAY, "by": {"day": {f"d{n}": 1}}, **wide} for n in range(20)]
        )
        assert await engine.run(papers)
        collection.insert_many([{"_id": n, "changed": YESTERDAY, "by": {"day": {f"d{n}": 1}}} for n in range(20, 40)])
        assert await engine.run(papers, ReadRequest("full"))
        collection.insert_many([{"_id": n, "changed": YESTERDAY, "by": {"day": {f"d{n}": 1}}} for n in range(40, 61)])
        told = r"'by\.day' would become 21 new columns or more, and 20 are allowed.*types={'by\.day': DOCUMENT}"
        for mode in ("full", "sweep"):
            with pytest.raises(SchemaConflict, match=told):
                await engine.run(papers, ReadRequest(mode))
        assert await engine.run(replace(papers, max_new_columns=21), ReadRequest("full"))
        whole = replace(papers, name="whole", types={"by": DOCUMENT})
        result = await engine.run(whole, ReadRequest("full"))
    assert result and result.inserted == 61


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        ([f"stats.d{n}.{field}" for n in range(6) for field in ("views", "clicks")], "'stats' would become 12"),
        ([f"by.shop\\.x.n{n}" for n in range(11)] + ["by.other"], "'by.shop.x' would become 11"),
        ([f"d{n}.views" for n in range(20)], None),
        ([f"stats.d{n}.views" for n in range(10)], None),
    ],
    ids=["documents by a name that is data", "the innermost", "the first level", "as many as are allowed"],
)
def test_new_columns_count_for_every_document_around_them(paths: list[str], named: str | None) -> None:
    stream = Stream("papers", "mongo:shop.papers", "_id", Incremental("changed"), max_new_columns=10)
    if named is None:
        refuse_fields_as_data(stream, paths)
        return
    with pytest.raises(SchemaConflict) as raised:
        refuse_fields_as_data(stream, paths)
    assert named in raised.value.problem.replace("\\", "")


@pytest.mark.parametrize("narrower", [{"flatten_depth": 0}, {"omitted": ["counts"]}], ids=str)
async def test_what_the_message_says_helps(engine: Engine, narrower: dict[str, Any]) -> None:
    collect(engine, *(counted(first, 100) for first in range(0, 2_000, 100)))
    with pytest.raises(SchemaConflict, match=TOLD):
        await engine.run(ORDERS)
    result = await engine.run(replace(ORDERS, **narrower))
    assert result and result.inserted == 20


async def test_documents_and_wide_tables_are_refused_too(engine: Engine, mongo_database: str) -> None:
    papers = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed"))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        rows = [{"_id": n, "changed": YESTERDAY, **{f"f{n}_{i}": 1 for i in range(100)}} for n in range(20)]
        client[mongo_database]["papers"].insert_many(rows)
    with pytest.raises(SchemaConflict, match=r"stream papers .*omitted"):
        await engine.run(papers)
    columns = ", ".join(f"c{number} bool" for number in range(MAX_COLUMNS))
    engine.source(f"CREATE TABLE wide (id int PRIMARY KEY, {columns}); INSERT INTO wide VALUES (1)")
    with pytest.raises(SchemaConflict, match=r"stream wide .*read a view"):
        await engine.run(Stream("wide", "postgres:public.wide", "id", Snapshot()), ReadRequest("full"))


async def test_columns_that_were_dropped_count_and_the_error_names_the_stream(postgres_engine: Engine) -> None:
    """Postgres never gives their numbers back."""
    collect(postgres_engine, '{"id": "a"}')
    await postgres_engine.run(ORDERS)
    for first in range(0, 1_590, 265):
        names = [f"c{number}" for number in range(first, first + 265)]
        added, dropped = (", ".join(f"{verb} COLUMN {one}" for one in names) for verb in ("ADD", "DROP"))
        postgres_engine.query(f"ALTER TABLE engine.orders {added.replace(',', ' int,')} int")
        postgres_engine.query(f"ALTER TABLE engine.orders {dropped}")
    collect(postgres_engine, json.dumps({"id": "b", **{f"f{number}": 1 for number in range(20)}}), at=LATER)
    with pytest.raises(
        SchemaConflict,
        match=r"stream engine.orders \(sqs/orders\): .*at most 1600 columns.*flatten_depth",
    ):
        await postgres_engine.run(ORDERS)
