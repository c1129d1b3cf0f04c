"""How many rejected rows a run may leave behind: by default one in ten, ten at least, and never all of everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import pytest
from pymongo import MongoClient

from millrace import Append, Incremental, Queue, Replace, Snapshot, Stream
from millrace.base.errors import TooManyRejects
from millrace.base.types import INT64, TIMESTAMP_UTC
from millrace.contract.tolerance import allowed_rejects
from millrace.declaration.consent import Consent
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine
from tests.support.queue_messages import collect


class Positive(dy.Schema):
    """Amounts are above zero."""

    id = dy.Int64(nullable=False)
    amount = dy.Int32(nullable=True, min_exclusive=0)


SUMS = Stream("sums", "postgres:public.sums", "id", Incremental("changed", timedelta(0)), contract=Positive)
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
ACCEPTED = Consent(accept_rejects=True)


@pytest.mark.parametrize(
    ("declared", "read", "allowed"),
    [
        ({}, 1, 10),
        ({}, 99, 10),
        ({}, 250, 25),
        ({}, 10_000, 1_000),
        ({}, 1_000_000, 1_000),
        ({"max_rejects": 3}, 1_000, 3),
        ({"max_rejects": 0}, 1_000, 0),
        ({"max_reject_share": 0}, 1_000, 0),
        ({"max_reject_share": 1.0}, 20, 20),
        ({"max_reject_share": 0.001}, 20_000, 20),
    ],
)
def test_a_tenth_is_allowed_but_ten_rows_at_least_and_a_thousand_at_most_unless_declared(
    declared: dict[str, Any], read: int, allowed: int
) -> None:
    assert allowed_rejects(replace(SUMS, **declared), read) == allowed


def fill(engine: Engine, good: int, bad: int) -> None:
    engine.source(
        "CREATE TABLE IF NOT EXISTS sums"
        "(id bigserial PRIMARY KEY, amount int, changed timestamptz DEFAULT clock_timestamp());"
        f"INSERT INTO sums (amount) SELECT 1 FROM generate_series(1, {good});"
        f"INSERT INTO sums (amount) SELECT -1 FROM generate_series(1, {bad})"
    )


@pytest.mark.parametrize(
    "stream",
    [
        SUMS,
        replace(SUMS, max_reject_share=1.0),
        replace(SUMS, capture=Snapshot()),
        replace(SUMS, capture=Snapshot(), load=Replace(), key=()),
        replace(SUMS, load=Append()),
    ],
    ids=["window", "any share", "snapshot", "replace", "append"],
)
async def test_a_read_of_everything_whose_rows_are_all_rejected_fails(engine: Engine, stream: Stream) -> None:
    fill(engine, 0, 3)
    with pytest.raises(TooManyRejects, match="all 3 rows were rejected: 3 contract_min_exclusive of amount") as raised:
        await engine.run(stream)
    assert "allow more" not in raised.value.remedy
    assert engine.query("SELECT count(*) FROM millrace.batches") == [(0,)]
    result = await engine.run(stream, ReadRequest(consent=ACCEPTED))
    assert result and result.rejected == 3


async def test_a_later_read_of_everything_whose_rows_are_all_rejected_fails_too(engine: Engine) -> None:
    fill(engine, 2, 1)
    await engine.run(SUMS)
    engine.source("UPDATE sums SET amount = -1")
    for read_request in (ReadRequest("full"), ReadRequest("sweep")):
        with pytest.raises(TooManyRejects, match="all 3 rows were rejected"):
            await engine.run(SUMS, read_request)
    assert engine.rows("sums", "id", "amount") == [(1, 1), (2, 1)]


async def test_a_backfill_that_makes_the_target_fails_too_where_all_its_rows_are_rejected(engine: Engine) -> None:
    fill(engine, 0, 3)
    with pytest.raises(TooManyRejects, match="all 3 rows were rejected"):
        await engine.run(SUMS, ReadRequest(start="2020-01-01T00:00:00+00:00"))


async def test_a_window_of_few_rows_may_be_rejected_whole_and_tells_it(engine: Engine) -> None:
    """Else two bad rows would stop a stream for ever; more of them are more than chance."""
    fill(engine, 2, 0)
    await engine.run(SUMS)
    fill(engine, 0, 2)
    result = await engine.run(SUMS)
    assert result and (result.read, result.rejected) == (2, 2)
    fill(engine, 0, 11)
    with pytest.raises(TooManyRejects, match="11 of 11 rows were rejected, 10 are allowed: 11 contract_min_exclusive"):
        await engine.run(SUMS)


async def test_rows_without_a_stamp_are_judged_once_though_every_window_reads_them(engine: Engine) -> None:
    fill(engine, 280, 20)
    engine.source("UPDATE sums SET changed = NULL WHERE amount < 0")
    result = await engine.run(SUMS)
    assert result and (result.read, result.rejected) == (300, 20)
    for good in (1, 2):
        fill(engine, good, 0)
        result = await engine.run(SUMS)
        assert result and (result.inserted, result.rejected) == (good, 20)
    fill(engine, 0, 11)
    told = r"11 of 11 rows were rejected, 10 are allowed \(20 others were rejected before\)"
    with pytest.raises(TooManyRejects, match=told):
        await engine.run(SUMS)


async def test_documents_whose_stamp_is_no_date_are_judged_once(engine: Engine, mongo_database: str) -> None:
    stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed", timedelta(0)))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        papers = client[mongo_database]["papers"]
        papers.insert_many([{"_id": i, "changed": YESTERDAY if i % 20 else "yesterday"} for i in range(400)])
        result = await engine.run(stream)
        assert result and (result.inserted, result.rejected) == (380, 20)
        papers.insert_one({"_id": 1000, "changed": datetime.now(UTC)})
        result = await engine.run(stream)
        assert result and (result.inserted, result.rejected) == (1, 20)


async def test_by_default_a_tenth_may_be_rejected(engine: Engine) -> None:
    fill(engine, 180, 20)
    result = await engine.run(SUMS)
    assert result and (result.read, result.rejected) == (200, 20)
    fill(engine, 189, 22)
    with pytest.raises(TooManyRejects, match="22 of 211 rows were rejected, 21 are allowed"):
        await engine.run(SUMS)


async def test_a_replay_of_what_stays_rejected_is_no_failure(engine: Engine) -> None:
    fill(engine, 0, 30)
    await engine.run(SUMS, ReadRequest(consent=ACCEPTED))
    result = await engine.run(SUMS, ReadRequest("replay"))
    assert result and (result.read, result.rejected) == (30, 30)


async def test_messages_that_are_all_malformed_fail_too(engine: Engine) -> None:
    stream = Stream(
        "orders", "sqs/orders", "id", Queue(stamp="at"), load=Append(), types={"count": INT64, "at": TIMESTAMP_UTC}
    )
    collect(engine, "{", "[]", '{"id": "a", "count": "x"}')
    told = "all 3 rows were rejected: 1 not_json, 1 not_an_object, 1 type_mismatch of count"
    with pytest.raises(TooManyRejects, match=told):
        await engine.run(stream)
    collect(engine, '{"id": "a"}')
    result = await engine.run(stream)
    assert result and (result.read, result.inserted, result.rejected) == (4, 1, 3)
