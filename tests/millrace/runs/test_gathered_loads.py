"""Batches that wait in the lake (``load_every``): nothing is lost or doubled, whatever dies in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from millrace import Pipeline
from millrace.base.errors import ConfigurationError, TargetLost
from millrace.runs.choose import ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.gathered import find_due, is_waiting, load_landed
from millrace.warehouse.keepers.lake_keeper import LakeKeeper
from tests.support.engine import PIPELINE as NAME
from tests.support.engine import Engine
from tests.support.notes import NOTES, create_notes

GATHERING = Pipeline(NAME, [NOTES], load_every=timedelta(hours=1))
WAITING = ReadRequest(may_wait=True)


@pytest.fixture
async def gathering(either: Engine) -> Engine:
    """A stream that was loaded once, with leases in the lake."""
    create_notes(either, 3)
    engine = either.with_leases_in("lake")
    assert await run(engine) == "loaded"
    return engine


async def run(engine: Engine, read_request: ReadRequest = WAITING) -> str:
    """What a run of the pipeline does, up to the load of what waits."""
    with engine.warehouse.lease(GATHERING, NOTES, engine.holder) as token, engine._source(NOTES) as source:
        context = StreamContext(source, engine.landing(token), engine.warehouse, GATHERING, NOTES)
        batch = await read(context, read_request)
        ended = "nothing"
        if batch is not None and read_request.may_wait and is_waiting(GATHERING, batch):
            engine.warehouse.land(GATHERING, batch)
            ended = "landed"
        elif batch is not None:
            engine.warehouse.load(GATHERING, [batch], engine.store)
            ended = "loaded"
    engine.warehouse.release(GATHERING, {NOTES.name: token})
    return ended


def load(engine: Engine) -> list[int]:
    """Load what waits; how many rows each batch brought."""
    with engine.warehouse.lease(GATHERING, NOTES, engine.holder) as token:
        results = load_landed(engine.warehouse, engine.store, GATHERING, NOTES, token)
    engine.warehouse.release(GATHERING, {NOTES.name: token})
    return [result.loaded for result in results]


def write(engine: Engine, number: int) -> None:
    engine.source(f"INSERT INTO notes VALUES ({number}, 'new')")
    engine.source(f"UPDATE notes SET body = 'at {number}', changed = clock_timestamp() WHERE id = 1")


def is_same(engine: Engine) -> bool:
    return engine.rows("notes", "id", "body") == engine.source("SELECT id, body FROM notes ORDER BY 1")


async def test_batches_wait_and_are_loaded_in_order(gathering: Engine) -> None:
    for number in (4, 5, 6):
        write(gathering, number)
        assert await run(gathering) == "landed"
        assert await run(gathering) == "nothing", "the next read goes on from what landed"
    assert gathering.rows("notes", "id") == [(1,), (2,), (3,)]
    due = find_due(gathering.warehouse, GATHERING, NOTES)
    assert due is not None
    assert load(gathering) == [2, 2, 2]
    assert is_same(gathering)
    assert find_due(gathering.warehouse, GATHERING, NOTES) is None
    assert load(gathering) == []
    write(gathering, 7)
    assert await run(gathering) == "landed"
    assert load(gathering) == [2]
    assert is_same(gathering)


@pytest.mark.parametrize(
    "request_", [ReadRequest(), ReadRequest("sweep"), ReadRequest("full")], ids=["now", "sweep", "full"]
)
async def test_a_run_that_cannot_wait_loads_what_waits_first(gathering: Engine, request_: ReadRequest) -> None:
    write(gathering, 4)
    assert await run(gathering) == "landed"
    write(gathering, 5)
    assert await run(gathering, request_) == "loaded"
    assert is_same(gathering)
    assert find_due(gathering.warehouse, GATHERING, NOTES) is None


async def test_a_load_that_dies_between_two_batches_is_gone_on_with(
    gathering: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (4, 5):
        write(gathering, number)
        assert await run(gathering) == "landed"
    with monkeypatch.context() as killed:
        killed.setattr(LakeKeeper, "end_change", _dies)
        with pytest.raises(KeyboardInterrupt):
            load(gathering)
    assert gathering.rows("notes", "id") == [(1,), (2,), (3,), (4,)]
    write(gathering, 6)
    assert await run(gathering) == "landed"
    assert load(gathering) == [2, 2]
    assert is_same(gathering)


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


async def test_a_run_that_dies_before_its_batch_waits_is_read_again(gathering: Engine) -> None:
    """The batch is in the lake, and nobody knows it."""
    write(gathering, 4)
    with gathering.warehouse.lease(GATHERING, NOTES, gathering.holder) as token, gathering._source(NOTES) as source:
        await read(StreamContext(source, gathering.landing(token), gathering.warehouse, GATHERING, NOTES), WAITING)
    gathering.expire_leases()
    assert await run(gathering) == "landed"
    assert load(gathering) == [2]
    assert is_same(gathering)


async def test_what_waits_is_read_again_if_the_ledger_moved_without_it(gathering: Engine) -> None:
    """By a program of before, or by a pipeline without ``load_every``."""
    write(gathering, 4)
    assert await run(gathering) == "landed"
    assert await gathering.run(NOTES) is not None
    assert find_due(gathering.warehouse, GATHERING, NOTES) is None
    write(gathering, 5)
    assert await run(gathering) == "landed"
    assert load(gathering) == [2]
    assert is_same(gathering)


async def test_what_cannot_be_loaded_does_not_wait_for_ever(gathering: Engine) -> None:
    """The error is raised once; the next run reads the rows again, from the position of the ledger."""
    write(gathering, 4)
    assert await run(gathering) == "landed"
    gathering.query("DELETE FROM engine.notes")
    with pytest.raises(TargetLost):
        load(gathering)
    assert find_due(gathering.warehouse, GATHERING, NOTES) is None
    assert await run(gathering, ReadRequest("full")) == "loaded"
    assert is_same(gathering)


async def test_leases_in_the_warehouse_gather_nothing_and_say_so(either: Engine) -> None:
    create_notes(either, 3)
    await either.run(NOTES)
    with pytest.raises(ConfigurationError, match="set WAREHOUSE_LEASES=lake"):
        await run(either)


def test_load_every_is_refused_where_it_cannot_be_kept() -> None:
    with pytest.raises(ConfigurationError, match="wait longer"):
        replace(GATHERING, fresh_within=timedelta(minutes=30))
    with pytest.raises(ConfigurationError, match="committed together"):
        replace(GATHERING, landing="csv")
