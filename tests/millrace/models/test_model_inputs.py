"""What a model is given: each of its inputs whole but for the one that changes, and of a snapshot also the rows that
were not let in, as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from pymongo import MongoClient

from millrace import History, Incremental, Merge, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError, KeyViolation
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import ReadRequest
from tests.support.engine import Together
from tests.support.shop import NO_OVERLAP

LEFT = Stream("left", "postgres:public.left", "id", Snapshot())
RIGHT = Stream("right", "postgres:public.right", "id", Snapshot())
CHANGES = Incremental("changed", overlap=NO_OVERLAP)


class Side(dy.Schema):
    """A row of either."""

    id = dy.Int32(nullable=False)
    v = dy.String(nullable=True)


class Joined(dy.Schema):
    """A row of both."""

    id = dy.Int32(nullable=False)
    v = dy.String(nullable=True)
    w = dy.String(nullable=True)


class Good(dy.Schema):
    """A value that is not bad."""

    id = dy.Int32(nullable=False)
    v = dy.String(nullable=True, check=lambda value: value != "bad")


def m1(left: pl.DataFrame) -> pl.DataFrame:
    return left.select("id", "v")


def m2(right: pl.DataFrame) -> pl.DataFrame:
    return right.select("id", "v")


def inner(m1: pl.DataFrame, m2: pl.DataFrame) -> pl.DataFrame:
    return m1.join(m2.rename({"v": "w"}), on="id")


def outer(m1: pl.DataFrame, m2: pl.DataFrame) -> pl.DataFrame:
    return m1.join(m2.rename({"v": "w"}), on="id", how="left")


def both(m1: pl.DataFrame, m2: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([m1, m2])


def looked_up(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    return left.join(right.select("id", w="v"), on="id", how="left").select("id", "v", "w")


def by_way_of_a_model(m1: pl.DataFrame, m2: pl.DataFrame) -> pl.DataFrame:
    """Of one that changes and one that is whole."""
    return m1.join(m2.rename({"v": "w"}), on="id", how="left")


M1, M2 = Model(m1, Side, "id"), Model(m2, Side, "id")


def fill(together: Together) -> None:
    for table in ("left", "right"):
        together.engine.source(
            f'CREATE TABLE "{table}" (id int PRIMARY KEY, v text, changed timestamptz DEFAULT clock_timestamp()); '
            f"INSERT INTO \"{table}\" VALUES (1, '{table} a'), (2, '{table} b')"
        )


def pipeline(*models: Model, left: Stream = LEFT, right: Stream = RIGHT) -> Pipeline:
    return Pipeline("sides", [left, right], schema="sides_source", models=models)


def there(together: Together, model: str, where: str = '"_deleted_at" IS NULL') -> list[tuple[Any, ...]]:
    return together.engine.query(f"SELECT id, v, w FROM sides.{model} WHERE {where} ORDER BY id")


@pytest.mark.parametrize("function", [inner, outer])
async def test_a_model_of_two_models_is_given_both_whole(
    on_redshift: Together, function: Callable[..., pl.DataFrame]
) -> None:
    fill(on_redshift)
    own = pipeline(M1, M2, Model(function, Joined, "id"))
    await on_redshift.run(own)
    rows = [(1, "left a", "right a"), (2, "left b", "right b")]
    assert there(on_redshift, function.__name__) == rows
    on_redshift.engine.source("UPDATE \"right\" SET v = 'new' WHERE id = 1")
    assert (await on_redshift.run(own))[function.__name__].updated == 1
    assert there(on_redshift, function.__name__) == [(1, "left a", "new"), rows[1]]


async def test_a_model_that_changes_looks_up_whole_models(on_redshift: Together) -> None:
    """Also where a chunk holds no row that the other has, and one that is computed from a snapshot beside it."""
    fill(on_redshift)
    own = pipeline(M1, M2, Model(by_way_of_a_model, Joined, "id"), left=replace(LEFT, capture=CHANGES))
    await on_redshift.run(own)
    on_redshift.engine.source("INSERT INTO \"left\" VALUES (3, 'c'); UPDATE \"left\" SET v = 'b', changed = now()")
    await on_redshift.run(own)
    assert there(on_redshift, "by_way_of_a_model") == [(1, "b", "right a"), (2, "b", "right b"), (3, "b", None)]


CHANGING = {"left": replace(LEFT, capture=CHANGES), "right": replace(RIGHT, capture=CHANGES)}


@pytest.mark.parametrize(
    ("declared", "because"),
    [
        ({}, "the changes of left and right, which do not change together.*union=True"),
        ({"union": True}, "it declares union, so it is not known from which input a row came.*deletes='ignore'"),
        (
            {"union": True, "deletes": "ignore", "root_key": {"id": "id"}},
            "it declares root_key, which is for models that are computed from the changes of exactly one stream",
        ),
    ],
)
def test_a_model_of_two_models_that_change_apart_is_refused(declared: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        pipeline(M1, M2, Model(inner, Joined, "id", **declared), **CHANGING)


async def test_a_union_is_given_the_rows_of_one_input_at_a_time(on_redshift: Together) -> None:
    fill(on_redshift)
    own = pipeline(M1, M2, Model(both, Side, ("id", "v"), deletes="ignore", union=True), **CHANGING)
    await on_redshift.run(own)
    on_redshift.engine.source("INSERT INTO \"right\" VALUES (9, 'i')")
    assert (await on_redshift.run(own))["both"].inserted == 1
    assert on_redshift.engine.query("SELECT count(*) FROM sides.both") == [(5,)]


LOADS: dict[str, tuple[LoadMode, str]] = {
    "merge": (Merge(), '"_deleted_at" IS NULL'),
    "scd2": (Scd2("k"), "is_current"),
    "history": (
        History("r"),
        '"_version" = (SELECT max("_version") FROM sides.looked_up AS o WHERE o.id = looked_up.id)',
    ),
}


@pytest.mark.parametrize(
    ("either", "load", "declared"),
    [
        *(("redshift", load, {}) for load in LOADS),
        *(("postgres", load, {"deletes": "soft"}) for load in LOADS),
    ],
    indirect=["either"],
)
async def test_a_row_of_a_lookup_that_is_rejected_changes_no_other_row(
    together: Together, load: str, declared: dict[str, Any]
) -> None:
    """Its former version is used until it is right again; a row that left the source before stays gone."""
    mode, where = LOADS[load]
    fill(together)
    right = replace(RIGHT, contract=Good, **declared)
    own = pipeline(Model(looked_up, Joined, "id", load=mode), right=right)
    own = replace(own, landing="csv" if declared else "parquet")
    together.engine.source("INSERT INTO \"left\" VALUES (3, 'c'); INSERT INTO \"right\" VALUES (3, 'gone'), (4, 'd')")
    await together.run(own)
    together.engine.source('DELETE FROM "right" WHERE id = 3')
    await together.run(own)
    before = there(together, "looked_up", where)
    assert before == [(1, "left a", "right a"), (2, "left b", "right b"), (3, "c", None)]
    together.engine.source('UPDATE "right" SET v = \'bad\' WHERE id = 1; DELETE FROM "right" WHERE id = 2')
    results = await together.run(own)
    assert (results["right"].rejected, results["looked_up"].loaded) == (1, 0), "nothing is taken out of a part"
    assert "rows were rejected" in results["right"].warnings[0]
    assert there(together, "looked_up", where) == before
    together.engine.source(
        "UPDATE \"right\" SET v = 'right a' WHERE id = 1; INSERT INTO \"right\" VALUES (2, 'right b')"
    )
    assert (await together.run(own, read_request=ReadRequest("full")))["looked_up"].loaded == 0


@pytest.mark.parametrize("load", LOADS)
async def test_a_row_leaves_a_model_while_a_row_of_its_lookup_is_rejected(on_redshift: Together, load: str) -> None:
    """Unless the rejected row is new: nobody knows what the model would make of it."""
    mode, where = LOADS[load]
    fill(on_redshift)
    on_redshift.engine.source("INSERT INTO \"left\" VALUES (3, 'c'), (4, 'd')")
    own = pipeline(Model(looked_up, Joined, "id", load=mode), right=replace(RIGHT, contract=Good))
    await on_redshift.run(own)
    live = f"SELECT id FROM sides.looked_up WHERE _deleted_at IS NULL AND {where} ORDER BY id"
    on_redshift.engine.source('UPDATE "right" SET v = \'bad\' WHERE id = 1; DELETE FROM "left" WHERE id = 3')
    results = await on_redshift.run(own)
    assert (results["looked_up"].deleted, results["looked_up"].warnings) == (1, ())
    assert on_redshift.engine.query(live) == [(1,), (2,), (4,)]
    on_redshift.engine.source('INSERT INTO "right" VALUES (9, \'bad\'); DELETE FROM "left" WHERE id = 4')
    results = await on_redshift.run(own)
    assert results["looked_up"].deleted == 0
    assert results["looked_up"].warnings == ("new rows of right were rejected, so nothing is taken for deleted",)
    on_redshift.engine.source("UPDATE \"right\" SET v = 'right' WHERE id IN (1, 9)")
    assert (await on_redshift.run(own))["looked_up"].deleted == 1
    assert on_redshift.engine.query(live) == [(1,), (2,)]


class ByValue(dy.Schema):
    """By another column of the source."""

    v = dy.String(nullable=False)
    id = dy.Int32(nullable=False)


def by_value(right: pl.DataFrame) -> pl.DataFrame:
    return right.select("v", "id")


async def test_a_key_that_another_row_took_over_from_a_rejected_or_deleted_one_is_that_rows(
    on_redshift: Together,
) -> None:
    fill(on_redshift)
    on_redshift.engine.source("INSERT INTO \"right\" VALUES (3, 'c'), (4, 'd')")
    own = pipeline(Model(by_value, ByValue, "v"), right=replace(RIGHT, contract=Good))
    await on_redshift.run(own)
    on_redshift.engine.source(
        'UPDATE "right" SET v = \'bad\' WHERE id = 1; DELETE FROM "right" WHERE id = 2; '
        "UPDATE \"right\" SET v = 'right a' WHERE id = 3; UPDATE \"right\" SET v = 'right b' WHERE id = 4"
    )
    await on_redshift.run(own)
    held = "SELECT v, id FROM sides.by_value WHERE v LIKE 'right%' ORDER BY v"
    assert on_redshift.engine.query(held) == [("right a", 3), ("right b", 4)]


async def test_a_row_that_was_never_right_is_looked_up_as_missing(on_redshift: Together) -> None:
    fill(on_redshift)
    on_redshift.engine.source("UPDATE \"right\" SET v = 'bad' WHERE id = 1")
    own = pipeline(Model(looked_up, Joined, "id"), right=replace(RIGHT, contract=Good))
    await on_redshift.run(own)
    assert there(on_redshift, "looked_up") == [(1, "left a", None), (2, "left b", "right b")]


async def test_rows_of_one_key_are_the_functions_fault(on_redshift: Together) -> None:
    def twice(left: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([left, left]).select("id", "v")

    fill(on_redshift)
    because = r"^model sides.twice, .* 2 keys are repeated in what its function gives \(id\). Remedy: let the function"
    with pytest.raises(KeyViolation, match=because):
        await on_redshift.run(pipeline(Model(twice, Side, "id"), left=replace(LEFT, capture=CHANGES)))


class Document(dy.Schema):
    """What some documents have, and what none may have yet."""

    code = dy.String(nullable=False)
    v = dy.String(nullable=True)


class Promised(dy.Schema):
    """The contract of the collection."""

    code = dy.String(nullable=False)
    v = dy.String(nullable=True)
    at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")


def documents(left: pl.DataFrame) -> pl.DataFrame:
    return left.select("code", "v")


@pytest.mark.parametrize("promised", [False, True])
async def test_fields_that_no_document_of_a_read_has_are_null(
    on_redshift: Together, mongo_database: str, promised: bool
) -> None:
    """As in the stream's own table; with a contract also before any document has them."""
    contract = Promised if promised else None
    left = Stream("left", f"mongo:{mongo_database}.papers", "code", Incremental("at"), contract=contract)
    own = Pipeline("sides", [left], schema="sides_source", models=[Model(documents, Document, "code")])
    with MongoClient[dict[str, Any]](on_redshift.engine.mongo_url) as client:
        papers = client[mongo_database]["papers"]
        papers.insert_one({"code": "a", "at": datetime.now(UTC)} | ({} if promised else {"v": "one"}))
        await on_redshift.run(own)
        papers.insert_one({"code": "b", "at": datetime.now(UTC)})
        await on_redshift.run(own)
    rows = on_redshift.engine.query("SELECT code, v FROM sides.documents ORDER BY 1")
    assert rows == [("a", None if promised else "one"), ("b", None)]
