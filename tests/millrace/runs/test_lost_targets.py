"""A run does not make a target of a part of its rows: one that was dropped or emptied is read as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millrace import Append, Merge
from millrace.base.errors import TargetLost
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import Mode, ReadRequest
from millrace.warehouse.ledger.ledger import Ledger
from tests.support import shop
from tests.support.engine import Engine, Together, pipeline_of
from tests.support.guarded import ALLOW_DELETES, ROWS, fill, lose
from tests.support.notes import NOTES


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
    await either.run(stream, ReadRequest("full"))
    assert len(either.rows("notes")) == ROWS + 1


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
        await engine.run(NOTES, ReadRequest(start="2020-01-01T00:00:00+00:00"))


async def test_a_first_load_by_backfill_makes_its_target(engine: Engine) -> None:
    fill(engine)
    result = await engine.run(NOTES, ReadRequest(start="2020-01-01T00:00:00+00:00"))
    assert result is not None
    assert result.inserted == ROWS
    assert engine.warehouse.find_state(pipeline_of(NOTES), NOTES).position is None


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
    result = await either.run(NOTES, ReadRequest(mode))
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


async def test_a_models_table_that_was_dropped_is_not_made_of_changes_alone(on_redshift: Together) -> None:
    engine = on_redshift.engine
    shop.fill(engine)
    await on_redshift.run(shop.SHOP)
    engine.query("DROP TABLE shop.fact_order")
    engine.source("INSERT INTO orders VALUES (7, 1, 70, '2024-03-07')")
    with pytest.raises(TargetLost, match=r"shop\.fact_order is not there any more.*--full"):
        await on_redshift.run(shop.SHOP)
    await on_redshift.run(shop.SHOP, read_request=ReadRequest("full"))
    assert engine.query("SELECT count(*) FROM shop.fact_order") == [(7,)]
