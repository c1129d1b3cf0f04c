"""A batch that was refused for its rejects: what it rejected is listed, and a stream goes on after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dataframely as dy
import pytest

from millrace import Append, Incremental, Merge, Queue, Stream
from millrace.base.errors import TooManyRejects
from millrace.base.types import INT64
from millrace.declaration.consent import Consent
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import Mode, ReadRequest
from millrace.runs.quarantine import read_open_rejects, read_refused_rejects
from tests.support.engine import Engine, pipeline_of
from tests.support.queue_messages import LATER, NOON, collect

ORDERS = Stream("orders", "sqs/orders", "id", Queue(), load=Append(), types={"n": INT64})
GOOD, BAD = '{"id": "%s%d", "n": 1}', '{"id": "%s%d", "n": "x"}'
ACCEPTED = Consent(accept_rejects=True)


class Positive(dy.Schema):
    """Amounts are above zero."""

    id = dy.Int64(nullable=False)
    amount = dy.Int32(nullable=True, min_exclusive=0)


SUMS = Stream("sums", "postgres:public.sums", "id", Incremental("changed"), contract=Positive)


def send(engine: Engine, body: str, name: str, count: int, *, minutes: int = 0) -> None:
    at = NOON + minutes * (LATER - NOON)
    collect(engine, *(body % (name, number) for number in range(count)), at=at)


def refused(engine: Engine, stream: Stream = ORDERS) -> list[tuple[Any, ...]]:
    """Reason, field and number of what the batch rejected that was refused last."""
    rows = read_refused_rejects(engine.warehouse, engine.store, pipeline_of(stream), stream)
    return rows.group_by("reason", "field").len().sort("reason").rows()


def kept(engine: Engine, stream: Stream = ORDERS) -> int:
    """Rows that are in quarantine."""
    return read_open_rejects(engine.warehouse, engine.store, pipeline_of(stream), stream)[1].height


@pytest.mark.parametrize("load", [Append(), Merge()], ids=["append", "merge"])
@pytest.mark.parametrize("good_before", [0, 30], ids=["an empty target", "a target"])
async def test_a_queue_whose_messages_were_refused_goes_on_with_those_that_come_later(
    engine: Engine, load: LoadMode, good_before: int
) -> None:
    stream = Stream(**{**vars(ORDERS), "load": load})
    if good_before:
        send(engine, GOOD, "before", good_before)
        await engine.run(stream)
    send(engine, BAD, "bad", 20, minutes=1)
    for _ in range(2):
        with pytest.raises(TooManyRejects, match="20 type_mismatch of n") as raised:
            await engine.run(stream)
        assert "the data" not in raised.value.remedy, "nobody can change a message"
    assert refused(engine) == [("type_mismatch", "n", 20)]
    assert kept(engine) == 0
    send(engine, GOOD, "good", 3, minutes=2)
    result = await engine.run(stream)
    assert result and (result.read, result.inserted, result.rejected) == (23, 3, 20)
    assert (refused(engine), kept(engine)) == ([], 20)
    assert len(engine.rows("orders", "id")) == good_before + 3
    assert await engine.run(stream) is None


async def test_more_messages_that_are_wrong_are_refused_again(engine: Engine) -> None:
    send(engine, GOOD, "good", 5)
    send(engine, BAD, "bad", 20, minutes=1)
    with pytest.raises(TooManyRejects, match="20 of 25 rows were rejected, 10 are allowed"):
        await engine.run(ORDERS)
    send(engine, BAD, "worse", 11, minutes=2)
    told = r"11 of 16 rows were rejected, 10 are allowed \(20 others were rejected before\)"
    with pytest.raises(TooManyRejects, match=told):
        await engine.run(ORDERS)
    assert refused(engine) == [("type_mismatch", "n", 31)]
    send(engine, GOOD, "later", 1, minutes=3)
    result = await engine.run(ORDERS)
    assert result and (result.inserted, result.rejected) == (6, 31)


async def test_a_person_lets_messages_through_that_were_refused(engine: Engine) -> None:
    send(engine, GOOD, "good", 2)
    send(engine, BAD, "bad", 20)
    with pytest.raises(TooManyRejects, match="--accept-rejects"):
        await engine.run(ORDERS)
    result = await engine.run(ORDERS, ReadRequest(consent=ACCEPTED))
    assert result and (result.inserted, result.rejected) == (2, 20)
    assert (refused(engine), kept(engine)) == ([], 20)
    send(engine, GOOD, "later", 1, minutes=1)
    result = await engine.run(ORDERS)
    assert result and (result.read, result.inserted, result.rejected) == (1, 1, 0)


async def test_messages_that_were_refused_are_loaded_once_their_declaration_is_right(engine: Engine) -> None:
    send(engine, BAD, "bad", 20)
    with pytest.raises(TooManyRejects):
        await engine.run(ORDERS)
    result = await engine.run(Stream(**{**vars(ORDERS), "types": {}}))
    assert result and (result.inserted, result.rejected) == (20, 0)
    assert refused(engine) == []


@pytest.mark.parametrize("mode", ["incremental", "full", "sweep"])
async def test_rows_of_a_table_that_were_refused_are_listed_until_the_stream_goes_on(
    engine: Engine, mode: Mode
) -> None:
    engine.source(
        "CREATE TABLE sums (id bigserial PRIMARY KEY, amount int, changed timestamptz DEFAULT clock_timestamp());"
        "INSERT INTO sums (amount) SELECT 1 FROM generate_series(1, 5)"
    )
    await engine.run(SUMS)
    engine.source("INSERT INTO sums (amount) SELECT -1 FROM generate_series(1, 12)")
    for _ in range(2):
        with pytest.raises(TooManyRejects, match="12 contract_min_exclusive of amount"):
            await engine.run(SUMS, ReadRequest(mode))
    assert refused(engine, SUMS) == [("contract_min_exclusive", "amount", 12)]
    assert kept(engine, SUMS) == 0
    assert await engine.run(SUMS, ReadRequest("replay")) is None, "what was refused is read again by the next run"
    assert refused(engine, SUMS), "a replay does not go on"
    engine.source("UPDATE sums SET amount = 2, changed = clock_timestamp() WHERE amount < 0")
    result = await engine.run(SUMS, ReadRequest(mode))
    assert result and result.rejected == 0
    assert refused(engine, SUMS) == []


async def test_a_backfill_that_was_refused_is_listed_until_it_is_let_through_and_hides_no_other(
    engine: Engine,
) -> None:
    engine.source(
        "CREATE TABLE sums (id bigserial PRIMARY KEY, amount int, changed timestamptz DEFAULT clock_timestamp());"
        "INSERT INTO sums (amount, changed) SELECT -1, '2020-01-01' FROM generate_series(1, 11);"
        "INSERT INTO sums (amount) SELECT 1 FROM generate_series(1, 5)"
    )
    await engine.run(SUMS, ReadRequest(consent=ACCEPTED))
    engine.source("UPDATE sums SET amount = -2 WHERE amount < 0; INSERT INTO sums (amount) SELECT -3 FROM sums")
    with pytest.raises(TooManyRejects):
        await engine.run(SUMS)
    assert refused(engine, SUMS) == [("contract_min_exclusive", "amount", 16)]
    backfill = ReadRequest(start="2019-01-01T00:00:00+00:00", end="2021-01-01T00:00:00+00:00")
    engine.source("INSERT INTO sums (amount, changed) SELECT -4, '2020-01-02' FROM generate_series(1, 13)")
    with pytest.raises(TooManyRejects):
        await engine.run(SUMS, backfill)
    assert refused(engine, SUMS) == [("contract_min_exclusive", "amount", 24)]
    await engine.run(SUMS, replace(backfill, consent=ACCEPTED))
    assert refused(engine, SUMS) == [("contract_min_exclusive", "amount", 16)], "the regular run's is still refused"
