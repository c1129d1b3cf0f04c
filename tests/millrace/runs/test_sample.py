"""The sample of a plan on each kind of source: it stops early, says so, and writes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo import MongoClient

from millrace import Snapshot, Stream
from millrace.runs import sample
from millrace.runs.context import StreamContext
from millrace.runs.reload_stream import without_target
from millrace.runs.sample import Sample, take_sample
from millrace.sources.chunk import Window
from tests.support.engine import Engine, pipeline_of

ROWS = 20_000


async def sample_of(engine: Engine, stream: Stream) -> Sample:
    with engine._source(stream) as source:
        context = StreamContext(source, engine.landing(), engine.warehouse, pipeline_of(stream), stream)
        taken, columns = await take_sample(context, Window())
        assert [column.name for column in columns][-1] == "v"
        return taken


@pytest.mark.parametrize("kind", ["postgres", "mysql", "mongo"])
async def test_it_stops_early(
    engine: Engine, kind: str, mysql_database: str, mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.mysql_url, engine.chunk_bytes = mysql_database, 10_000
    table = "CREATE TABLE many (id int PRIMARY KEY, v varchar(100))"
    schema = {"postgres": "public", "mysql": mysql_database.rpartition("/")[2], "mongo": mongo_database}[kind]
    if kind == "postgres":
        engine.source(f"{table}; INSERT INTO many SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) AS i")
    elif kind == "mysql":
        engine.mysql(table, f"INSERT INTO many SELECT seq, REPEAT('x', 100) FROM seq_1_to_{ROWS}", "COMMIT")
    else:
        with MongoClient[dict[str, Any]](engine.mongo_url) as client:
            client[schema]["many"].insert_many([{"_id": i, "v": "x" * 1_000} for i in range(ROWS)])
    stream = Stream("many", f"{kind}:{schema}.many", "_id" if kind == "mongo" else "id", Snapshot())
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 50)
    taken = await sample_of(engine, stream)
    assert 50 <= taken.rows < ROWS
    assert (taken.is_whole, taken.rejects) == (False, ())
    assert str(taken) == f"the first {taken.rows:,} rows: none rejected"
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 10 * ROWS)
    assert str(await sample_of(engine, stream)) == "all 20,000 rows: none rejected"
    assert list(engine.store.list_keys("")) == []


async def test_a_reload_is_sampled_without_the_types_of_the_target_that_it_replaces(engine: Engine) -> None:
    stream = Stream("many", "postgres:public.many", "id", Snapshot(), schema_policy="quarantine")
    engine.source("CREATE TABLE many (id int PRIMARY KEY, v int); INSERT INTO many VALUES (1, 1)")
    await engine.run(stream)
    engine.source("ALTER TABLE many ALTER v TYPE text; UPDATE many SET v = 'one'")
    assert str(await sample_of(engine, stream)) == "all 1 rows: rejected 1 schema_type v"
    with engine._source(stream) as source:
        context = StreamContext(source, engine.landing(), engine.warehouse, pipeline_of(stream), stream)
        sampled, _ = await take_sample(await without_target(context), Window())
    assert str(sampled) == "all 1 rows: none rejected"
