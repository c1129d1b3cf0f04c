"""Stamps that say no time zone, on servers of many zones: windows, backfills, what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pymongo import MongoClient

from local.mysql import MySQLServer
from millrace import Incremental, Merge, Pipeline, Queue, Stream
from millrace.base.errors import ConfigurationError
from millrace.base.types import TIMESTAMP
from millrace.base.zones import earliest_wall_clock, latest_wall_clock, possible_zones, zones_other_than_utc
from millrace.lake.manifest import read_manifest
from millrace.sources.chunk import Window
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import Engine, database_of
from tests.support.notes import NOTES
from tests.support.queue_messages import collect

WEST, EAST = "America/New_York", "Asia/Ho_Chi_Minh"
NEW_YORK = ZoneInfo(WEST)
SetZone = Callable[[Engine, str], None]


def of_the_database(engine: Engine, zone: str) -> None:
    name = database_of(engine.postgres_url)
    engine.source(f"ALTER DATABASE \"{name}\" SET timezone = '{zone}'")


def of_the_role(engine: Engine, zone: str) -> None:
    engine.source(f"ALTER ROLE CURRENT_USER SET timezone = '{zone}'")


def of_the_role_in_the_database(engine: Engine, zone: str) -> None:
    name = database_of(engine.postgres_url)
    engine.source(f"ALTER ROLE CURRENT_USER IN DATABASE \"{name}\" SET timezone = '{zone}'")


def make_notes(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int primary key, changed timestamp DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1)")


async def insert_between(engine: Engine, stream: Stream = NOTES, values: str = "2") -> LoadResult:
    """Deliver, insert a row, deliver again: what the second run says."""
    await engine.deliver(stream)
    engine.source(f"INSERT INTO notes VALUES ({values})")
    result = await engine.deliver(stream)
    assert result is not None
    return result


async def read_ids(engine: Engine, stream: Stream, lower: str | None, upper: str | None = None) -> list[int]:
    """Keys of the rows that a window selects."""
    async with engine.table_source(stream).read(stream, (), Window(lower, upper)) as reading:
        return sorted([number async for chunk in reading.read_chunks() for number in chunk.frame["id"]])


@pytest.mark.parametrize("set_zone", [of_the_database, of_the_role, of_the_role_in_the_database])
@pytest.mark.parametrize("zone", [WEST, EAST, "<-03>+03", "EST5EDT"])
async def test_a_stamp_of_the_servers_own_zone_is_not_passed_over(engine: Engine, set_zone: SetZone, zone: str) -> None:
    set_zone(engine, zone)
    make_notes(engine)
    result = await insert_between(engine)
    assert result.inserted == 1
    assert any(zone in warning and "stamps_in" in warning for warning in result.warnings)


@pytest.mark.parametrize("variable", [{"PGTZ": "UTC"}, {"PGOPTIONS": "-c timezone=UTC"}], ids=["PGTZ", "PGOPTIONS"])
async def test_a_zone_of_the_runner_does_not_hide_that_of_the_server(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]
) -> None:
    of_the_server = f"changed timestamp DEFAULT (clock_timestamp() AT TIME ZONE '{WEST}')"
    engine.source(f"CREATE TABLE notes (id int primary key, {of_the_server}); INSERT INTO notes VALUES (1)")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    result = await insert_between(engine)
    assert result.inserted == 1
    assert any("PGTZ" in warning and "stamps_in" in warning for warning in result.warnings)


async def test_stamps_in_utc_on_a_server_of_another_zone_are_not_passed_over(engine: Engine) -> None:
    of_the_database(engine, EAST)
    make_notes(engine)
    result = await insert_between(engine, values="2, clock_timestamp() AT TIME ZONE 'UTC'")
    assert result.inserted == 1


async def test_the_zone_that_other_roles_write_in_is_told(engine: Engine) -> None:
    """The reader's own session is in UTC."""
    make_notes(engine)
    of_the_role_in_the_database(engine, WEST)
    async with engine.table_source(NOTES).read(NOTES, (), Window()) as reading:
        assert reading.facts.zones == (WEST,)


@pytest.mark.parametrize("zone", [WEST, EAST])
async def test_a_declared_zone_is_exact_and_needs_no_warning(engine: Engine, zone: str) -> None:
    of_the_database(engine, zone)
    make_notes(engine)
    stream = replace(NOTES, stamps_in=zone)
    result = await insert_between(engine, stream)
    assert (result.inserted, result.unchanged, result.warnings) == (1, 0, ())
    assert result.freshness is not None
    assert result.freshness.stamped == 1
    assert float(result.freshness.max_seconds or 0) < 60
    assert await engine.deliver(stream) is None


