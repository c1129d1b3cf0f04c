"""Leases on real servers: one run per stream at a time, takeover after expiry, and no harm from who lost one."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from millrace import Pipeline
from millrace.base.errors import ConfigurationError, StreamBusy, Superseded
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.ledger import Ledger
from tests.support.changed_batches import change_batch
from tests.support.engine import Engine, pipeline_of
from tests.support.notes import NOTES, create_notes

PIPELINE = pipeline_of(NOTES)


def take(engine: Engine, holder: str) -> None:
    with engine.warehouse.lease(PIPELINE, NOTES, holder):
        pass


def test_a_stream_that_is_held_is_refused_to_others_and_says_to_whom(kept: Engine) -> None:
    held = r"stream engine.notes: run A holds the stream until \d\d:\d\d:\d\d UTC"
    with kept.warehouse.lease(PIPELINE, NOTES, "run A"), pytest.raises(StreamBusy, match=held):
        take(kept, "run B")


def test_another_stream_is_free(kept: Engine) -> None:
    others = replace(NOTES, name="others")
    with kept.warehouse.lease(PIPELINE, NOTES, "A") as first, kept.warehouse.lease(PIPELINE, others, "B") as second:
        assert first == second


def test_a_lease_that_was_given_back_is_free_at_once(kept: Engine) -> None:
    with kept.warehouse.lease(PIPELINE, NOTES, "run A") as token:
        pass
    kept.warehouse.release(PIPELINE, {NOTES.name: token})
    with kept.warehouse.lease(PIPELINE, NOTES, "run B") as newer:
        assert newer == token + 1


@pytest.mark.both_warehouses
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_two_runs_that_take_a_stream_for_the_first_time_do_not_both_get_it(either: Engine, isolation: str) -> None:
    """Both have looked at the ledger before either of them locks; the second must see what the first committed."""
    take(either, "an earlier run of another stream")
    runs = [either.connect_warehouse() for _ in range(2)]
    for connection in runs:
        connection.set_session(isolation_level=isolation)
        assert Ledger(connection).version, "which asks the catalog"
    first, second = runs
    clock = either.warehouse.dialect.clock
    assert lease.take_lease(first, clock, "engine", "fresh", "run A") == 1
    with pytest.raises(StreamBusy, match="run A holds the stream"):
        lease.take_lease(second, clock, "engine", "fresh", "run B")
    for connection in runs:
        connection.close()
    assert either.query("SELECT token, holder FROM millrace.leases WHERE stream = 'fresh'") == [(1, "run A")]


async def test_tokens_grow_on_where_the_leases_were_deleted_by_hand(engine: Engine) -> None:
    create_notes(engine, 5)
    for _ in range(3):
        await engine.deliver(NOTES, full=True)
    engine.query("DELETE FROM millrace.leases")
    with engine.warehouse.lease(PIPELINE, NOTES, "run B") as token:
        assert token == 4


async def test_a_dead_run_is_taken_over_after_its_lease_ended_and_cannot_write(kept: Engine) -> None:
    create_notes(kept, 5)
    kept.holder = "run A"
    stale = await kept.extract(NOTES)
    assert stale is not None
    kept.holder = "run B"
    with pytest.raises(StreamBusy):
        await kept.deliver(NOTES)
    kept.expire_leases()
    batch = await kept.extract(NOTES)
    assert batch is not None
    assert batch.progress.token == stale.progress.token + 1
    with pytest.raises(Superseded, match="another run took the stream over"):
        kept.load(NOTES, stale)
    assert kept.load(NOTES, batch).inserted == 5


async def test_the_same_run_may_take_its_stream_again_and_shuts_out_its_former_self(kept: Engine) -> None:
    """A retry of a flow run that was wrongly declared dead."""
    create_notes(kept, 5)
    former = await kept.extract(NOTES)
    again = await kept.extract(NOTES)
    assert former is not None
    assert again is not None
    with pytest.raises(Superseded):
        kept.load(NOTES, former)
    assert kept.load(NOTES, again).inserted == 5


def test_a_lease_is_extended_while_it_is_in_use(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.05)
    with engine.warehouse.lease(PIPELINE, NOTES, "run A"):
        engine.expire_leases()
        for _ in range(200):
            if engine.query("SELECT count(*) FROM millrace.leases WHERE expires_at > GETDATE()") == [(1,)]:
                break
            threading.Event().wait(0.05)
        with pytest.raises(StreamBusy), engine.warehouse.lease(PIPELINE, NOTES, "run B"):
            pass


async def test_two_runs_at_once_deliver_every_row_once(kept: Engine) -> None:
    """One of them is kept out, or comes after the other; ten rounds."""
    create_notes(kept, rows=0)
    for turn in range(10):
        kept.source(
            f"INSERT INTO notes SELECT i, 'turn {turn}' FROM generate_series({turn * 10}, {turn * 10 + 9}) AS i"
        )
        kept.source(f"UPDATE notes SET body = 'changed', changed = clock_timestamp() WHERE id = {turn}")
        twins = [replace_holder(kept, f"run {name}") for name in "AB"]
        outcomes = await asyncio.gather(
            *(asyncio.to_thread(asyncio.run, twin.deliver(NOTES)) for twin in twins), return_exceptions=True
        )
        assert all(
            outcome is None or not isinstance(outcome, Exception) or isinstance(outcome, StreamBusy)
            for outcome in outcomes
        )
        assert kept.rows("notes", "id", "body") == kept.source("SELECT id, body FROM notes ORDER BY 1")


def replace_holder(engine: Engine, holder: str) -> Engine:
    return replace(engine, holder=holder, batches=[])


async def test_two_pipelines_load_into_one_warehouse_at_once(engine: Engine) -> None:
    create_notes(engine, rows=50)
    batch = await engine.extract(NOTES)
    assert batch is not None
    pipelines = [Pipeline(name, streams=[NOTES]) for name in ("one", "two", "three")]
    loads = [change_batch(batch, pipeline=pipeline.name, batch_id=pipeline.name, token=0) for pipeline in pipelines]
    results = await asyncio.gather(
        *(
            asyncio.to_thread(engine.warehouse.load, pipeline, [load], engine.store)
            for pipeline, load in zip(pipelines, loads, strict=True)
        )
    )
    assert [result.inserted for (result,) in results] == [50, 50, 50]
    for pipeline in pipelines:
        assert engine.query(f"SELECT count(*), count(DISTINCT id) FROM {pipeline.name}.notes") == [(50, 50)]


async def test_a_target_belongs_to_one_stream(engine: Engine) -> None:
    """Two pipelines that load one table would undo each other's rows."""
    create_notes(engine, 5)
    await engine.deliver(NOTES)
    before = engine.rows("notes")
    batch = await engine.extract(NOTES, full=True)
    assert batch is not None
    other = Pipeline("other", streams=[NOTES], schema="engine")
    with pytest.raises(ConfigurationError, match=r"engine\.notes is the target of stream engine\.notes already"):
        engine.warehouse.load(other, [change_batch(batch, pipeline="other", token=0)], engine.store)
    assert engine.rows("notes") == before
