"""A document that moves in the index while it is read comes twice: its latest reading counts, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import bson
import dataframely as dy
import polars as pl
import pytest
from bson import ObjectId
from pymongo import MongoClient

from millrace import Incremental, Model, Pipeline, Stream
from millrace.base.errors import KeyViolation
from millrace.base.naming import ROW_ID
from millrace.declaration.captures import LandingFormat
from millrace.lake.batch import Batch
from millrace.runs.extract import Extraction
from millrace.sources.chunk import ReadFacts
from millrace.sources.mongo_values import Decoder
from tests.support.engine import PIPELINE, Engine, Together

THINGS = Stream("things", source="mongo:shop.things", key="id", capture=Incremental("at"))


def batch_of(engine: Engine, *readings: dict[str, object], form: LandingFormat = "parquet") -> Batch:
    """One chunk per reading, as a cursor would give them."""
    decoder = Decoder(THINGS, ())
    read = ReadFacts(datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00", row_id_column=ROW_ID)
    landing = replace(engine.landing(), form=form)
    with Extraction(landing, THINGS, read) as extraction:
        for reading in readings:
            extraction.add(decoder.decode(bson.encode(reading)))
        batch = extraction.finish()
    assert batch is not None
    return batch


def reading(document_id: int, value: str, minute: int) -> dict[str, object]:
    return {"_id": document_id, "id": "a", "value": value, "at": datetime(2026, 1, 1, 0, minute)}  # noqa: DTZ001 (BSON)


@pytest.mark.parametrize("latest_first", [False, True])
def test_the_latest_reading_counts(engine: Engine, latest_first: bool) -> None:
    readings = [reading(1, "old", 1), reading(1, "new", 2)]
    result = engine.load(THINGS, batch_of(engine, *(reversed(readings) if latest_first else readings)))
    assert (result.read, result.inserted, result.unchanged) == (2, 1, 1)
    assert engine.rows("things", "id", "value") == [("a", "new")]


class Thing(dy.Schema):
    """A document by its value: another reading has another key."""

    value = dy.String(nullable=False)
    id = dy.String(nullable=False)


def thing(things: pl.DataFrame) -> pl.DataFrame:
    return things.select("value", "id")


def of_thing(thing: pl.DataFrame) -> pl.DataFrame:
    return thing


@pytest.mark.parametrize("form", get_args(LandingFormat))
@pytest.mark.parametrize("latest_first", [False, True])
def test_models_are_given_the_latest_reading(
    on_redshift: Together, latest_first: bool, form: LandingFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far apart the readings are."""
    monkeypatch.setattr("millrace.lake.formats.CHUNK_ROWS", 1)
    monkeypatch.setattr("millrace.models.readings.ROWS_AT_ONCE", 2)
    readings = [reading(1, "old", 1), reading(1, "new", 2)]
    between = [{**reading(number, f"v{number}", 1), "id": f"n{number}"} for number in (2, 3)]
    first, last = reversed(readings) if latest_first else readings
    batch = batch_of(on_redshift.engine, first, *between, last, form=form)
    models = [Model(function, Thing, "value") for function in (thing, of_thing)]
    own = Pipeline(PIPELINE, [THINGS], schema="sources", models=models, landing=form)
    on_redshift.load(own, on_redshift.transform(own, [batch]))
    for model in ("thing", "of_thing"):
        assert on_redshift.engine.rows(model, "value") == [("new",), ("v2",), ("v3",)]


def test_two_documents_with_one_key_are_an_error(engine: Engine) -> None:
    with pytest.raises(KeyViolation, match="1 keys are repeated"):
        engine.load(THINGS, batch_of(engine, reading(1, "one", 1), reading(2, "other", 2)))


async def test_an_id_and_its_text_are_two_documents(engine: Engine, mongo_url: str, mongo_database: str) -> None:
    """The warehouse would hold one value for both: told by a load that reads both, and by the next sweep."""
    stream = Stream("papers", source=f"mongo:{mongo_database}.papers", key="_id", capture=Incremental("at"))
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    papers, number = client[mongo_database]["papers"], ObjectId()
    papers.insert_one({"_id": number, "n": 1, "at": datetime(2020, 1, 1, tzinfo=UTC)})
    await engine.deliver(stream)
    papers.insert_one({"_id": str(number), "n": 2, "at": datetime.now(UTC)})
    assert await engine.deliver(stream) is not None
    with pytest.raises(KeyViolation, match="1 keys are repeated"):
        await engine.sweep(stream)
    with pytest.raises(KeyViolation, match="1 keys are repeated"):
        await engine.deliver(stream, full=True)
    client.close()


async def test_a_document_that_lost_its_key_is_rejected_and_its_row_deleted(
    engine: Engine, mongo_url: str, mongo_database: str
) -> None:
    stream = Stream("papers", source=f"mongo:{mongo_database}.papers", key="id", capture=Incremental("at"))
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    papers = client[mongo_database]["papers"]
    papers.insert_one({"_id": 1, "id": 1, "at": datetime.now(UTC)})
    await engine.deliver(stream)
    papers.update_one({"_id": 1}, {"$unset": {"id": 1}})
    client.close()
    await engine.sweep(stream)
    assert [reject["reason"] for reject in engine.rejects()] == ["no_key"]
    assert engine.rows("papers") == []
