"""A reload of a stream: from scratch into a new table, which takes the place of the target in one commit."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, Incremental, Model, Pipeline, Queue, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError, SchemaConflict, Superseded, TooManyDeletes
from millrace.declaration.consent import Consent
from millrace.runs.choose import ReadRequest, read
from millrace.warehouse import commit
from tests.support.engine import PIPELINE, Engine, Together, counts
from tests.support.notes import NOTES, create_notes

RELOAD = ReadRequest("reload")
ANYTHING = ReadRequest("reload", consent=Consent(allow_deletes=True))


def tables(engine: Engine) -> list[str]:
    found = engine.query(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{PIPELINE}' ORDER BY 1"
    )
    return [name for (name,) in found]


def oid(engine: Engine) -> Any:
    return engine.query(
        "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = '{PIPELINE}' AND c.relname = 'notes'"
    )[0][0]


@pytest.fixture
def notes(either: Engine) -> Engine:
    create_notes(either, 3)
    return either


@pytest.mark.parametrize("capture", [Incremental("changed"), Snapshot()], ids=["incremental", "snapshot"])
@pytest.mark.both_warehouses
async def test_a_reload_makes_the_table_again_as_the_source_is_now(notes: Engine, capture: Any) -> None:
    stream = replace(NOTES, capture=capture)
    await notes.run(stream)
    before = oid(notes)
    notes.query(f"UPDATE {PIPELINE}.notes SET body = 'by hand'; ALTER TABLE {PIPELINE}.notes ADD COLUMN mine int")
    notes.source("DELETE FROM notes WHERE id = 2; ALTER TABLE notes ALTER COLUMN id TYPE bigint")
    notes.source("ALTER TABLE notes DROP COLUMN body; ALTER TABLE notes ADD COLUMN title text DEFAULT 'new'")
    result = await notes.run(stream, RELOAD)
    assert counts(result) == {"read": 2, "inserted": 2}
    assert result is not None
    assert result.changes == (f"replace table {PIPELINE}.notes by a new one",)
    assert notes.rows("notes", "id", "title") == [(1, "new"), (3, "new")]
    assert oid(notes) != before, "another table"
    assert tables(notes) == ["notes"]
    columns = [name for (name,) in notes.query("SELECT name FROM millrace.columns ORDER BY 1")]
    assert columns == ["changed", "id", "title"]
    result = await notes.run(stream)
    assert result is None or counts(result) == {"read": 2, "unchanged": 2}
    notes.source("INSERT INTO notes VALUES (9000000000, clock_timestamp())")
    assert (await notes.run(stream)) is not None
    assert notes.rows("notes", "id")[-1] == (9000000000,)


async def test_another_load_mode_is_taken_over_and_leaves_nothing_of_the_former(notes: Engine) -> None:
    log = replace(NOTES, load=Scd2("version"))
    await notes.run(log)
    notes.source("UPDATE notes SET changed = clock_timestamp()")
    with pytest.raises(SchemaConflict):
        await notes.run(NOTES)
    with pytest.raises(ConfigurationError, match=r"former versions of rows.*--allow-deletes"):
        await notes.run(log, RELOAD)
    await notes.run(log, ANYTHING)
    await notes.run(NOTES, RELOAD)
    assert "version" not in [name for (name,) in notes.query("SELECT name FROM millrace.columns")]
    notes.source("UPDATE notes SET changed = clock_timestamp(), body = 'later' WHERE id = 1")
    assert counts(await notes.run(NOTES)) == {"read": 1, "updated": 1}


async def test_a_target_that_was_dropped_or_never_made_is_reloaded_too(notes: Engine) -> None:
    assert counts(await notes.run(NOTES, RELOAD)) == {"read": 3, "inserted": 3}
    notes.query(f"DROP TABLE {PIPELINE}.notes")
    assert counts(await notes.run(NOTES, RELOAD)) == {"read": 3, "inserted": 3}
    notes.source("DELETE FROM notes")
    assert counts(await notes.run(NOTES, RELOAD)) == {}
    assert notes.rows("notes") == []


async def test_rights_and_owner_stay_and_a_view_keeps_its_table(notes: Engine) -> None:
    await notes.run(NOTES)
    notes.query(f"GRANT SELECT, UPDATE ON {PIPELINE}.notes TO PUBLIC")
    before = oid(notes)
    await notes.run(NOTES, RELOAD)
    assert oid(notes) != before
    rights = [
        notes.query(f"SELECT has_table_privilege('public', '{PIPELINE}.notes', '{right}')")[0][0]
        for right in ("SELECT", "UPDATE", "DELETE")
    ]
    assert rights == [True, True, False]
    notes.query(f"CREATE VIEW {PIPELINE}.seen AS SELECT count(*) AS n FROM {PIPELINE}.notes")
    notes.source("INSERT INTO notes (id) VALUES (4)")
    before = oid(notes)
    await notes.run(NOTES, RELOAD)
    assert (oid(notes), notes.query(f"SELECT n FROM {PIPELINE}.seen")) == (before, [(4,)])
    assert tables(notes) == ["notes", "seen"]
    notes.source("ALTER TABLE notes ADD COLUMN more int")
    held = notes.rows("notes")
    with pytest.raises(SchemaConflict, match="views or keys depend on it"):
        await notes.run(NOTES, RELOAD)
    assert (notes.rows("notes"), tables(notes)) == (held, ["notes", "seen"])


async def test_readers_never_see_an_empty_table(postgres_engine: Engine) -> None:
    notes = postgres_engine
    create_notes(notes, 5_000)
    await notes.run(NOTES)
    seen, done = set[int](), threading.Event()

    def look() -> None:
        with closing(notes.connect_warehouse()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not done.is_set():
                    cursor.execute(f"SELECT count(*) FROM {PIPELINE}.notes")
                    seen.add(cursor.fetchone()[0])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(3):
            await notes.run(NOTES, RELOAD)
    finally:
        done.set()
        reader.join(30)
    assert seen == {5_000}


@pytest.mark.standin
async def test_a_reload_that_is_killed_before_its_commit_leaves_nothing_and_goes_on_from_its_batch(
    notes: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notes.run(NOTES)
    notes.source("UPDATE notes SET body = 'silent'")
    before = oid(notes)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commit, "_record_forms", killed)
    with pytest.raises(KeyboardInterrupt):
        await notes.run(NOTES, RELOAD)
    monkeypatch.undo()
    assert (oid(notes), tables(notes)) == (before, ["notes"])
    assert {body for (body,) in notes.rows("notes", "body")} == {"notes 1", "notes 2", "notes 3"}
    batch = notes.batches[-1]
    assert notes.load(NOTES, batch).inserted == 3
    assert notes.load(NOTES, batch).was_applied_before
    assert notes.rows("notes", "body") == [("silent",)] * 3


async def test_a_reload_whose_stream_was_taken_over_is_refused(notes: Engine) -> None:
    await notes.run(NOTES)
    held = notes.rows("notes")
    batch = await notes._leased(NOTES, _read)
    notes.source("INSERT INTO notes VALUES (4, 'newer', clock_timestamp())")
    await notes.run(NOTES)
    assert batch is not None
    with pytest.raises(Superseded):
        notes.load(NOTES, batch)
    assert (len(notes.rows("notes")), tables(notes)) == (len(held) + 1, ["notes"])


async def _read(context: Any) -> Any:
    return await read(context, RELOAD)


async def test_a_reload_does_not_lose_most_rows_unless_it_may(either: Engine) -> None:
    create_notes(either, 300)
    await either.run(NOTES)
    either.source("DELETE FROM notes WHERE id > 100")
    with pytest.raises(TooManyDeletes, match="has 300 rows, and the source gave 100; a run may delete 50%"):
        await either.run(NOTES, RELOAD)
    assert len(either.rows("notes")) == 300
    await either.run(NOTES, ANYTHING)
    assert len(either.rows("notes")) == 100


async def test_what_cannot_be_reloaded_is_refused(notes: Engine) -> None:
    queue = Stream("notes", "sqs/notes", "id", Queue(), load=Append())
    with pytest.raises(ConfigurationError, match=r"cannot be read from its beginning.*--stream notes --from"):
        await notes.run(queue, RELOAD)
    for stream, lost in (
        (replace(NOTES, deletes="soft"), "rows that are marked as deleted"),
        (replace(NOTES, load=Append()), "rows that were deleted in the source"),
    ):
        await notes.run(stream)
        with pytest.raises(ConfigurationError, match=f"loses what only the target has: {lost}"):
            await notes.run(stream, RELOAD)
        notes.query(f"DROP TABLE {PIPELINE}.notes")
        await notes.run(stream, RELOAD)
        notes.query(f"DROP TABLE {PIPELINE}.notes")
    await notes.run(replace(NOTES))
    with pytest.raises(ConfigurationError, match=r"holds rows of postgres:public\.notes"):
        await notes.run(replace(NOTES, source="postgres:public.others"), RELOAD)


async def test_a_table_without_key_is_reloaded(notes: Engine) -> None:
    stream = Stream("notes", "postgres:public.notes", "", Snapshot(), load=Replace())
    await notes.run(stream)
    notes.source("DELETE FROM notes WHERE id = 1")
    assert counts(await notes.run(stream, RELOAD)) == {"read": 2, "inserted": 2}
    assert counts(await notes.run(stream)) == {"read": 2, "unchanged": 2}


class Doubled(dy.Schema):
    id = dy.Int32(nullable=False)


def doubled(notes: pl.DataFrame) -> pl.DataFrame:
    return notes.select("id")


async def test_models_follow_in_the_same_commit(together: Together) -> None:
    """No later sweep would find the rows that left before: the new table lacks them already."""
    engine = together.engine
    create_notes(engine, 3)
    pipeline = Pipeline(PIPELINE, [NOTES], models=[Model(doubled, Doubled, "id")])
    await together.run(pipeline)
    engine.source("DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (4, 'new', clock_timestamp())")
    results = await together.run(pipeline, read_request=RELOAD)
    assert counts(results["notes"]) == {"read": 3, "inserted": 3}
    assert counts(results["doubled"]) == {"read": 4, "inserted": 1, "deleted": 1, "unchanged": 2}
    assert engine.query(f'SELECT id FROM {PIPELINE}.doubled WHERE "_deleted_at" IS NULL ORDER BY 1') == [
        (1,),
        (3,),
        (4,),
    ]
    assert tables(engine) == ["doubled", "notes"]


@pytest.mark.standin
async def test_grants_on_columns_stay(either: Engine) -> None:
    create_notes(either, 1)
    await either.run(NOTES)
    either.query(f"GRANT SELECT (id, body) ON {PIPELINE}.notes TO PUBLIC")
    either.source("ALTER TABLE notes DROP COLUMN body")
    await either.run(NOTES, RELOAD)
    rights = [
        either.query(f"SELECT has_column_privilege('public', '{PIPELINE}.notes', '{name}', 'SELECT')")
        for name in ("id", "changed")
    ]
    assert rights == [[(True,)], [(False,)]]
