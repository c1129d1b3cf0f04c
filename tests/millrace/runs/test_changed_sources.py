"""A run does not mix rows of two sources: another one, or another type of key, is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pymongo import MongoClient

from millrace import Append, Incremental, Queue, Stream
from millrace.base.errors import ConfigurationError, SchemaConflict, TooManyDeletes
from millrace.declaration.consent import Consent
from millrace.runs.choose import Mode, ReadRequest
from millrace.warehouse.ledger.refusals import check_source
from tests.support.engine import Engine
from tests.support.guarded import ALLOW_DELETES, ROWS, WHOLE, everything, fill, lose
from tests.support.notes import NOTES
from tests.support.queue_messages import collect, order

ACCEPT_SOURCE = ReadRequest(consent=Consent(accept_source=True))


async def test_another_source_of_a_stream_is_refused_before_anything_is_read(either: Engine) -> None:
    fill(either)
    fill(either, table="others", rows=150)
    await either.run(NOTES)
    before, batches = everything(either), len(either.batches)
    other = replace(NOTES, source="postgres:public.others")
    told = r"holds rows of postgres:public\.notes, and the declared source is postgres:public\.others.*--accept-source"
    for read_request in (
        ReadRequest(),
        ReadRequest("full"),
        ReadRequest("sweep"),
        ReadRequest("replay"),
        ReadRequest(start="2020-01-01T00:00:00+00:00"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            await either.run(other, read_request)
    assert (everything(either), len(either.batches)) == (before, batches)


@pytest.mark.parametrize("kind", ["collection", "queue"])
async def test_another_collection_or_queue_of_a_stream_is_refused_until_it_is_accepted(
    either: Engine, mongo_database: str, kind: str
) -> None:
    if kind == "queue":
        stream = Stream("orders", "sqs/orders", "id", Queue(), load=Append())
        other = replace(stream, source="sqs/orders-of-today")
        collect(either, order("a"))
    else:
        stream = Stream("orders", f"mongo:{mongo_database}.orders", "_id", Incremental("changed"))
        other = replace(stream, source=f"mongo:{mongo_database}.others")
        with MongoClient[dict[str, object]](either.mongo_url) as client:
            for name in ("orders", "others"):
                client[mongo_database][name].insert_one({"_id": name, "changed": datetime.now(UTC)})
    await either.run(stream)
    before = either.query("SELECT batch_id FROM millrace.batches"), either.rows("orders"), len(either.batches)
    for read_request in (ReadRequest(), ReadRequest("full"), ReadRequest("replay")):
        with pytest.raises(ConfigurationError, match=f"holds rows of {stream.source}.*--accept-source"):
            await either.run(other, read_request)
    assert before == (either.query("SELECT batch_id FROM millrace.batches"), either.rows("orders"), len(either.batches))
    await either.run(other, replace(ACCEPT_SOURCE, consent=Consent(accept_source=True, allow_deletes=True)))
    assert either.query("SELECT source FROM millrace.sources") == [(other.source,)]


@pytest.mark.parametrize("source", ["postgres/archive:public.notes", "postgres:another.notes", "mongo:public.notes"])
def test_another_connection_schema_or_kind_is_another_source(source: str) -> None:
    with pytest.raises(ConfigurationError, match="their rows would mix"):
        check_source(NOTES.source, source, "stream notes")


async def test_a_source_that_is_accepted_is_compared_with_the_target(either: Engine) -> None:
    fill(either)
    fill(either, table="others", rows=ROWS + 1)
    await either.run(NOTES)
    either.source("DELETE FROM others WHERE id <= 30")
    other = replace(NOTES, source="postgres:public.others")
    result = await either.run(other, ACCEPT_SOURCE)
    assert result is not None
    assert (result.kind, result.inserted, result.updated, result.deleted) == ("sweep", 1, 170, 30)
    assert either.rows("notes", "id", "body") == either.source("SELECT id, body FROM others ORDER BY 1")
    either.source("INSERT INTO others VALUES (1000, 'new')")
    result = await either.run(other)
    assert result is not None
    assert (result.kind, result.inserted) == ("window", 1), "from now on it is the stream's source"


async def test_a_queue_that_is_accepted_before_it_has_a_message_is_accepted(engine: Engine) -> None:
    stream = Stream("orders", "sqs/orders", "id", Queue(), load=Append())
    collect(engine, order("a"))
    await engine.run(stream)
    moved = replace(stream, source="sqs/orders-of-today")
    await engine.run(moved, ACCEPT_SOURCE)
    collect(engine, order("b"))
    result = await engine.run(moved)
    assert result is not None
    assert result.inserted == 1


async def test_an_accepted_source_may_not_delete_most_rows_by_that_alone(engine: Engine) -> None:
    fill(engine)
    fill(engine, table="others", rows=2)
    await engine.run(NOTES)
    with pytest.raises(TooManyDeletes):
        await engine.run(replace(NOTES, source="postgres:public.others"), ACCEPT_SOURCE)
    with pytest.raises(ConfigurationError):
        await engine.run(replace(NOTES, source="postgres:public.others"), ALLOW_DELETES)


async def test_a_snapshot_of_another_source_is_refused(engine: Engine) -> None:
    fill(engine)
    fill(engine, table="others")
    await engine.run(WHOLE)
    other = replace(WHOLE, source="postgres:public.others")
    with pytest.raises(ConfigurationError, match="accept-source"):
        await engine.run(other)
    result = await engine.run(other, ACCEPT_SOURCE)
    assert result is not None
    assert result.updated == ROWS


async def test_a_batch_of_the_former_source_that_was_landed_before_is_refused(engine: Engine) -> None:
    """A deployment that was not updated yet, or a load that comes late."""
    fill(engine)
    fill(engine, table="others")
    await engine.run(NOTES)
    await engine.run(replace(NOTES, source="postgres:public.others"), ACCEPT_SOURCE)
    engine.source("UPDATE notes SET changed = clock_timestamp(), body = 'former'")
    batch = await engine.extract(NOTES)
    assert batch is not None
    with pytest.raises(ConfigurationError, match="their rows would mix"):
        engine.load(NOTES, batch)


async def test_a_stream_whose_target_is_gone_takes_its_new_source(engine: Engine) -> None:
    fill(engine)
    fill(engine, table="others", rows=3)
    await engine.run(NOTES)
    lose(engine, "DROP TABLE engine.notes")
    await engine.run(replace(NOTES, source="postgres:public.others"))
    assert len(engine.rows("notes")) == 3
    assert engine.query("SELECT source FROM millrace.sources") == [("postgres:public.others",)]


async def test_a_ledger_that_holds_no_source_takes_the_first_that_comes(engine: Engine) -> None:
    fill(engine)
    await engine.run(NOTES)
    engine.query("DELETE FROM millrace.sources")
    engine.source("INSERT INTO notes VALUES (1000, 'new')")
    await engine.run(NOTES)
    assert engine.query("SELECT source FROM millrace.sources") == [("postgres:public.notes",)]


@pytest.mark.parametrize("mode", ["incremental", "full", "sweep"])
async def test_a_key_of_another_type_is_refused(either: Engine, mode: Mode) -> None:
    fill(either)
    await either.run(NOTES)
    before = everything(either)
    either.source(
        "DROP TABLE notes; CREATE TABLE notes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text, "
        "changed timestamptz DEFAULT clock_timestamp()); INSERT INTO notes (body) VALUES ('new')"
    )
    with pytest.raises(SchemaConflict, match=r"column id of engine\.notes is int32 and cannot hold text"):
        await either.run(NOTES, ReadRequest(mode))
    assert everything(either) == before
