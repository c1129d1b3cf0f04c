"""Leases and states in the lake: an idle run leaves the warehouse asleep, and nothing is lost or doubled."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from millrace import Append, Pipeline, Queue, Stream
from millrace.base.errors import StreamBusy, Superseded, Unreachable
from millrace.lake.lease import LEASES, LakeLeases
from millrace.runs.choose import ReadRequest
from millrace.warehouse.keepers.keeper import KeptIn
from millrace.warehouse.keepers.lake_keeper import LakeKeeper
from millrace.warehouse.ledger import lease
from tests.support.engine import PIPELINE as NAME
from tests.support.engine import Engine, counts, pipeline_of
from tests.support.notes import NOTES, create_notes
from tests.support.queue_messages import LATER, collect

PIPELINE = pipeline_of(NOTES)


@dataclass
class Door:
    """The way to a warehouse: counts who goes in, and can be shut."""

    connect: Callable[[], Any]
    visits: int = 0
    is_shut: bool = False

    def __call__(self) -> Any:
        if self.is_shut:
            raise Unreachable("the warehouse sleeps", place="test")
        self.visits += 1
        return self.connect()


@pytest.fixture
def sleeping(either: Engine) -> Engine:
    """An engine whose warehouse has a door, and whose leases lie in the lake."""
    return replace(either, connect_warehouse=Door(either.connect_warehouse)).with_leases_in("lake")


def door_of(engine: Engine) -> Door:
    assert isinstance(engine.connect_warehouse, Door)
    return engine.connect_warehouse


def leases_of(engine: Engine) -> LakeLeases:
    keeper: Any = engine.warehouse._keeper
    return keeper.lake.leases  # type: ignore[no-any-return] # a protocol


async def test_an_idle_run_does_not_connect_to_the_warehouse(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    door_of(sleeping).is_shut = True
    assert [await sleeping.run(NOTES) for _ in range(3)] == [None] * 3
    sleeping.source("UPDATE notes SET body = 'new', changed = clock_timestamp() WHERE id = 2")
    with pytest.raises(Unreachable):
        await sleeping.run(NOTES)
    door_of(sleeping).is_shut = False
    assert counts(await sleeping.run(NOTES)) == {"read": 1, "updated": 1}


async def test_a_read_does_not_connect_before_there_is_something_to_load(
    sleeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often its lease is renewed meanwhile."""
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    renewed = Event()
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(LakeKeeper, "extend", _telling(LakeKeeper.extend, renewed))
    door_of(sleeping).is_shut = True
    with sleeping.warehouse.lease(PIPELINE, NOTES, "run A"):
        assert renewed.wait(10)


def _telling(extend: Callable[..., None], told: Event) -> Callable[..., None]:
    def extend_and_tell(*arguments: Any) -> None:
        extend(*arguments)
        told.set()

    return extend_and_tell


