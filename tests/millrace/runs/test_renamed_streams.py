"""A stream with another name in the declaration goes on: position, rejects, table, and models from the lake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, History, Model, Pipeline, Queue, Stream
from millrace.base.errors import ConfigurationError, StreamBusy
from millrace.runs.choose import ReadRequest
from millrace.runs.reload import find_applied_groups, reload_model
from millrace.warehouse import rename_stream as renaming
from millrace.warehouse.rename_stream import Renamed, rename_stream
from tests.support.engine import PIPELINE, Engine, Together, counts, pipeline_of
from tests.support.notes import NOTES, create_notes

PAPERS = replace(NOTES, name="papers")
"""The same source by another name, so by default with another table."""
KEPT = replace(PAPERS, target="notes")
LEDGER = ("batches", "columns", "rejects", "sources", "leases")


@pytest.fixture(params=["warehouse", "lake"])
def notes(request: pytest.FixtureRequest, either: Engine) -> Engine:
    engine = either.with_leases_in(request.param)
    create_notes(engine, 3)
    engine.source("ALTER TABLE notes ADD COLUMN amount numeric; UPDATE notes SET amount = 'NaN' WHERE id = 3")
    return engine


def rename(engine: Engine, stream: Stream) -> Renamed:
    return rename_stream(engine.warehouse, pipeline_of(stream), "notes", stream, "test")


def streams(engine: Engine) -> set[str]:
    return {name for table in LEDGER for (name,) in engine.query(f"SELECT DISTINCT stream FROM millrace.{table}")}


def tables(engine: Engine) -> list[Any]:
    return engine.query(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{PIPELINE}' ORDER BY 1"
    )


@pytest.mark.parametrize("stream", [PAPERS, KEPT], ids=["another-table", "same-table"])
@pytest.mark.both_warehouses
async def test_a_renamed_stream_goes_on_where_it_was(notes: Engine, stream: Stream) -> None:
    await notes.run(NOTES)
    for _ in range(3):
        await notes.run(NOTES, ReadRequest("full"))
    table = stream.table
    with pytest.raises(ConfigurationError, match=r"it looks renamed: notes, .*`millrace rename engine notes papers`"):
        await notes.run(stream)
    assert rename(notes, stream) == Renamed("notes", "papers", f"{PIPELINE}.notes", f"{PIPELINE}.{table}")
    assert streams(notes) == {"papers"}
    assert tables(notes) == [(table,)]
    assert await notes.run(stream) is None, "it goes on from its position"
    notes.source("INSERT INTO notes VALUES (4, 'four', clock_timestamp(), 1); UPDATE notes SET amount = 1 WHERE id = 3")
    assert counts(await notes.run(stream)) == {"read": 1, "inserted": 1}
    assert counts(await notes.run(stream, ReadRequest("replay"))) == {"read": 1, "inserted": 1}
    assert notes.rows(table, "id") == [(1,), (2,), (3,), (4,)]


async def test_a_rename_that_dies_after_its_commit_is_gone_on_with(
    notes: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await notes.run(NOTES, ReadRequest("full"))
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(renaming, "rename_lease", _dies)
        rename(notes, PAPERS)
    notes.source("INSERT INTO notes VALUES (4, 'four', clock_timestamp(), 1)")
    assert counts(await notes.run(PAPERS)) == {"read": 1, "inserted": 1}


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


async def test_the_former_name_is_that_of_a_new_stream_afterwards(notes: Engine) -> None:
    await notes.run(NOTES)
    rename(notes, PAPERS)
    notes.source("CREATE TABLE others AS SELECT * FROM notes WHERE id < 3")
    others = replace(NOTES, source="postgres:public.others")
    assert notes.warehouse.find_state(pipeline_of(others), others).columns == ()
    assert counts(await notes.run(others)) == {"read": 2, "inserted": 2}


async def test_a_stream_that_only_shares_the_source_is_loaded_by_a_full_read(notes: Engine) -> None:
    await notes.run(NOTES)
    both = Pipeline(PIPELINE, [NOTES, PAPERS])
    assert notes.warehouse.find_state(both, PAPERS).renamed_from == "", "the former one is still declared"
    assert counts(await notes.run(PAPERS, ReadRequest("full"))) == {"read": 3, "inserted": 2, "rejected": 1}
    assert await notes.run(PAPERS) is None
    with pytest.raises(ConfigurationError, match="both notes and papers were loaded"):
        rename(notes, PAPERS)


async def test_what_cannot_be_renamed_is_refused_and_changes_nothing(notes: Engine) -> None:
    with pytest.raises(ConfigurationError, match="no stream notes was ever loaded"):
        rename(notes, PAPERS)
    await notes.run(NOTES)
    before = notes.query("SELECT batch_id, stream, target FROM millrace.batches")
    both = Pipeline(PIPELINE, [NOTES, PAPERS])
    with pytest.raises(ConfigurationError, match="the pipeline still declares notes"):
        rename_stream(notes.warehouse, both, "notes", PAPERS, "test")
    notes.query(f"CREATE TABLE {PIPELINE}.papers (id int)")
    with pytest.raises(ConfigurationError, match=r'a table engine\.papers already. Remedy: declare target="notes"'):
        rename(notes, PAPERS)
    notes.query(f"DROP TABLE {PIPELINE}.papers")
    elsewhere = Pipeline(PIPELINE, [PAPERS], schema="elsewhere")
    with pytest.raises(ConfigurationError, match="no table is moved to another schema"):
        rename_stream(notes.warehouse, elsewhere, "notes", PAPERS, "test")
    queue = Stream("papers", "sqs/papers", "id", Queue(), load=Append())
    with pytest.raises(ConfigurationError, match="collected messages lie in the lake"):
        rename_stream(notes.warehouse, pipeline_of(queue), "notes", queue, "test")
    with notes.warehouse.lease(pipeline_of(NOTES), NOTES, "a run"), pytest.raises(StreamBusy):
        rename(notes, PAPERS)
    assert notes.query("SELECT batch_id, stream, target FROM millrace.batches") == before
    assert tables(notes) == [("notes",)]


class Doubled(dy.Schema):
    id = dy.Int32(nullable=False)
    body = dy.String()


async def test_a_model_is_computed_again_from_batches_of_the_former_name(together: Together) -> None:
    def doubled(notes: pl.DataFrame) -> pl.DataFrame:
        return notes.select("id", "body")

    engine = together.engine
    create_notes(engine, 2)
    load = History("record")
    await together.run(Pipeline(PIPELINE, [NOTES], models=[Model(doubled, Doubled, "id", load=load)]))
    versions = f'SELECT id, body, "_version" FROM {PIPELINE}.doubled ORDER BY 1, 3'

    def doubled(papers: pl.DataFrame) -> pl.DataFrame:  # type: ignore[no-redef]  # its input has another name now
        return papers.select("id", "body")

    pipeline = Pipeline(PIPELINE, [PAPERS], models=[Model(doubled, Doubled, "id", load=load)])
    rename_stream(engine.warehouse, pipeline, "notes", PAPERS, "test")
    engine.source("UPDATE notes SET body = 'later', changed = clock_timestamp() WHERE id = 1")
    await together.run(pipeline)
    before = engine.query(versions)
    assert before == [(1, "notes 1", 1), (1, "later", 2), (2, "notes 2", 1)]
    groups = find_applied_groups(engine.warehouse, pipeline, pipeline.models[0])
    reload_model(pipeline, pipeline.models[0], groups, engine.store, together.processed, engine.warehouse)
    assert engine.query(versions) == before
