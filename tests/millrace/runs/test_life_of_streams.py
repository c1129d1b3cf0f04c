"""Pause, resume and reset of a stream, as the ledger of either warehouse holds them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from sqlalchemy.engine import URL

from millrace import Append, ChangeLog, Incremental, Pipeline, Queue, Snapshot, Stream
from millrace.base.errors import ConfigurationError, Conflict, StreamBusy, Superseded
from millrace.blocks.leases import choose_keeper
from millrace.warehouse.keepers.lake_keeper import LakeKeeper
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.stream_life import find_position, pause_stream, reset_position, resume_stream
from millrace.warehouse.warehouse import Warehouse
from tests.support.engine import WAREHOUSE_URL, Engine, pipeline_of
from tests.support.notes import NOTES, create_notes

PIPELINE = pipeline_of(NOTES)


OTHER_HOST = WAREHOUSE_URL.set(host="other.example.com")
"""Another name of the host of the warehouse."""


def with_warehouse_at(engine: Engine, url: URL) -> Engine:
    """The same engine, which knows its warehouse by this URL and keeps leases in the lake."""
    store: Any = engine.store
    make_keeper = choose_keeper("lake", url, store)
    return replace(engine, warehouse=Warehouse(engine.connect_warehouse, engine.warehouse.dialect, "", make_keeper))


def test_a_run_knows_pauses_without_the_warehouse_if_leases_are_in_the_lake(either: Engine) -> None:
    kept = either.with_leases_in("lake")
    with kept.warehouse.open_ledger("test") as ledger:
        ledger.ensure()
    kept.warehouse.find_pauses(PIPELINE)
    asleep = replace(kept, connect_warehouse=None).with_leases_in("lake")
    assert asleep.warehouse.find_pauses(PIPELINE) == {}
    either.query("INSERT INTO millrace.pauses VALUES ('engine', 'notes', '2026-01-01', 'by hand', '')")
    assert asleep.warehouse.find_pauses(PIPELINE) == {}, "nobody told the lake"
    visiting = replace(PIPELINE, visit_every=timedelta(seconds=1))
    Event().wait(1.1)
    assert [*kept.warehouse.find_pauses(visiting)] == ["notes"], "until the next visit"


@pytest.mark.parametrize("by", ["lake", "warehouse", "other host"])
def test_a_pause_reaches_the_lake_whoever_pauses(either: Engine, by: str) -> None:
    """Whatever the setting of the command is, and by whatever name of the host it knows the warehouse."""
    kept = either.with_leases_in("lake")
    commands = {"lake": kept, "warehouse": either.with_leases_in("warehouse")}
    command = commands.get(by) or with_warehouse_at(either, OTHER_HOST)
    for engine in (kept, command):
        assert engine.warehouse.find_pauses(PIPELINE) == {}
    pause = pause_stream(command.warehouse, PIPELINE, NOTES, "ann@desk")
    assert kept.warehouse.find_pauses(PIPELINE) == {"notes": pause}
    asleep = replace(kept, connect_warehouse=None).with_leases_in("lake")
    assert asleep.warehouse.find_pauses(PIPELINE) == {"notes": pause}
    resume_stream(command.warehouse, PIPELINE, NOTES)
    assert kept.warehouse.find_pauses(PIPELINE) == {}


def test_a_pause_is_not_overwritten_by_a_run_that_asked_before_it(
    either: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, ask = either.with_leases_in("lake"), LakeKeeper._ask_pauses

    def ask_and_pause(keeper: LakeKeeper, pipeline: Pipeline) -> dict[str, Pause]:
        found = ask(keeper, pipeline)
        pause_stream(kept.warehouse, PIPELINE, NOTES, "ann@desk")
        return found

    monkeypatch.setattr(LakeKeeper, "_ask_pauses", ask_and_pause)
    with suppress(Conflict):
        kept.warehouse.find_pauses(PIPELINE)
    monkeypatch.setattr(LakeKeeper, "_ask_pauses", ask)
    assert [*kept.warehouse.find_pauses(PIPELINE)] == ["notes"]


def test_a_pause_holds_until_it_ends_and_the_first_one_counts(kept: Engine) -> None:
    assert kept.warehouse.find_pauses(PIPELINE) == {}
    assert resume_stream(kept.warehouse, PIPELINE, NOTES) is None
    first = pause_stream(kept.warehouse, PIPELINE, NOTES, "ann@desk", "the source is being moved")
    assert pause_stream(kept.warehouse, PIPELINE, NOTES, "bob@desk") == first
    assert kept.warehouse.find_pauses(PIPELINE) == {"notes": first}
    assert first.note == f"paused since {first.since:%Y-%m-%d %H:%M} UTC by ann@desk (the source is being moved)"
    assert resume_stream(kept.warehouse, PIPELINE, NOTES) == first
    assert kept.warehouse.find_pauses(PIPELINE) == {}


def test_a_long_reason_is_cut_to_what_the_ledger_holds(kept: Engine) -> None:
    pause = pause_stream(kept.warehouse, PIPELINE, NOTES, "ü" * 300, "ü" * 2_000)
    assert kept.warehouse.find_pauses(PIPELINE) == {"notes": pause}
    assert (len(pause.by.encode()), len(pause.reason.encode())) == (256, 1024)


async def test_a_reset_reads_from_the_given_moment_and_deletes_nothing(kept: Engine) -> None:
    create_notes(kept, 3)
    kept.source("UPDATE notes SET changed = '2026-01-01+00' WHERE id = 1")
    await kept.run(NOTES)
    kept.source("DELETE FROM notes WHERE id = 2; UPDATE notes SET body = 'silent'")
    assert await kept.run(NOTES) is None, "nothing has a later stamp"
    since = datetime(2026, 6, 1, tzinfo=UTC)
    reset_position(kept.warehouse, PIPELINE, NOTES, since, "test")
    assert find_position(kept.warehouse, PIPELINE, NOTES) == since.isoformat()
    result = await kept.run(NOTES)
    assert result is not None
    assert (result.read, result.updated, result.deleted) == (1, 1, 0)
    assert kept.batches[-1].progress.lower == since.isoformat()
    assert kept.rows("notes", "id", "body") == [(1, "notes 1"), (2, "notes 2"), (3, "silent")]


async def test_a_reset_to_the_beginning_reads_everything_once_and_deletes_nothing(kept: Engine) -> None:
    create_notes(kept, 3)
    await kept.run(NOTES)
    kept.source("DELETE FROM notes WHERE id = 2; UPDATE notes SET body = 'silent'")
    reset_position(kept.warehouse, PIPELINE, NOTES, None, "test")
    assert find_position(kept.warehouse, PIPELINE, NOTES) is None
    assert kept.warehouse.find_state(PIPELINE, NOTES).last_sweep is not None
    result = await kept.run(NOTES)
    assert result is not None
    assert (result.read, result.updated, result.deleted) == (2, 2, 0)
    assert find_position(kept.warehouse, PIPELINE, NOTES) is not None
    assert kept.rows("notes", "id") == [(1,), (2,), (3,)]
    assert await kept.run(NOTES) is None


async def test_a_batch_that_was_read_before_a_reset_is_not_applied_after_it(kept: Engine) -> None:
    create_notes(kept, 1)
    await kept.run(NOTES)
    kept.source("UPDATE notes SET changed = clock_timestamp()")
    batch = await kept.extract(NOTES)
    assert batch is not None
    with pytest.raises(StreamBusy, match="test holds the stream"):
        reset_position(kept.warehouse, PIPELINE, NOTES, None, "somebody else")
    reset_position(kept.warehouse, PIPELINE, NOTES, None, "test")
    with pytest.raises(Superseded):
        kept.load(NOTES, batch)


async def test_a_position_that_a_stream_cannot_have_is_refused(engine: Engine) -> None:
    create_notes(engine, 1)
    with pytest.raises(ConfigurationError, match=r"never loaded.*millrace run engine"):
        find_position(engine.warehouse, PIPELINE, NOTES)
    await engine.run(NOTES)
    with pytest.raises(ConfigurationError, match="lies in the future"):
        reset_position(engine.warehouse, PIPELINE, NOTES, datetime.now(UTC) + timedelta(hours=1), "test")
    snapshot = Stream("notes", source="postgres:public.notes", key="id", capture=Snapshot())
    with pytest.raises(ConfigurationError, match="its capture is Snapshot"):
        reset_position(engine.warehouse, pipeline_of(snapshot), snapshot, None, "test")
    queue = Stream("notes", "sqs/notes", "id", Queue(), load=Append())
    with pytest.raises(ConfigurationError, match=r"its capture is Queue.*run --from"):
        reset_position(engine.warehouse, pipeline_of(queue), queue, None, "test")


async def test_a_position_of_numbers_is_reset_to_a_number(engine: Engine) -> None:
    create_notes(engine, 3)
    numbered = replace(NOTES, capture=Incremental("id", overlap=1))
    pipeline = pipeline_of(numbered)
    await engine.run(numbered)
    with pytest.raises(ConfigurationError, match=r"its cursor 'id' holds numbers.*give --to-number"):
        reset_position(engine.warehouse, pipeline, numbered, datetime(2026, 1, 1, tzinfo=UTC), "test")
    engine.source("UPDATE notes SET body = 'silent'")
    reset_position(engine.warehouse, pipeline, numbered, 2, "test")
    assert find_position(engine.warehouse, pipeline, numbered) == "id=2"
    await engine.run(numbered)
    assert engine.rows("notes", "id", "body") == [(1, "notes 1"), (2, "silent"), (3, "silent")]
    stamped = await engine.run(replace(NOTES, sweep=""))
    assert stamped is not None
    with pytest.raises(ConfigurationError, match=r"its cursor 'changed' holds moments.*give --to,"):
        reset_position(engine.warehouse, PIPELINE, NOTES, 2, "test")


async def test_a_change_log_has_no_position_to_reset(engine: Engine) -> None:
    logged = Stream("notes", source="postgres:public.notes", key="id", capture=ChangeLog())
    with pytest.raises(ConfigurationError, match=r"its capture is ChangeLog.*millrace sweep engine --stream notes"):
        reset_position(engine.warehouse, pipeline_of(logged), logged, None, "test")
