"""Batches that wait in the lake (``load_every``): nothing is lost or doubled, whatever dies in between."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from millrace import Dated, Pipeline, Redact, Stream
from millrace.base.errors import ConfigurationError, TargetLost
from millrace.declaration.row_shape import digest_row_shape
from millrace.runs.choose import Mode, ReadRequest, leave_out_outdated, read
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


async def run(engine: Engine, read_request: ReadRequest = WAITING, pipeline: Pipeline = GATHERING) -> str:
    """What a run of the pipeline does, up to the load of what waits."""
    (stream,) = pipeline.streams
    with engine.warehouse.lease(pipeline, stream, engine.holder) as token, engine._source(stream) as source:
        context = StreamContext(source, engine.landing(token), engine.warehouse, pipeline, stream)
        read_request = await leave_out_outdated(context, read_request)
        batch = await read(context, read_request)
        ended = "nothing"
        if batch is not None and read_request.may_wait and is_waiting(pipeline, batch):
            engine.warehouse.land(pipeline, batch)
            ended = "landed"
        elif batch is not None:
            engine.warehouse.load(pipeline, [batch], engine.store)
            ended = "loaded"
    engine.warehouse.release(pipeline, {stream.name: token})
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


@pytest.mark.parametrize("request_", [ReadRequest(), ReadRequest("sweep")], ids=["now", "sweep"])
async def test_a_run_that_cannot_wait_loads_what_waits_first(gathering: Engine, request_: ReadRequest) -> None:
    write(gathering, 4)
    assert await run(gathering) == "landed"
    write(gathering, 5)
    assert await run(gathering, request_) == "loaded"
    assert count_batches(gathering) == 3
    assert is_same(gathering)
    assert find_due(gathering.warehouse, GATHERING, NOTES) is None


@pytest.mark.parametrize("mode", ["full", "reload"])
async def test_a_read_of_everything_forgets_what_waits(gathering: Engine, mode: Mode) -> None:
    write(gathering, 4)
    assert await run(gathering) == "landed"
    write(gathering, 5)
    assert await run(gathering, ReadRequest(mode)) == "loaded"
    assert count_batches(gathering) == 2
    assert is_same(gathering)
    assert find_due(gathering.warehouse, GATHERING, NOTES) is None


async def test_a_full_read_loads_what_only_the_batches_that_wait_have(gathering: Engine) -> None:
    """A row that was deleted since, in a stream that keeps deleted rows."""
    keeping = replace(GATHERING, streams=[replace(NOTES, deletes="ignore")])
    write(gathering, 4)
    assert await run(gathering, pipeline=keeping) == "landed"
    gathering.source("DELETE FROM notes WHERE id = 4")
    assert await run(gathering, ReadRequest("full"), keeping) == "loaded"
    assert gathering.rows("notes", "id") == [(1,), (2,), (3,), (4,)]


def count_batches(engine: Engine) -> int:
    """How many batches were applied."""
    ((number,),) = engine.query("SELECT count(*) FROM millrace.batches")
    return int(number)


@pytest.mark.parametrize(
    "changed",
    [
        replace(NOTES, mask={"body": Redact()}),
        replace(NOTES, omitted=["body"]),
        replace(NOTES, rewritten={"body": pl.col("body").str.to_uppercase()}),
    ],
    ids=["mask", "omitted", "rewritten"],
)
async def test_what_was_read_by_another_declaration_is_read_again(gathering: Engine, changed: Stream) -> None:
    """Else a value that is masked since would arrive in plain text."""
    write(gathering, 4)
    assert await run(gathering) == "landed"
    declared = replace(GATHERING, streams=[changed])
    assert find_due(gathering.warehouse, declared, changed) is None
    assert await run(gathering, pipeline=declared) == "loaded", "it has waited before"
    (note,) = gathering.query("SELECT batch_id, rows_read FROM millrace.batches ORDER BY token DESC LIMIT 1")
    assert note[1] == 2
    assert ("new",) not in gathering.rows("notes", "body")


def test_the_digest_of_a_declaration_is_the_same_in_another_process() -> None:
    """Also with a Python function and a long list; what leaves the rows as they are does not matter."""
    script = (
        "import polars as pl\nfrom millrace import Incremental, Stream\n"
        "from millrace.declaration.row_shape import digest_row_shape\n"
        "names = {'anna', 'bert', 'cleo', 'dora'}\n"
        "values = {'a': pl.col('a').map_elements(lambda x: x in names, return_dtype=pl.Boolean),"
        " 'b': pl.col('b').is_in(list(range(100)))}\n"
        "print(digest_row_shape(Stream('n', 'postgres:public.n', 'id', Incremental('changed'), rewritten=values)))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert digest_row_shape(NOTES) == digest_row_shape(replace(NOTES, deletes="soft", sweep="daily"))


async def test_a_batch_that_waits_is_a_read_for_those_after_it(gathering: Engine) -> None:
    """By it the time is known from which on the next batch of a dated stream takes effect."""
    write(gathering, 4)
    assert await run(gathering) == "landed"
    (landed,) = gathering.warehouse.list_landed(GATHERING, NOTES)
    state = gathering.warehouse.find_state(GATHERING, NOTES)
    assert state.last_read == landed.read_at
    assert Dated("lake").effective_at(datetime.now(UTC), state.last_read) == landed.read_at


@pytest.mark.parametrize("number", [1, 2])
async def test_a_load_that_dies_between_two_batches_is_gone_on_with(
    gathering: Engine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for row in (4, 5, 6):
        write(gathering, row)
        assert await run(gathering) == "landed"
    ended, end_load = iter(range(1, 10)), LakeKeeper.end_load

    def die_at_its_turn(*arguments: Any) -> None:
        if next(ended) == number:
            raise KeyboardInterrupt
        end_load(*arguments)

    with monkeypatch.context() as killed:
        killed.setattr(LakeKeeper, "end_load", die_at_its_turn)
        with pytest.raises(KeyboardInterrupt):
            load(gathering)
    assert gathering.rows("notes", "id") == [(row,) for row in range(1, 4 + number)]
    gathering.expire_leases()
    with gathering.warehouse.lease(GATHERING, NOTES, gathering.holder):
        landed = gathering.warehouse.list_landed(GATHERING, NOTES)
        assert len(landed) == 3 - number, "the lease was taken by a visit"
    write(gathering, 7)
    assert await run(gathering) == "landed"
    assert load(gathering) == [2] * (4 - number)
    assert is_same(gathering)


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
