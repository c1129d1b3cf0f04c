"""A runner whose clock is minutes wrong: positions are by the source's clock, leases by the warehouse's or the
lake's."""

from __future__ import annotations

import datetime as module
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace import Stream
from tests.faults.judge import Judge
from tests.faults.places import Places
from tests.faults.processes import Tell, deliver, run
from tests.faults.subjects import Collection, Table
from tests.support.engine import pipeline_of

MINUTES = [7, -7]


def _deliver_at(tell: Tell, minutes: int, places: Places, stream: Stream) -> None:
    _shift_clock(timedelta(minutes=minutes))
    deliver(places, stream)


def _shift_clock(by: timedelta) -> None:
    """Let every module of ours that has ``datetime`` or ``time`` see another time."""
    true_time = time.time
    time.time = lambda: true_time() + by.total_seconds()

    class Metaclass(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, datetime)

    class Shifted(datetime, metaclass=Metaclass):
        @classmethod
        def now(cls, tz: module.tzinfo | None = None) -> datetime:  # type: ignore[override] # as the original
            return datetime.now(tz) + by

    for name, loaded in list(sys.modules.items()):
        if name.startswith("millrace") and getattr(loaded, "datetime", None) is datetime:
            loaded.datetime = Shifted  # type: ignore[attr-defined] # a module's own name


@pytest.mark.parametrize("first", MINUTES)
async def test_runners_ahead_and_behind_lose_nothing(places: Places, table: Table, judge: Judge, first: int) -> None:
    """One after the other, so that a moment of the runner's would seem to go back or leave a gap."""
    for minutes in (first, -first, first, 0):
        table.change()
        before = datetime.now(UTC)
        code, said = run(_deliver_at, minutes, places, table.stream)
        assert code == 0, said
        judge.check()
        ((position,),) = places.engine().query("SELECT max(position) FROM millrace.batches")
        assert before - timedelta(seconds=2) <= datetime.fromisoformat(position) <= datetime.now(UTC)


async def test_the_same_with_mongodb(places: Places, collection: Collection) -> None:
    judge = Judge(places, collection)
    for minutes in (*MINUTES, *MINUTES):
        collection.change()
        code, said = run(_deliver_at, minutes, places, collection.stream)
        assert code == 0, said
        judge.check()


@pytest.mark.parametrize("minutes", MINUTES)
async def test_a_lease_does_not_end_by_a_runners_clock(kept_places: Places, table: Table, minutes: int) -> None:
    engine = kept_places.engine()
    with engine.warehouse.lease(pipeline_of(table.stream), table.stream, "another"):
        code, said = run(_deliver_at, minutes, kept_places, table.stream)
    assert (code, said.partition(":")[0]) == (1, "StreamBusy")
