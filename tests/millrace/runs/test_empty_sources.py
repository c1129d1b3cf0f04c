"""An empty source makes an empty target, with its columns, which is loaded on from there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from pymongo import MongoClient

from millrace import Append, Incremental, Merge, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.declaration.load_mode_base import LoadMode
from tests.support.engine import PIPELINE, Engine, Together
from tests.support.notes import NOTES, create_notes


def columns(engine: Engine, table: str) -> list[str]:
    found = engine.query(
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_schema = '{PIPELINE}' AND table_name = '{table}' ORDER BY ordinal_position"
    )
    return [name for (name,) in found]


@pytest.mark.both_warehouses
@pytest.mark.parametrize(
    "load", [Merge(), Append(), Scd2("version", effective_from="changed")], ids=["merge", "append", "scd2"]
)
async def test_an_empty_table_of_postgres(either: Engine, load: LoadMode) -> None:
    stream = Stream("notes", "postgres:public.notes", "id", Incremental("changed"), load=load, sweep="daily")
    either.source('CREATE TABLE notes (id int PRIMARY KEY, "The Body" text, changed timestamptz)')
    result = await either.run(stream)
    assert result is not None
    assert (result.read, result.changes) == (0, (f"create table {PIPELINE}.notes",))
    assert {"id", "the_body", "changed", "_row_hash"} <= {*columns(either, "notes")}
    assert either.rows("notes") == []
    assert await either.run(stream) is None, "it is there, and nothing is new"
    either.source("INSERT INTO notes VALUES (1, 'one', clock_timestamp())")
    result = await either.run(stream)
    assert result is not None
    assert (result.inserted, result.changes, result.warnings) == (1, (), ())
    assert either.rows("notes", "id", "the_body") == [(1, "one")]


async def test_an_empty_table_of_mysql(either: Engine, mysql_shop: Engine) -> None:
    either.mysql_url = mysql_shop.mysql_url
    database = mysql_shop.mysql_url.rpartition("/")[2]
    either.mysql(
        "DROP TABLE IF EXISTS empty_notes",
        "CREATE TABLE empty_notes (id int PRIMARY KEY, body text, changed timestamp(6) NULL)",
    )
    stream = Stream("notes", f"mysql:{database}.empty_notes", "id", Incremental("changed"))
    result = await either.run(stream)
    assert result is not None
    assert {"id", "body", "changed"} <= {*columns(either, "notes")}
    assert await either.run(stream) is None


class Papers(dy.Schema):
    _id = dy.String(nullable=False)
    title = dy.String()


async def test_an_empty_collection_has_the_columns_of_its_contract_and_no_target_without(
    either: Engine, mongo_database: str
) -> None:
    declared: dict[str, Any] = {
        "source": f"mongo:{mongo_database}.papers",
        "key": "_id",
        "capture": Incremental("changed"),
    }
    with MongoClient[dict[str, object]](either.mongo_url) as client:
        client[mongo_database].create_collection("papers")
    assert await either.run(Stream("papers", **declared)) is None, "nobody knows its fields"
    assert columns(either, "papers") == []
    stream = Stream("papers", **declared, contract=Papers)
    result = await either.run(stream)
    assert result is not None
    assert {"_id", "title"} <= {*columns(either, "papers")}
    with MongoClient[dict[str, object]](either.mongo_url) as client:
        client[mongo_database]["papers"].insert_one({"_id": "a", "title": "first", "changed": datetime.now(UTC)})
    result = await either.run(stream)
    assert result is not None
    assert (result.inserted, either.rows("papers", "_id", "title")) == (1, [("a", "first")])


class Users(dy.Schema):
    user_no = dy.Int64(nullable=False)
    updated_at = dy.Datetime(time_unit="us", time_zone="UTC")
    user_name = dy.String(nullable=True)


def users(mongo_database: str) -> Stream:
    return Stream("users", f"mongo:{mongo_database}.users", "userNo", Incremental("updatedAt"), contract=Users)


async def test_the_first_fields_of_a_collection_fill_the_columns_that_its_contract_made(
    either: Engine, mongo_database: str
) -> None:
    stream = users(mongo_database)
    with MongoClient[dict[str, object]](either.mongo_url) as client:
        collection = client[mongo_database].create_collection("users")
        await either.run(stream)
        made = columns(either, "users")
        collection.insert_one({"_id": "a", "userNo": 1, "userName": "Ada", "updatedAt": datetime.now(UTC)})
        result = await either.run(stream)
        assert result is not None
        assert (result.inserted, result.rejected) == (1, 0)
        assert either.rows("users", "user_no", "user_name") == [(1, "Ada")]
        assert {*columns(either, "users")} - {*made} == {"_id"}
        collection.insert_one({"_id": "b", "userNo": 2, "user_name": "rival", "updatedAt": datetime.now(UTC)})
        await either.run(stream)
    assert either.rows("users", "user_no", "user_name", order="1") == [(1, "Ada"), (2, None)]
    paths = dict(either.query("SELECT path, name FROM millrace.columns"))
    assert (paths["userName"], paths["userNo"]) == ("user_name", "user_no")
    assert paths["user_name"] not in {"user_name", ""}


async def test_a_target_that_an_earlier_version_made_of_a_contract_is_filled_by_the_first_fields(
    either: Engine, mongo_database: str
) -> None:
    """Version 5 of the ledger recorded the names of the contract as paths."""
    stream = users(mongo_database)
    with MongoClient[dict[str, object]](either.mongo_url) as client:
        collection = client[mongo_database].create_collection("users")
        await either.run(stream)
        either.query("UPDATE millrace.columns SET path = name")
        either.query("DELETE FROM millrace.version")
        either.query("INSERT INTO millrace.version VALUES (5, '2026-01-01+00')")
        collection.insert_one({"_id": "a", "userNo": 1, "userName": "Ada", "updatedAt": datetime.now(UTC)})
        await either.run(stream)
    assert either.rows("users", "user_no", "user_name") == [(1, "Ada")]


async def test_a_backfill_of_nothing_makes_no_target(engine: Engine) -> None:
    create_notes(engine, 1)
    engine.source("DELETE FROM notes")
    assert await engine.deliver(NOTES, upper="2020-01-01T00:00:00+00:00") is None
    assert columns(engine, "notes") == []


async def test_a_target_that_was_dropped_by_hand_is_loaded_again_also_if_the_source_is_empty(either: Engine) -> None:
    create_notes(either, 2)
    await either.run(NOTES)
    either.query(f"DROP TABLE {PIPELINE}.notes")
    await either.run(NOTES)
    assert either.rows("notes", "id") == [(1,), (2,)]
    either.query(f"DROP TABLE {PIPELINE}.notes")
    either.source("DELETE FROM notes")
    await either.run(NOTES)
    assert either.rows("notes", "id") == []
    assert await either.run(NOTES) is None


class Doubled(dy.Schema):
    id = dy.Int32(nullable=False)


def doubled(notes: pl.DataFrame) -> pl.DataFrame:
    return notes.select("id")


@pytest.mark.parametrize("landing", ["parquet", "csv"])
async def test_streams_that_are_committed_together(together: Together, landing: Any) -> None:
    engine = together.engine
    create_notes(engine, 0)
    pipeline = Pipeline(PIPELINE, [NOTES], models=[Model(doubled, Doubled, "id")], landing=landing)
    await together.run(pipeline)
    assert {"id", "body", "changed"} <= {*columns(engine, "notes")}
    assert await together.run(pipeline) == {}
    engine.source("INSERT INTO notes VALUES (1, 'one', clock_timestamp())")
    results = await together.run(pipeline)
    assert {name: one.inserted for name, one in results.items()} == {"notes": 1, "doubled": 1}


async def test_a_declaration_that_does_not_fit_an_empty_table_is_refused(engine: Engine) -> None:
    create_notes(engine, 0)
    stream = Stream("notes", "postgres:public.notes", "absent", Snapshot())
    with pytest.raises(ConfigurationError, match="there is no column 'absent'"):
        await engine.run(stream)
