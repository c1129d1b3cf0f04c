"""What a run does not do by itself: delete most of a target, make a target of a part of its rows, mix two sources."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dataframely as dy
import pytest
import shop
from engine_on_servers import Engine, Together, pipeline_of
from pymongo import MongoClient
from queue_messages import collect, order

from millrace import Append, Incremental, Merge, Model, Queue, Replace, Scd2, Snapshot, Stream
from millrace.consent import Consent
from millrace.errors import ConfigurationError, SchemaConflict, Superseded, TargetLost, TooManyDeletes
from millrace.load_modes import LoadMode
from millrace.run import Bounds, Mode
from millrace.warehouse.ledger import Ledger, check_source

NOTES = Stream("notes", source="postgres:public.notes", key="id", capture=Incremental("changed", overlap=timedelta(0)))
WHOLE = replace(NOTES, capture=Snapshot())
ALLOW_DELETES = Bounds(consent=Consent(allow_deletes=True))
ACCEPT_SOURCE = Bounds(consent=Consent(accept_source=True))
ROWS = 200


def fill(engine: Engine, rows: int = ROWS, table: str = "notes") -> None:
    engine.source(
        f"CREATE TABLE {table} (id int PRIMARY KEY, body text, changed timestamptz DEFAULT clock_timestamp()); "
        f"INSERT INTO {table} SELECT i, '{table} ' || i FROM generate_series(1, {rows}) AS i"
    )


def everything(engine: Engine) -> list[list[tuple[object, ...]]]:
    """The target, and what the ledger has of batches."""
    return [engine.rows("notes"), engine.query("SELECT batch_id, position FROM millrace.batches ORDER BY 1")]


REPLACED = replace(WHOLE, load=Replace(), key="")
WAYS = {
    "a sweep": replace(NOTES, sweep="every run"),
    "a sweep that marks": replace(NOTES, sweep="every run", deletes="soft"),
    "a snapshot": WHOLE,
    "a snapshot that marks": replace(WHOLE, deletes="soft"),
    "a snapshot that replaces": REPLACED,
    "a snapshot of versions": replace(WHOLE, load=Scd2("version_id")),
}


@pytest.mark.parametrize("left", [0, 99], ids=["emptied", "half restored"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_source_that_lost_most_of_its_rows_deletes_nothing_until_a_person_allows_it(
    either: Engine, way: str, left: int
) -> None:
    stream = WAYS[way]
    fill(either)
    await either.run(stream)
    before = everything(either)
    either.source(f"DELETE FROM notes WHERE id > {left}")
    told = rf"{ROWS - left} of the {ROWS} rows of engine\.notes .* 50% \(max_delete_share\).*--allow-deletes"
    with pytest.raises(TooManyDeletes, match=told):
        await either.run(stream)
    assert everything(either) == before, "nothing was committed"
    result = await either.run(stream, ALLOW_DELETES)
    assert result is not None
    assert result.deleted == ROWS - left


async def test_half_of_the_rows_may_go_and_any_share_of_a_small_target(engine: Engine) -> None:
    fill(engine)
    await engine.run(WHOLE)
    for gone in (100, 50, 50):
        engine.source(f"DELETE FROM notes WHERE id IN (SELECT id FROM notes LIMIT {gone})")
        result = await engine.run(WHOLE)
        assert result is not None
        assert result.deleted == gone


async def test_the_share_is_of_the_rows_that_are_present_now(engine: Engine) -> None:
    """Rows that were marked before do not make room for more."""
    stream = replace(WHOLE, deletes="soft")
    fill(engine, rows=400)
    await engine.run(stream)
    engine.source("DELETE FROM notes WHERE id <= 200")
    await engine.run(stream)
    engine.source("DELETE FROM notes WHERE id <= 310")
    with pytest.raises(TooManyDeletes, match="110 of the 200 rows"):
        await engine.run(stream)


async def test_a_replaced_table_whose_every_row_changed_loses_none(engine: Engine) -> None:
    fill(engine)
    await engine.run(REPLACED)
    engine.source("UPDATE notes SET body = 'another'")
    result = await engine.run(REPLACED)
    assert result is not None
    assert (result.inserted, result.deleted) == (ROWS, ROWS)


@pytest.mark.parametrize(("share", "gone"), [(0, 1), (0.05, 11)])
async def test_a_stream_sets_its_own_share(engine: Engine, share: float, gone: int) -> None:
    stream = replace(WHOLE, max_delete_share=share)
    fill(engine)
    await engine.run(stream)
    engine.source(f"DELETE FROM notes WHERE id <= {gone}")
    with pytest.raises(TooManyDeletes):
        await engine.run(stream)
    result = await engine.run(replace(stream, max_delete_share=1))
    assert result is not None
    assert result.deleted == gone


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_a_delete_share_that_is_no_share_is_refused(share: object) -> None:
    with pytest.raises(ConfigurationError, match="max_delete_share"):
        replace(NOTES, max_delete_share=share)


async def test_deletes_that_are_ignored_are_not_counted(engine: Engine) -> None:
    stream = replace(WHOLE, deletes="ignore")
    fill(engine)
    await engine.run(stream)
    engine.source("DELETE FROM notes")
    result = await engine.run(stream)
    assert result is not None
    assert result.deleted == 0


@pytest.mark.parametrize("load", [Merge(), Append()])
@pytest.mark.parametrize("loss", ["DROP TABLE engine.notes", "DELETE FROM engine.notes", "remade"])
async def test_a_target_that_was_lost_after_the_read_is_not_made_of_the_window_alone(
    either: Engine, loss: str, load: LoadMode
) -> None:
    stream = replace(NOTES, load=load)
    fill(either)
    await either.deliver(stream)
    either.source(f"INSERT INTO notes VALUES ({ROWS + 1}, 'new')")
    batch = await either.extract(stream)
    assert batch is not None
    lose(either, loss)
    with pytest.raises(TargetLost, match=r"holds only what changed.*--full"):
        either.load(stream, batch)
    assert len(either.query("SELECT * FROM millrace.batches")) == 1, "the position did not move"
    await either.run(stream, Bounds("full"))
    assert len(either.rows("notes")) == ROWS + 1


def lose(engine: Engine, loss: str) -> None:
    if loss == "remade":
        text = "VARCHAR(256)" if engine.warehouse.dialect.measures_text else "TEXT"
        own = f"id INT, body {text}, changed TIMESTAMPTZ, _row_hash VARCHAR(64), _loaded_at TIMESTAMPTZ"
        loss = f"DROP TABLE engine.notes; CREATE TABLE engine.notes ({own})"
    engine.query(loss)


async def test_a_sweep_that_was_read_before_the_target_was_lost_does_not_make_it(engine: Engine) -> None:
    fill(engine)
    await engine.deliver(NOTES)
    engine.source("UPDATE notes SET body = 'silent' WHERE id = 1")
    batch = await engine.extract_sweep(NOTES)
    assert batch is not None
    for loss in ("DELETE FROM engine.notes", "DROP TABLE engine.notes"):
        lose(engine, loss)
        with pytest.raises(TargetLost):
            engine.load(NOTES, batch)


async def test_rows_that_were_marked_and_came_back_count_as_rows_that_a_target_lost(engine: Engine) -> None:
    """They were marked once each and never put in again: counts of rows alone would say that none is there."""
    stream = replace(NOTES, deletes="soft")
    fill(engine)
    await engine.run(stream)
    engine.source("CREATE TABLE kept AS TABLE notes; DELETE FROM notes")
    await engine.run(stream, replace(ALLOW_DELETES, mode="sweep"))
    engine.source("INSERT INTO notes SELECT id, body, clock_timestamp() FROM kept")
    await engine.run(stream)
    lose(engine, "DELETE FROM engine.notes")
    engine.source("INSERT INTO notes VALUES (1000, 'new')")
    with pytest.raises(TargetLost):
        await engine.run(stream)


async def test_a_backfill_does_not_make_a_target_that_was_dropped(engine: Engine) -> None:
    """The position stays, and the next run would start from it."""
    fill(engine)
    await engine.deliver(NOTES)
    lose(engine, "DROP TABLE engine.notes")
    with pytest.raises(TargetLost):
        await engine.run(NOTES, Bounds(start="2020-01-01T00:00:00+00:00"))


async def test_a_first_load_by_backfill_makes_its_target(engine: Engine) -> None:
    fill(engine)
    result = await engine.run(NOTES, Bounds(start="2020-01-01T00:00:00+00:00"))
    assert result is not None
    assert result.inserted == ROWS
    assert engine.warehouse.standing(pipeline_of(NOTES), NOTES).position is None


@pytest.mark.parametrize(
    ("loss", "mode"),
    [
        ("DELETE FROM engine.notes", "sweep"),
        ("DROP TABLE engine.notes", "sweep"),
        ("DROP TABLE engine.notes", "incremental"),
    ],
)
async def test_a_run_that_reads_everything_fills_a_target_that_was_lost(either: Engine, loss: str, mode: Mode) -> None:
    """An incremental run reads everything when the target is not there."""
    fill(either)
    await either.deliver(NOTES)
    lose(either, loss)
    result = await either.run(NOTES, Bounds(mode))
    assert result is not None
    assert result.inserted == ROWS


async def test_a_target_dropped_while_a_whole_read_is_loaded_is_an_error_and_moves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    ensure = Ledger.ensure

    def ensure_then_drop(ledger: Ledger) -> None:
        ensure(ledger)
        lose(engine, "DROP TABLE engine.notes")

    monkeypatch.setattr(Ledger, "ensure", ensure_then_drop)
    with pytest.raises(TargetLost, match="was dropped while it was loaded"):
        engine.load(NOTES, batch)
    monkeypatch.undo()
    assert engine.query("SELECT * FROM millrace.batches") == []
    assert engine.load(NOTES, batch).inserted == ROWS


async def test_another_source_of_a_stream_is_refused_before_anything_is_read(either: Engine) -> None:
    fill(either)
    fill(either, table="others", rows=150)
    await either.run(NOTES)
    before, batches = everything(either), len(either.batches)
    other = replace(NOTES, source="postgres:public.others")
    told = r"holds rows of postgres:public\.notes, and the declared source is postgres:public\.others.*--accept-source"
    for bounds in (
        Bounds(),
        Bounds("full"),
        Bounds("sweep"),
        Bounds("replay"),
        Bounds(start="2020-01-01T00:00:00+00:00"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            await either.run(other, bounds)
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
    for bounds in (Bounds(), Bounds("full"), Bounds("replay")):
        with pytest.raises(ConfigurationError, match=f"holds rows of {stream.source}.*--accept-source"):
            await either.run(other, bounds)
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
        await either.run(NOTES, Bounds(mode))
    assert everything(either) == before


async def test_a_model_deletes_most_of_its_rows_only_if_a_person_allows_it(on_redshift: Together) -> None:
    engine = on_redshift.engine
    shop.fill(engine, designs=ROWS)
    design = replace(shop.DESIGN, max_delete_share=1)
    pipeline = replace(shop.SHOP, streams=[design, shop.ORDERS], models=[shop.DIM_DESIGN])
    await on_redshift.run(pipeline)
    engine.source("DELETE FROM orders; DELETE FROM design WHERE design_id > 20")
    with pytest.raises(TooManyDeletes, match=r"model shop\.dim_design"):
        await on_redshift.run(pipeline)
    assert engine.query("SELECT count(*) FROM shop_source.design") == [(ROWS,)], "all or nothing"
    done = await on_redshift.run(pipeline, bounds=ALLOW_DELETES)
    assert done["dim_design"].deleted == ROWS - 20


async def test_a_model_that_is_replaced_is_guarded_though_rows_of_its_snapshot_were_rejected(
    on_redshift: Together,
) -> None:
    """The batch is not complete then, and yet what it lacks is not written again."""

    class Named(dy.Schema):
        name = dy.String(nullable=False)

    engine = on_redshift.engine
    shop.fill(engine, designs=ROWS)
    design = replace(shop.DESIGN, contract=Named, max_reject_share=1)
    listed = Model(shop.dim_design, shop.DimDesign, "design_id", load=Replace())
    pipeline = replace(shop.SHOP, streams=[design], models=[listed])
    await on_redshift.run(pipeline)
    engine.source("UPDATE design SET name = NULL WHERE design_id > 20")
    with pytest.raises(TooManyDeletes, match=r"180 of the 200 rows of shop\.dim_design"):
        await on_redshift.run(pipeline)


async def test_a_models_table_that_was_dropped_is_not_made_of_changes_alone(on_redshift: Together) -> None:
    engine = on_redshift.engine
    shop.fill(engine)
    await on_redshift.run(shop.SHOP)
    engine.query("DROP TABLE shop.fact_order")
    engine.source("INSERT INTO orders VALUES (7, 1, 70, '2024-03-07')")
    with pytest.raises(TargetLost, match=r"shop\.fact_order is not there any more.*--full"):
        await on_redshift.run(shop.SHOP)
    await on_redshift.run(shop.SHOP, bounds=Bounds("full"))
    assert engine.query("SELECT count(*) FROM shop.fact_order") == [(7,)]


async def test_a_model_of_a_batch_that_is_not_the_newest_any_more_is_refused(on_redshift: Together) -> None:
    """The model was declared after its stream's batch was applied, and is computed from that batch again."""
    engine = on_redshift.engine
    shop.fill(engine)
    small = replace(shop.SHOP, models=[])
    old = await on_redshift.read(small)
    on_redshift.load(small, on_redshift.transform(small, old))
    engine.source("UPDATE orders SET units = 99, changed = clock_timestamp()")
    await on_redshift.run(small)
    with pytest.raises(Superseded):
        on_redshift.load(shop.SHOP, on_redshift.transform(shop.SHOP, old))
