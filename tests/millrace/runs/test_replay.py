"""Quarantine and replay on real servers: nothing rejected is lost, nothing replayed is counted twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import pytest
from bson import ObjectId
from pymongo import MongoClient

from millrace import Incremental, Stream
from millrace.base.errors import TooManyRejects
from millrace.base.types import INT64
from millrace.declaration.consent import Consent
from millrace.lake.manifest import read_manifest
from millrace.runs.choose import Mode, ReadRequest
from millrace.runs.quarantine import read_open_rejects
from tests.support.engine import Engine, counts, pipeline_of
from tests.support.lost_objects import replace_without


class Positive(dy.Schema):
    """Amounts are above zero."""

    id = dy.Int64(nullable=False)
    amount = dy.Int32(nullable=True, min_exclusive=0)
    changed = dy.Datetime(time_unit="us", time_zone="UTC", nullable=True)


class Lenient(dy.Schema):
    """Amounts may be anything."""

    id = dy.Int64(nullable=False)


STREAM = Stream(
    "sums",
    source="postgres:public.sums",
    key="id",
    capture=Incremental("changed", overlap=timedelta(0)),
    contract=Positive,
)


def fill(engine: Engine, amounts: list[int]) -> None:
    engine.source(
        "CREATE TABLE sums (id bigint PRIMARY KEY, amount int, changed timestamptz DEFAULT clock_timestamp())"
    )
    for number, amount in enumerate(amounts, start=1):
        engine.source(f"INSERT INTO sums VALUES ({number}, {amount})")


def still_open(engine: Engine, stream: Stream = STREAM) -> list[tuple[Any, ...]]:
    """Reason, field and coordinates of every open reject."""
    _, rows = read_open_rejects(engine.warehouse, engine.store, pipeline_of(stream), stream)
    return sorted(rows.select("reason", "field", "coordinates").rows())


BAD = [("contract_min_exclusive", "amount", '{"id":2}'), ("contract_min_exclusive", "amount", '{"id":4}')]


async def test_rejects_are_counted_in_the_ledger_by_reason_and_field(engine: Engine) -> None:
    fill(engine, [1, -2, 3, -4])
    assert counts(await engine.deliver(STREAM)) == {"read": 4, "inserted": 2, "rejected": 2}
    assert engine.query("SELECT reason, field, rows_rejected, closed_by FROM millrace.rejects") == [
        ("contract_min_exclusive", "amount", 2, None)
    ]
    assert still_open(engine) == BAD


async def test_a_mended_contract_and_a_replay_bring_the_rows(engine: Engine) -> None:
    fill(engine, [1, -2, 3, -4])
    await engine.deliver(STREAM)
    assert counts(await engine.replay(replace(STREAM, contract=Lenient))) == {"read": 2, "inserted": 2}
    assert engine.rows("sums", "id", "amount") == [(1, 1), (2, -2), (3, 3), (4, -4)]
    assert still_open(engine) == []
    assert await engine.replay(STREAM) is None, "nothing is open any more"


async def test_what_is_still_bad_stays_in_quarantine_and_is_counted_once(engine: Engine) -> None:
    fill(engine, [1, -2, 3, -4])
    await engine.deliver(STREAM)
    engine.source("UPDATE sums SET amount = 20 WHERE id = 2")
    assert counts(await engine.replay(STREAM)) == {"read": 2, "inserted": 1, "rejected": 1}
    assert still_open(engine) == [BAD[1]]
    assert engine.query("SELECT sum(rows_rejected) FROM millrace.rejects WHERE closed_by IS NULL") == [(1,)]


async def test_a_replay_never_brings_back_an_old_version(engine: Engine) -> None:
    """The rejected version is evidence: the row was mended and delivered since, and stays as it is now."""
    fill(engine, [-1])
    engine.source("INSERT INTO sums VALUES (9, 9)")
    await engine.deliver(STREAM)
    engine.source("UPDATE sums SET amount = 100, changed = clock_timestamp() WHERE id = 1")
    await engine.deliver(STREAM)
    assert counts(await engine.replay(replace(STREAM, contract=Lenient))) == {"read": 1, "unchanged": 1}
    assert engine.rows("sums", "id", "amount") == [(1, 100), (9, 9)]
    assert still_open(engine) == []


async def test_a_bad_row_that_is_read_in_every_window_is_one_open_reject(engine: Engine) -> None:
    fill(engine, [1])
    engine.source("INSERT INTO sums VALUES (2, -2, NULL)")
    for _ in range(3):
        await engine.deliver(STREAM)
    assert still_open(engine) == [BAD[0]]
    assert counts(await engine.replay(replace(STREAM, contract=Lenient))) == {"read": 1, "inserted": 1}


async def test_rows_without_a_key_that_every_window_reads_stop_no_window_and_are_open_once(engine: Engine) -> None:
    """Nothing locates them, and some are equal: each is told from the others by its content and their number."""
    stream = replace(STREAM, contract=None)
    engine.source("CREATE TABLE sums (id bigint, amount int, day date, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO sums SELECT g FROM generate_series(1, 120) AS g")
    engine.source("INSERT INTO sums SELECT NULL, amount, NULL, NULL FROM unnest(ARRAY[7, 7, 7, 1, 2, 3]) AS amount")
    engine.source("INSERT INTO sums SELECT NULL, amount, 'infinity', NULL FROM unnest(ARRAY[7, 7, 7, 1, 2]) AS amount")
    assert counts(await engine.run(stream)) == {"read": 131, "inserted": 120, "rejected": 11}
    for number in range(2):
        engine.source(f"INSERT INTO sums (id) VALUES (20{number})")
        result = counts(await engine.run(stream))
        assert (result["inserted"], result["rejected"]) == (1, 11)
    open_rows = [("infinite_date", "day", "{}")] * 5 + [("no_key", "id", "{}")] * 6
    assert still_open(engine, stream) == open_rows
    engine.source("INSERT INTO sums SELECT NULL, 7, NULL, NULL FROM generate_series(1, 11)")
    with pytest.raises(TooManyRejects, match=r"11 of \d+ rows were rejected, 10 are allowed \(11 others were rejected"):
        await engine.run(stream)
    assert counts(await engine.replay(stream)) == {"read": 11, "rejected": 11}
    assert still_open(engine, stream) == open_rows


async def test_rejected_rows_that_left_the_source_are_closed(engine: Engine) -> None:
    fill(engine, [1, -2])
    await engine.deliver(STREAM)
    engine.source("DELETE FROM sums WHERE id = 2")
    assert counts(await engine.replay(STREAM)) == {}
    assert still_open(engine) == []


async def test_a_replay_leaves_the_position_alone(engine: Engine) -> None:
    fill(engine, [1, -2])
    await engine.deliver(STREAM)
    engine.source("INSERT INTO sums VALUES (5, 5)")
    await engine.replay(STREAM)
    assert counts(await engine.deliver(STREAM)) == {"read": 1, "inserted": 1}


async def test_a_replay_that_is_loaded_twice_counts_once(engine: Engine) -> None:
    fill(engine, [1, -2])
    await engine.deliver(STREAM)
    lenient = replace(STREAM, contract=Lenient)
    await engine.replay(lenient)
    assert engine.load(lenient, engine.batches[-1]).was_applied_before
    assert engine.query("SELECT count(*), sum(rows_inserted) FROM millrace.batches") == [(2, 2)]


async def test_too_many_rejects_fail_before_anything_is_committed(engine: Engine) -> None:
    fill(engine, [1, -2, 3, -4])
    with pytest.raises(TooManyRejects, match="2 of 4 rows were rejected, 1 are allowed"):
        await engine.run(replace(STREAM, max_rejects=1))
    assert engine.query("SELECT count(*) FROM millrace.batches") == [(0,)]
    kept = [key for key in engine.store.list_keys("") if "rejects-" in key]
    assert kept, "the evidence is in the lake all the same"


@pytest.mark.parametrize("mode", ["incremental", "full", "sweep"])
async def test_a_person_can_let_a_batch_through_that_has_too_many_rejects(engine: Engine, mode: Mode) -> None:
    fill(engine, [1, 2])
    await engine.deliver(STREAM)
    engine.source("UPDATE sums SET amount = -amount, changed = clock_timestamp()")
    strict = replace(STREAM, max_rejects=0)
    with pytest.raises(TooManyRejects, match="--accept-rejects"):
        await engine.run(strict, ReadRequest(mode))
    result = await engine.run(strict, ReadRequest(mode, consent=Consent(accept_rejects=True)))
    assert counts(result)["rejected"] == 2
    assert read_manifest(engine.store, engine.batches[-1].manifest_key).consent.accept_rejects


async def test_a_share_that_is_not_exceeded_passes(engine: Engine) -> None:
    fill(engine, [1, -2, 3, -4])
    assert counts(await engine.run(replace(STREAM, max_reject_share=0.5)))["rejected"] == 2


@pytest.mark.parametrize("lost", ["a file of rejects", "a manifest"])
async def test_a_file_of_rejects_that_is_gone_stops_no_replay_of_the_others(engine: Engine, lost: str) -> None:
    fill(engine, [1, -2, -3])
    await engine.deliver(STREAM)
    engine.source("INSERT INTO sums VALUES (4, -4)")
    await engine.deliver(STREAM)
    first, second = engine.batches
    assert (first.counts.rejected, second.counts.rejected) == (2, 1)
    key = first.files.rejects[0] if lost == "a file of rejects" else first.manifest_key
    store = replace_without(engine, key)
    _, rows = read_open_rejects(engine.warehouse, store, pipeline_of(STREAM), STREAM)
    assert sorted(rows["reason"]) == ["contract_min_exclusive", "file_is_gone", "file_is_gone"]
    assert set(rows.filter(reason="file_is_gone")["file"]) == {engine.store.uri(key)}
    lenient = replace(STREAM, contract=Lenient)
    for _ in range(2):
        result = await engine.replay(lenient)
        assert result and result.rejected == 2, "what is lost stays open"
        assert engine.store.uri(key) in result.warnings[0]
    assert engine.rows("sums", "id") == [(1,), (4,)]
    await engine.sweep(lenient)
    assert engine.rows("sums", "id") == [(1,), (2,), (3,), (4,)]
    assert still_open(engine) == []


async def test_documents_are_replayed_by_their_id_whatever_its_type(
    engine: Engine, mongo_url: str, mongo_database: str
) -> None:
    stream = Stream(
        "things",
        source=f"mongo:{mongo_database}.things",
        key="_id",
        capture=Incremental("at", overlap=timedelta(0)),
        types={"n": INT64},
    )
    now = datetime.now(UTC)
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    things = client[mongo_database]["things"]
    ids: list[Any] = [ObjectId(), ObjectId(), ObjectId()]
    things.insert_many([{"_id": one, "n": 1, "at": now} for one in ids[:2]] + [{"_id": ids[2], "n": "x", "at": now}])
    assert counts(await engine.deliver(stream)) == {"read": 3, "inserted": 2, "rejected": 1}
    things.update_one({"_id": ids[2]}, {"$set": {"n": 7}})
    assert counts(await engine.replay(stream)) == {"read": 1, "inserted": 1}
    assert engine.query("SELECT n FROM engine.things ORDER BY n") == [(1,), (1,), (7,)]
    client.close()


async def test_a_row_with_a_binary_key_is_replayed(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE prices (id bytea PRIMARY KEY, price numeric, changed timestamptz DEFAULT now()); "
        "INSERT INTO prices VALUES ('\\x00ff', 'NaN'), ('\\x01', 1)"
    )
    stream = replace(STREAM, name="prices", source="postgres:public.prices", contract=None)
    await engine.deliver(stream)
    engine.source("UPDATE prices SET price = 5 WHERE price = 'NaN'")
    assert counts(await engine.replay(stream)) == {"read": 1, "inserted": 1}


async def test_one_text_within_a_document_that_is_too_long_rejects_its_row_alone(engine: Engine) -> None:
    """Redshift's SUPER holds 16 MB, and no text in it of more than 65,535 bytes."""
    engine.source("CREATE TABLE papers (id int PRIMARY KEY, body jsonb, changed timestamptz DEFAULT now())")
    engine.source(
        "INSERT INTO papers SELECT i, jsonb_build_object('pages', jsonb_build_array('short', texts.long)) FROM "
        "(VALUES (1, 65535), (2, 65536)) AS rows (i, size), LATERAL (SELECT left(string_agg(md5(n::text), ''), size) "
        "FROM generate_series(1, 2049) AS n) AS texts (long)"
    )
    stream = replace(STREAM, name="papers", source="postgres:public.papers", contract=None)
    assert counts(await engine.deliver(stream)) == {"read": 2, "inserted": 1, "rejected": 1}
    assert [(one["reason"], one["field"], one["coordinates"]) for one in engine.rejects()] == [
        ("too_long", "body", '{"id":2}')
    ]