async def test_who_declares_utc_is_believed(engine: Engine) -> None:
    of_the_database(engine, WEST)
    make_notes(engine)
    stream = replace(NOTES, stamps_in="UTC")
    result = await engine.deliver(stream)
    assert result is not None
    assert result.warnings == ()


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "GMT", "Africa/Abidjan"])
async def test_a_server_in_utc_by_any_name_needs_no_warning(engine: Engine, zone: str) -> None:
    of_the_database(engine, zone)
    make_notes(engine)
    result = await engine.deliver(NOTES)
    assert result is not None
    assert result.warnings == ()


async def test_a_stamp_with_its_own_zone_needs_no_declared_one(engine: Engine) -> None:
    of_the_database(engine, WEST)
    engine.source("CREATE TABLE notes (id int primary key, changed timestamptz DEFAULT now(), other timestamp)")
    engine.source("INSERT INTO notes VALUES (1)")
    result = await insert_between(engine)
    assert (result.inserted, result.unchanged, result.warnings) == (1, 0, ())


async def test_values_arrive_as_the_wall_clock_that_they_are(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int primary key, changed timestamp)")
    engine.source("INSERT INTO notes VALUES (1, '2024-02-29 23:30:00.123456')")
    await engine.deliver(replace(NOTES, stamps_in=EAST))
    assert engine.rows("notes", "changed") == [(datetime(2024, 2, 29, 23, 30, 0, 123456),)]  # noqa: DTZ001 - no zone


async def test_a_clock_that_is_set_back_hides_nothing(engine: Engine) -> None:
    """In New York 1:00 to 2:00 of that night comes twice; a read between them must find the second."""
    engine.source("CREATE TABLE notes (id int primary key, changed timestamp)")
    engine.source(
        "INSERT INTO notes VALUES (1, '2024-11-03 00:59:00'), (2, '2024-11-03 01:05:00'), (3, '2024-11-03 01:55:00')"
    )
    stream = replace(NOTES, stamps_in=WEST)
    before_it = datetime(2024, 11, 3, 1, 50, tzinfo=NEW_YORK).astimezone(UTC)
    assert await read_ids(engine, stream, before_it.isoformat()) == [2, 3]
    after_it = before_it + timedelta(minutes=20)
    assert await read_ids(engine, stream, None, after_it.isoformat()) == [1, 2, 3]
    a_day_later = before_it + timedelta(days=1)
    assert await read_ids(engine, stream, a_day_later.isoformat()) == []


async def test_a_backfill_is_of_the_zones_days(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int primary key, changed timestamp)")
    engine.source(
        "INSERT INTO notes SELECT day, TIMESTAMP '2024-03-01 12:00' + day * interval '1 day' FROM "
        "generate_series(0, 3) AS day"
    )
    stream = replace(NOTES, stamps_in=EAST)
    start, end = (datetime(2024, 3, day, 12, tzinfo=ZoneInfo(EAST)).astimezone(UTC) for day in (2, 3))
    assert await read_ids(engine, stream, start.isoformat(), end.isoformat()) == [1]
    other = start.astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
    assert await read_ids(engine, stream, other, end.isoformat()) == [1], "a bound may be in any zone"


@pytest.fixture(params=["time_zone = '-05:00'", "init_connect = 'SET time_zone = \"-05:00\"'"])
def western(mysql: MySQLServer, request: pytest.FixtureRequest) -> Iterator[MySQLServer]:
    """MySQL with five hours behind UTC for every session, by either way."""
    mysql.execute(f"SET GLOBAL {request.param}")
    yield mysql
    mysql.execute("SET GLOBAL time_zone = 'SYSTEM', GLOBAL init_connect = ''")


@pytest.mark.parametrize("declared", ["", "Etc/GMT+5"])
async def test_a_datetime_of_the_servers_zone_is_not_passed_over(
    engine: Engine, western: MySQLServer, mysql_database: str, declared: str
) -> None:
    del western
    engine.mysql_url = mysql_database
    name = database_of(mysql_database)
    stream = replace(NOTES, source=f"mysql:{name}.notes", stamps_in=declared)
    engine.mysql("CREATE TABLE notes (id int primary key, changed datetime(6) DEFAULT now(6))")
    engine.mysql("INSERT INTO notes (id) VALUES (1)")
    await engine.deliver(stream)
    engine.mysql("INSERT INTO notes (id) VALUES (2)")
    result = await engine.deliver(stream)
    assert result is not None
    assert result.inserted == 1
    assert any("-05:00" in warning and "stamps_in" in warning for warning in result.warnings) == (not declared)


