"""Runs side by side: of one stream, and of two pipelines into one warehouse. They converge, and double nothing."""

from __future__ import annotations

import asyncio

import pytest

from millrace import Stream
from millrace.base.errors import Conflict, StreamBusy, Superseded
from tests.faults.judge import Judge
from tests.faults.killing import kill_at
from tests.faults.places import Places
from tests.faults.processes import Running, Tell
from tests.faults.subjects import Table
from tests.support import engine as engines
from tests.support.engine import Engine, pipeline_of

ROUNDS = 2


def _deliver_as(tell: Tell, pipeline: str, holder: str, places: Places, stream: Stream) -> None:
    """A run of a pipeline of this name."""
    engines.PIPELINE = pipeline
    engine = places.engine()
    engine.holder = holder
    try:
        asyncio.run(engine.deliver(stream))
    except (StreamBusy, Superseded, Conflict) as error:
        tell(type(error).__name__)


@pytest.mark.parametrize("holders", [("one", "other"), ("same", "same")])
async def test_two_runs_of_one_stream(
    kept_places: Places, table: Table, judge: Judge, holders: tuple[str, str]
) -> None:
    """Under leases that keep one of them out, and as retries that wrongly take the first for dead."""
    for _ in range(ROUNDS):
        table.change()
        runs = [Running(_deliver_as, "engine", holder, kept_places, table.stream) for holder in holders]
        ends = [run.end() for run in runs]
        assert [code for code, _ in ends] == [0, 0], ends
        await kept_places.engine().deliver(table.stream)
        judge.check()


async def test_two_pipelines_into_one_warehouse(places: Places, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round makes ledger and schemas, and both find nothing there."""
    names = ("engine", "second")
    for _ in range(ROUNDS):
        table.change()
        runs = [Running(_deliver_as, name, name, places, table.stream) for name in names]
        assert [run.end() for run in runs] == [(0, ""), (0, "")]
    for name in names:
        Judge(places, table, name).check()


async def test_another_holder_waits_until_the_lease_of_a_dead_run_ends(
    kept_places: Places, table: Table, judge: Judge
) -> None:
    engine: Engine = kept_places.engine()
    await engine.deliver(table.stream)
    table.change()
    assert kill_at(8, kept_places, table.stream)
    engine.holder = "another"
    with pytest.raises(StreamBusy, match="test holds the stream"):
        await engine.deliver(table.stream)
    engine.expire_leases()
    await engine.deliver(table.stream)
    judge.check()


async def test_a_run_whose_lease_was_taken_over_writes_nothing(kept_places: Places, table: Table, judge: Judge) -> None:
    """It was paused for longer than its lease; meanwhile another one read and loaded, or only read."""
    engine: Engine = kept_places.engine()
    await engine.deliver(table.stream)
    table.change()
    with engine.warehouse.lease(pipeline_of(table.stream), table.stream, "paused") as token:
        batch = await engine._batch(table.stream, engine._window(False, None), token)
        assert batch is not None
        engine.expire_leases()
        with engine.warehouse.lease(pipeline_of(table.stream), table.stream, "another"):
            before = engine.rows("notes"), engine.query("SELECT * FROM millrace.batches")
            with pytest.raises(Superseded):
                engine.load(table.stream, batch)
            assert (engine.rows("notes"), engine.query("SELECT * FROM millrace.batches")) == before
    engine.expire_leases()
    await engine.deliver(table.stream)
    judge.check()
