"""Reconciliation on real servers: a target that is not what the source was at the read fails the load, or is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dataframely as dy
import pytest
from pymongo import MongoClient

from millrace import Incremental, Reconcile, Stream
from millrace.base.errors import CountMismatch
from tests.support.engine import Engine
from tests.support.notes import create_notes

NOTES = Stream(
    "notes",
    source="postgres:public.notes",
    key="id",
    capture=Incremental("changed", overlap=timedelta(0)),
    reconcile=Reconcile(rows=1_000),
)
WARN = replace(NOTES, reconcile=Reconcile(rows=1_000, policy="warn"))


def touch(engine: Engine) -> None:
    engine.source("UPDATE notes SET body = 'touched', changed = clock_timestamp() WHERE id = 1")


async def test_a_target_that_agrees_passes(either: Engine) -> None:
    create_notes(either, 20)
    for _ in range(2):
        result = await either.deliver(NOTES)
        assert result is not None
        assert result.warnings == ()
        touch(either)


async def test_a_row_that_is_gone_at_the_source_fails_the_load_before_it_commits(either: Engine) -> None:
    create_notes(either, 20)
    await either.deliver(NOTES)
    before = either.rows("notes"), either.query("SELECT * FROM millrace.batches")
    either.source("DELETE FROM notes WHERE id = 7")
    touch(either)
    with pytest.raises(
        CountMismatch, match=r"the source held 19 rows, the target holds 20 .* Remedy: .*millrace sweep"
    ):
        await either.deliver(NOTES)
    assert (either.rows("notes"), either.query("SELECT * FROM millrace.batches")) == before


async def test_a_silent_update_is_found_in_the_sample(either: Engine) -> None:
    create_notes(either, 20)
    await either.deliver(NOTES)
    either.source("UPDATE notes SET body = 'silent' WHERE id = 7")
    touch(either)
    with pytest.raises(CountMismatch, match="1 of 20 sampled rows differ"):
        await either.deliver(NOTES)
    await either.sweep(NOTES)
    touch(either)
    await either.deliver(NOTES)


async def test_a_difference_may_be_told_instead(engine: Engine) -> None:
    create_notes(engine, 20)
    await engine.deliver(WARN)
    engine.source("DELETE FROM notes WHERE id = 7; UPDATE notes SET body = 'silent' WHERE id = 8")
    touch(engine)
    result = await engine.deliver(WARN)
    assert result is not None
    assert result.updated == 1
    assert result.warnings == (
        "the source held 19 rows, the target holds 20 (0 rejected ones are open)",
        "1 of 19 sampled rows differ",
    )


class Short(dy.Schema):
    """Bodies of at most ten characters."""

    body = dy.String(nullable=True, max_length=10)


async def test_rejected_rows_are_no_difference(engine: Engine) -> None:
    create_notes(engine, 20)
    engine.source("INSERT INTO notes VALUES (21, 'much longer than ten')")
    result = await engine.deliver(replace(NOTES, contract=Short))
    assert result is not None
    assert (result.inserted, result.rejected, result.warnings) == (20, 1, ())


async def test_only_a_part_of_a_large_table_is_drawn(engine: Engine) -> None:
    create_notes(engine, rows=5_000)
    batch = await engine.extract(replace(NOTES, reconcile=Reconcile(rows=100)))
    assert batch is not None
    assert batch.counts.source_rows == 5_000
    assert 20 < sum(part.rows for part in batch.files.sample) < 300


async def test_documents_are_reconciled_too(engine: Engine, mongo_url: str, mongo_database: str) -> None:
    stream = Stream(
        "things",
        source=f"mongo:{mongo_database}.things",
        key="_id",
        capture=Incremental("at"),
        reconcile=Reconcile(policy="warn"),
    )
    client: MongoClient[dict[str, object]] = MongoClient(mongo_url)
    things = client[mongo_database]["things"]
    things.insert_many([{"_id": number, "n": number, "at": datetime.now(UTC)} for number in range(10)])
    result = await engine.deliver(stream)
    assert result is not None
    assert result.warnings == ()
    things.delete_one({"_id": 3})
    result = await engine.deliver(stream)
    assert result is not None
    assert result.warnings == ("the source held 9 rows, the target holds 10 (0 rejected ones are open)",)
    client.close()


async def test_a_first_load_whose_rows_were_all_rejected_has_nothing_to_compare(engine: Engine) -> None:
    create_notes(engine, rows=0)
    engine.source("INSERT INTO notes VALUES (1, 'much longer than ten')")
    result = await engine.deliver(replace(NOTES, contract=Short))
    assert result is not None
    assert (result.rejected, result.warnings) == (1, ())
