"""What is newer is told by leases and commits: a source whose clock was ahead, and is corrected, stops no stream."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from millrace import Stream
from millrace.base.errors import Superseded
from millrace.lake.batch import Batch
from millrace.runs.choose import Mode, ReadRequest
from tests.support import shop
from tests.support.changed_batches import change_batch
from tests.support.engine import Engine, Together, pipeline_of
from tests.support.notes import NOTES

AHEAD = timedelta(days=1)


def fill(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE notes (id int PRIMARY KEY, body text, changed timestamptz DEFAULT clock_timestamp()); "
        "INSERT INTO notes VALUES (1, 'before')"
    )


def ahead(batch: Batch) -> Batch:
    """The batch as it would be if the source's clock had been a day ahead when it was read."""
    assert batch.progress.position is not None
    position = datetime.fromisoformat(batch.progress.position) + AHEAD
    return change_batch(batch, read_at=batch.read_at + AHEAD, position=position.isoformat())


async def deliver_ahead(engine: Engine, stream: Stream = NOTES) -> None:
    batch = await engine.extract(stream)
    assert batch is not None
    engine.load(stream, ahead(batch))


@pytest.mark.parametrize("mode", ["incremental", "full", "sweep"])
async def test_a_source_whose_clock_was_ahead_and_is_right_again_goes_on(either: Engine, mode: Mode) -> None:
    fill(either)
    await either.deliver(NOTES)
    either.source("INSERT INTO notes VALUES (2, 'ahead')")
    await deliver_ahead(either)
    either.source("INSERT INTO notes VALUES (3, 'right again'); UPDATE notes SET body = 'changed' WHERE id = 1")
    either.source("UPDATE notes SET changed = clock_timestamp() WHERE id = 1")
    result = await either.run(NOTES, ReadRequest(mode))
    assert result is not None
    assert either.rows("notes", "id", "body") == [(1, "changed"), (2, "ahead"), (3, "right again")]
    if mode != "full":
        assert "lies in the future" in "".join(result.warnings), "it is told"
    position = either.warehouse.find_state(pipeline_of(NOTES), NOTES).position
    assert position == either.batches[-1].progress.position, "and the position is that of the last batch"
    either.source("INSERT INTO notes VALUES (4, 'later')")
    result = await either.run(NOTES)
    assert result is not None
    assert (result.inserted, result.warnings) == (1, ()), "once"


async def test_a_stream_whose_every_position_lies_in_the_future_is_read_as_a_whole(engine: Engine) -> None:
    fill(engine)
    await deliver_ahead(engine)
    engine.source("INSERT INTO notes VALUES (2, 'stamped before the position')")
    result = await engine.run(NOTES)
    assert result is not None
    assert (result.read, result.inserted) == (2, 1)
    assert "everything is read" in "".join(result.warnings)


async def test_a_sweep_that_is_due_daily_does_not_wait_for_a_clock_that_was_ahead(engine: Engine) -> None:
    stream = replace(NOTES, sweep="daily")
    fill(engine)
    await engine.deliver(stream)
    batch = await engine.extract_sweep(stream)
    assert batch is not None
    engine.load(stream, replace(ahead(batch), kind="sweep"))
    now = datetime.now(UTC)
    standing = engine.warehouse.find_state(pipeline_of(stream), stream)
    assert standing.last_sweep is not None
    assert standing.last_sweep <= now
    assert standing.last_read is not None
    assert standing.last_read <= now


async def test_the_position_is_that_of_the_newest_lease_whatever_the_clocks_said(engine: Engine) -> None:
    """A source whose clock was behind: its position, which is older, is the one that counts."""
    fill(engine)
    await engine.deliver(NOTES)
    engine.source("INSERT INTO notes VALUES (2, 'behind')")
    batch = await engine.extract(NOTES)
    assert batch is not None
    behind = "2020-01-01T00:00:00+00:00"
    engine.load(NOTES, change_batch(batch, read_at=datetime.fromisoformat(behind), position=behind))
    assert engine.warehouse.find_state(pipeline_of(NOTES), NOTES).position == behind


async def test_a_batch_of_an_earlier_lease_is_refused_however_late_its_clock_was(either: Engine) -> None:
    fill(either)
    earlier = await either.extract(NOTES)
    either.source("UPDATE notes SET body = 'after', changed = clock_timestamp()")
    later = await either.extract(NOTES)
    assert earlier is not None
    assert later is not None
    either.load(NOTES, later)
    either.query("DELETE FROM millrace.leases")
    with pytest.raises(Superseded, match="run again"):
        either.load(NOTES, ahead(earlier))
    assert either.rows("notes", "id", "body") == [(1, "after")]


async def test_a_batch_whose_token_was_given_again_after_leases_were_deleted_is_refused(engine: Engine) -> None:
    """Two batches of one token: whichever is loaded first counts."""
    fill(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    engine.query("DELETE FROM millrace.leases")
    again = await engine.extract(NOTES)
    assert again is not None
    assert again.progress.token == batch.progress.token
    engine.load(NOTES, again)
    with pytest.raises(Superseded):
        engine.load(NOTES, batch)


async def test_rejects_of_the_newest_batch_come_first_whatever_the_clocks_said(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE notes (id int PRIMARY KEY, due date, changed timestamptz DEFAULT clock_timestamp()); "
        "INSERT INTO notes VALUES (1, '2026-01-01'), (2, 'infinity')"
    )
    await deliver_ahead(engine)
    engine.source("INSERT INTO notes VALUES (3, '-infinity')")
    await engine.run(NOTES, ReadRequest("incremental"))
    found = engine.warehouse.list_open_rejects(pipeline_of(NOTES), NOTES)
    assert found[0].batch_id == engine.batches[-1].batch_id


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