async def test_a_target_that_was_dropped_is_noticed_by_the_next_change(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    sleeping.query("DROP TABLE engine.notes")
    assert await sleeping.run(NOTES) is None, "nobody looked"
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    assert counts(await sleeping.run(NOTES)) == {"read": 6, "inserted": 6}
    assert "behind the warehouse" in sleeping.batches[-1].note


async def test_a_target_that_was_dropped_is_noticed_by_the_daily_visit(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    sleeping.query("DROP TABLE engine.notes")
    visiting = Pipeline(NAME, [NOTES], visit_every=timedelta(seconds=1))
    Event().wait(1.1)
    with sleeping.warehouse.lease(visiting, NOTES, "run A"):
        assert sleeping.warehouse.find_state(visiting, NOTES).columns == ()


async def test_a_crash_between_commit_and_state_is_found_before_anything_is_read(
    sleeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    position = sleeping.warehouse.find_state(PIPELINE, NOTES).position
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    with monkeypatch.context() as killed:
        killed.setattr(LakeKeeper, "end_load", lambda *_: None)
        await sleeping.run(NOTES)
    assert sleeping.warehouse.find_state(PIPELINE, NOTES).position == position, "the object is behind"
    with sleeping.warehouse.lease(PIPELINE, NOTES, sleeping.holder):
        door_of(sleeping).is_shut = True
        assert sleeping.warehouse.find_state(PIPELINE, NOTES).position != position, "the lease was taken by a visit"
    assert await sleeping.run(NOTES) is None


async def test_a_look_without_a_lease_does_not_spare_the_first_visit(sleeping: Engine) -> None:
    """A plan of a stream that was loaded under leases of the warehouse: its tokens go on from those."""
    create_notes(sleeping, 5)
    for _ in range(3):
        await sleeping.with_leases_in("warehouse").run(NOTES, ReadRequest("full"))
    assert sleeping.warehouse.find_state(PIPELINE, NOTES).position
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    assert counts(await sleeping.run(NOTES)) == {"read": 1, "inserted": 1}


async def test_a_visit_that_fails_gives_the_lease_back(sleeping: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the token of the lease was raised above those of the ledger."""
    create_notes(sleeping, 5)
    for _ in range(3):
        await sleeping.with_leases_in("warehouse").run(NOTES)
    with monkeypatch.context() as failing, pytest.raises(Unreachable):
        failing.setattr(LakeKeeper, "_write_state", _fails)
        await replace(sleeping, holder="run A").run(NOTES)
    assert await replace(sleeping, holder="run B").run(NOTES) is None


def _fails(*_: Any) -> None:
    raise Unreachable("the connection was lost", place="test")


async def test_a_batch_that_was_read_by_a_state_that_is_behind_is_read_again(sleeping: Engine) -> None:
    """Nobody knows how the ledger came to be ahead; a backup of it that was restored is the same."""
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    sleeping.query("UPDATE millrace.batches SET batch_id = 'another'")
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    assert counts(await sleeping.run(NOTES)) == {"read": 1, "inserted": 1}
    first, second = sleeping.batches[-1:], sleeping.batches[-1]
    assert (first, second.progress.predecessor) == ([second], "another")
    assert "behind the warehouse" in second.note


async def test_a_batch_is_refused_if_the_ledger_moved_after_it_was_read(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    batch = await sleeping.extract(NOTES)
    assert batch is not None
    sleeping.query("UPDATE millrace.batches SET batch_id = 'another'")
    with pytest.raises(Superseded, match=r"was read when \S+ was the newest applied one, and now it is another"):
        sleeping.load(NOTES, batch)
    sleeping.expire_leases()
    assert counts(await sleeping.run(NOTES)) == {"read": 1, "inserted": 1}


async def test_a_run_of_the_other_setting_is_kept_out(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    with sleeping.warehouse.lease(PIPELINE, NOTES, "run A"), pytest.raises(StreamBusy, match="run A holds the stream"):
        await replace(sleeping, holder="run B").with_leases_in("warehouse").run(NOTES)
    sleeping.expire_leases()
    waking = sleeping.with_leases_in("warehouse")
    with waking.warehouse.lease(PIPELINE, NOTES, "run B"), pytest.raises(StreamBusy, match="run B holds the stream"):
        await replace(sleeping, holder="run A").run(NOTES)


async def test_leases_move_between_lake_and_warehouse_and_back(sleeping: Engine) -> None:
    """Tokens grow all the way, and each finds what the other loaded."""
    create_notes(sleeping, 5)
    place: KeptIn
    for number, place in enumerate(("lake", "warehouse", "warehouse", "lake", "warehouse", "lake", "lake"), start=6):
        engine = sleeping.with_leases_in(place)
        sleeping.source(f"INSERT INTO notes VALUES ({number}, 'new')")
        result = await engine.run(NOTES)
        assert result is not None
        assert result.inserted == (6 if number == 6 else 1)
    tokens = [token for (token,) in sleeping.query("SELECT token FROM millrace.batches ORDER BY applied_at")]
    assert tokens == sorted(set(tokens))


async def test_a_stale_batch_of_a_run_that_lost_its_lease_is_refused(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    stale = await replace(sleeping, holder="run A").extract(NOTES)
    sleeping.expire_leases()
    batch = await replace(sleeping, holder="run B").extract(NOTES)
    assert stale is not None
    assert batch is not None
    with pytest.raises(Superseded, match="another run took the stream over"):
        sleeping.load(NOTES, stale)
    assert sleeping.load(NOTES, batch).inserted == 1


async def test_lease_and_state_may_be_deleted_by_hand(sleeping: Engine) -> None:
    """Tokens go on from those of the ledger."""
    create_notes(sleeping, 5)
    for _ in range(3):
        await sleeping.run(NOTES, ReadRequest("full"))
    client: Any = sleeping.store._client  # type: ignore[attr-defined] # a BucketStore
    for key in sleeping.store.list_keys(LEASES):
        client.delete_object(Bucket=sleeping.store.name, Key=key)  # type: ignore[attr-defined] # a BucketStore
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    assert counts(await sleeping.run(NOTES)) == {"read": 1, "inserted": 1}
    tokens = [token for (token,) in sleeping.query("SELECT token FROM millrace.batches ORDER BY applied_at")]
    assert tokens == sorted(set(tokens))


async def test_a_batch_of_the_other_setting_is_loaded_and_the_next_run_looks_into_the_warehouse(
    sleeping: Engine,
) -> None:
    """Read before a deployment with another setting, and loaded after it: the row of the lease is still the other's."""
    create_notes(sleeping, 5)
    await sleeping.run(NOTES)
    waking = replace(sleeping, holder="run A").with_leases_in("warehouse")
    for number in (6, 7, 8):
        sleeping.source(f"INSERT INTO notes VALUES ({number}, 'new')")
        batch = await waking.extract(NOTES)
        assert batch is not None
    assert sleeping.load(NOTES, batch).inserted == 3
    with pytest.raises(StreamBusy, match="run A holds the stream"):
        await replace(sleeping, holder="run B").run(NOTES)
    sleeping.expire_leases()
    assert await replace(sleeping, holder="run B").run(NOTES) is None
    door_of(sleeping).is_shut = True
    assert await replace(sleeping, holder="run B").run(NOTES) is None, "one look is enough"


def test_a_doubt_does_not_let_a_lease_begin_again(sleeping: Engine) -> None:
    leases = leases_of(sleeping)
    token = leases.take(NAME, "notes", "run A").token
    leases.extend(NAME, "notes", token, seconds=1)
    Event().wait(2.1)
    leases.doubt(NAME, "notes")
    assert leases.find_holder(NAME, "notes") is None


async def test_a_lease_alone_may_be_deleted_by_hand(sleeping: Engine) -> None:
    create_notes(sleeping, 5)
    for _ in range(3):
        await sleeping.run(NOTES, ReadRequest("full"))
    client: Any = sleeping.store._client  # type: ignore[attr-defined] # a BucketStore
    for key in sleeping.store.list_keys(LEASES):
        if key.endswith("lease.json"):
            client.delete_object(Bucket=sleeping.store.name, Key=key)  # type: ignore[attr-defined] # a BucketStore
    sleeping.source("INSERT INTO notes VALUES (6, 'new')")
    assert counts(await sleeping.run(NOTES)) == {"read": 1, "inserted": 1}


async def test_an_idle_run_of_a_queue_does_not_connect_to_the_warehouse(sleeping: Engine) -> None:
    """Though objects that were applied lie in its window."""
    messages = Stream("orders", "sqs/orders", "id", Queue(), load=Append())
    collect(sleeping, json.dumps({"id": 1}), json.dumps({"id": 2}))
    assert counts(await sleeping.run(messages)) == {"read": 2, "inserted": 2}
    door_of(sleeping).is_shut = True
    assert [await sleeping.run(messages) for _ in range(2)] == [None] * 2
    door_of(sleeping).is_shut = False
    collect(sleeping, json.dumps({"id": 3}), at=LATER)
    assert counts(await sleeping.run(messages)) == {"read": 1, "inserted": 1}