async def test_stamps_hours_ahead_of_the_source_are_told(engine: Engine) -> None:
    make_notes(engine)
    engine.source("UPDATE notes SET changed = clock_timestamp() AT TIME ZONE 'Asia/Ho_Chi_Minh'")
    result = await engine.deliver(NOTES)
    assert result is not None
    assert any("the latest changed is 7:00:00 ahead" in warning for warning in result.warnings)
    engine.source("UPDATE notes SET changed = clock_timestamp() AT TIME ZONE 'Asia/Ho_Chi_Minh'")
    result = await engine.deliver(replace(NOTES, stamps_in=EAST))
    assert result is not None
    assert result.warnings == ()
    engine.source("UPDATE notes SET changed = changed + interval '2 hours'")
    result = await engine.deliver(replace(NOTES, stamps_in=EAST))
    assert result is not None
    assert any(f"see that stamps are written in {EAST}" in warning for warning in result.warnings)


async def test_documents_stamped_hours_ahead_are_told(engine: Engine, mongo_database: str) -> None:
    stream = Stream("papers", f"mongo:{mongo_database}.papers", "_id", Incremental("changed"))
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        client[mongo_database]["papers"].insert_one({"_id": 1, "changed": datetime.now(UTC) + timedelta(hours=7)})
    result = await engine.deliver(stream)
    assert result is not None
    assert any("ahead of the source's clock" in warning for warning in result.warnings)


@pytest.mark.parametrize(("zone", "is_told"), [("", True), (EAST, False)])
async def test_messages_stamped_hours_ahead_are_told(engine: Engine, zone: str, is_told: bool) -> None:
    at = datetime.now(ZoneInfo(EAST)).replace(tzinfo=None).isoformat()
    collect(engine, f'{{"id": "a", "at": "{at}"}}')
    stream = Stream("orders", "sqs/orders", "id", Queue(stamp="at"), Merge(), types={"at": TIMESTAMP}, stamps_in=zone)
    result = await engine.run(stream)
    assert result is not None
    assert any("ahead of the source's clock" in warning for warning in result.warnings) == is_told


@pytest.mark.parametrize(
    "zone", ["Asia/Saigon City", "+07:00", "localtime", "Etc", "../etc/passwd", "right/UTC", "hcm"]
)
def test_a_zone_that_is_none_is_refused_when_it_is_declared(zone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"stream notes.*is not a time zone"):
        replace(NOTES, stamps_in=zone)
    with pytest.raises(ConfigurationError, match=r"pipeline p.*is not a time zone"):
        Pipeline("p", [NOTES], stamps_in=zone)


def test_the_pipelines_zone_is_that_of_streams_that_declare_none() -> None:
    other = replace(NOTES, name="other", stamps_in="UTC")
    pipeline = Pipeline("p", [NOTES, other], stamps_in=EAST)
    assert [stream.stamps_in for stream in pipeline.streams] == [EAST, "UTC"]
    assert pipeline.stream("notes").stamps_in == EAST


def test_no_later_instant_shows_less_and_no_earlier_one_more() -> None:
    """Hour by hour through a year, in zones that set their clocks by half an hour, by an hour, by a day and never."""
    changes = [("Australia/Lord_Howe", 2024), (WEST, 2024), ("Pacific/Kwajalein", 1969), ("Asia/Ho_Chi_Minh", 2024)]
    for name, year in changes:
        zone = ZoneInfo(name)
        instants = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in range(0, 8_760)]
        shown = [instant.astimezone(zone).replace(tzinfo=None) for instant in instants]
        least = shown[-1]
        for instant, clock in zip(reversed(instants), reversed(shown), strict=True):
            least = min(least, clock)
            assert earliest_wall_clock(instant, [zone]) <= least
        greatest = shown[0]
        for before, instant in zip(shown, instants[1:], strict=False):
            greatest = max(greatest, before)
            assert latest_wall_clock(instant, [zone]) >= greatest


def test_bounds_at_the_ends_of_the_calendar_have_wall_clocks() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for zones in possible_zones([WEST]), possible_zones([EAST]), possible_zones(["no such zone"]):
        for instant in (first, last):
            assert earliest_wall_clock(instant, zones) <= latest_wall_clock(instant, zones)


def test_a_zone_that_is_not_understood_may_be_any() -> None:
    (west, east) = possible_zones(["<+07>-07"])
    now = datetime.now(UTC)
    assert earliest_wall_clock(now, (west, east)) == now.replace(tzinfo=None) - timedelta(hours=12)
    assert latest_wall_clock(now, (west, east)) == now.replace(tzinfo=None) + timedelta(hours=14)
    assert zones_other_than_utc(["UTC", "+00:00", "<+07>-07", "Europe/London"]) == ("<+07>-07", "Europe/London")


async def test_a_manifest_without_zones_is_read(engine: Engine) -> None:
    make_notes(engine)
    batch = await engine.extract(NOTES)
    assert batch is not None
    text = engine.store.get_bytes(batch.manifest_key).replace(b'"zones": [],', b"").replace(b',\n  "zones": []', b"")
    assert b"zones" not in text
    engine.store.put_bytes(text, f"{batch.files.prefix}/old.json")
    assert read_manifest(engine.store, f"{batch.files.prefix}/old.json") == batch
