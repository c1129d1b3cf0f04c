"""Which member of a MongoDB answers, what it shows, and how far a position may go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Timestamp
from pymongo import MongoClient, monitoring

from millrace import Incremental, Stream
from millrace.drivers.mongo_client import open_client
from millrace.sources import mongo
from millrace.sources.chunk import Keys, Window
from millrace.sources.mongo import MongoSource, find_shown_until
from tests.support.engine import Engine

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
LAGGING = {
    "localTime": NOW,
    "secondary": True,
    "isWritablePrimary": False,
    "lastWrite": {
        "opTime": {"ts": Timestamp(9, 1)},
        "lastWriteDate": NOW - timedelta(minutes=5),
        "majorityOpTime": {"ts": Timestamp(8, 1)},
        "majorityWriteDate": NOW - timedelta(minutes=9),
    },
}


class Commands(monitoring.CommandListener):
    """Every command that is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: Any) -> None:
        self.sent.append(dict(event.command))

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass

    def of(self, name: str) -> list[dict[str, Any]]:
        return [command for command in self.sent if name in command]


@pytest.fixture
def commands() -> Iterator[Commands]:
    """What every client made within the test sends."""
    listener = Commands()
    kept = monitoring._LISTENERS.command_listeners
    monitoring.register(listener)
    yield listener
    kept.remove(listener)


@pytest.fixture
def papers(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    """A stream, and its collection of one document."""
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        collection = client[mongo_database]["papers"]
        collection.insert_one({"_id": 1, "changed": NOW})
        yield Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed")), collection


async def read_once(url: str, stream: Stream) -> tuple[str | None, str]:
    """Position and note of a read of everything, after a look-up in the same run."""
    client = open_client(url)
    source = MongoSource(client)
    async with source.read(stream, (), Window()) as reading:
        assert [chunk.frame.height async for chunk in reading.read_chunks()] == [1]
        assert await reading.count() == 1
        await reading.sample(1)
        await source.find_existing(stream, (), Keys(("_id",), [(1,)]))
    client.close()
    return reading.facts.next_position, reading.facts.note


async def test_what_is_read_is_what_a_majority_has_and_no_less_than_was_seen_before(
    papers: Any, engine: Engine, commands: Commands
) -> None:
    await read_once(engine.mongo_url, papers[0])
    read = commands.of("find") + commands.of("aggregate")
    assert len(read) >= 4
    assert {command["readConcern"]["level"] for command in read} == {"majority"}
    assert all("afterClusterTime" in command["readConcern"] for command in read)
    assert len({command["lsid"]["id"] for command in read}) == 1
    assert all("$readPreference" not in command for command in read)


@pytest.mark.parametrize("mode", ["secondaryPreferred", "nearest"])
async def test_the_url_may_say_which_member_and_the_same_is_asked_for_its_clock(
    papers: Any, engine: Engine, commands: Commands, mode: str
) -> None:
    url = f"{engine.mongo_url}?readPreference={mode}&readConcernLevel=local&directConnection=false"
    await read_once(url, papers[0])
    asked = [*commands.of("hello")[-1:], *commands.of("find")]
    assert {command["$readPreference"]["mode"] for command in asked} == {mode}
    assert {command["readConcern"]["level"] for command in commands.of("find")} == {"local"}


async def test_a_position_is_no_later_than_what_the_member_shows(
    papers: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hello(source: MongoSource) -> dict[str, Any]:
        return LAGGING

    monkeypatch.setattr(MongoSource, "ask_hello", hello)
    position, note = await read_once(engine.mongo_url, papers[0])
    assert position == (NOW - timedelta(minutes=9) - mongo.DEFAULT_OVERLAP).isoformat()
    assert note == ""


async def test_a_member_that_does_not_tell_is_told_in_the_report(
    papers: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hello(source: MongoSource) -> dict[str, Any]:
        return {"localTime": datetime.now(UTC), "secondary": True, "isWritablePrimary": False}

    monkeypatch.setattr(MongoSource, "ask_hello", hello)
    await engine.deliver(papers[0])
    assert "does not tell how far it has followed" in engine.batches[-1].note


SILENT = {"localTime": NOW, "isWritablePrimary": True}


@pytest.mark.parametrize(
    ("hello", "options", "moment", "is_known"),
    [
        (SILENT, "", NOW, True),
        (SILENT | {"isWritablePrimary": False, "secondary": True}, "?readPreference=secondary", NOW, False),
        ({"localTime": NOW, "ismaster": False}, "", NOW, False),
        ({"localTime": NOW, "ismaster": True}, "", NOW, True),
        (SILENT | {"msg": "isdbgrid"}, "", NOW, True),
        (SILENT | {"msg": "isdbgrid"}, "?readPreference=secondaryPreferred", NOW, False),
        (LAGGING, "", NOW - timedelta(minutes=9), True),
        (LAGGING, "?readConcernLevel=local", NOW - timedelta(minutes=5), True),
        (LAGGING | {"isWritablePrimary": True}, "", NOW - timedelta(minutes=9), True),
        (SILENT | {"lastWrite": {"lastWriteDate": NOW}}, "", NOW, True),
    ],
)
async def test_a_position_goes_as_far_as_each_kind_of_server_shows(
    hello: dict[str, Any], options: str, moment: datetime, is_known: bool
) -> None:
    client = open_client(f"mongodb://127.0.0.1:1/{options}")
    assert find_shown_until(hello, client) == (moment, "" if is_known else mongo.UNKNOWN_LAG)
    client.close()
