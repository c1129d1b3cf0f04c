"""The chart of events on Redshift and on Postgres: the numbers against a count of their own, where it is put, and as a
user asks for it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import psycopg2
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from pydantic import ValidationError
from typer.testing import CliRunner

from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.base.naming import quote
from millrace.base.types import from_polars
from millrace.blocks.load import load_processed
from millrace.cli.main import application
from millrace.pipelines.events.chart import ChartRequest, chart
from millrace.pipelines.events.chart_tasks import Chart
from millrace.pipelines.events.contracts import Event
from millrace.pipelines.events.counts import EventCounts
from millrace.warehouse.dialect import POSTGRES_DIALECT, REDSHIFT_DIALECT, Dialect
from tests.conftest import unique
from tests.saved_blocks import save_blocks

KINDS, PLATFORMS = ("submission_success", "registration_initiated"), ("ios", "android")
START, END = date(2026, 11, 2), date(2026, 11, 7)
SPAN = ChartRequest(start=START, end=END)
FIRST, AFTER = datetime(2026, 11, 2), datetime(2026, 11, 7)  # noqa: DTZ001 (as the column is: UTC, without a zone)
TICK = timedelta(microseconds=1)

Row = tuple[datetime, str, str]
"""When (UTC), what, from which platform."""


class Events:
    """The table as the loader makes it, once it is made."""

    def __init__(self, url: str, dialect: Dialect) -> None:
        self._url, self._dialect = url, dialect

    def make(self, *rows: Row) -> None:
        columns = {name: from_polars(column.dtype) for name, column in Event.columns().items()}
        typed = ", ".join(f"{quote(name)} {self._dialect.target_type(kind, 0)}" for name, kind in columns.items())
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA events")
            cursor.execute(f"CREATE TABLE events.events ({typed})")
        if rows:
            self.add(*rows)

    def add(self, *rows: Row) -> None:
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            values = ", ".join(cursor.mogrify("(%s, %s, %s)", row).decode() for row in rows)
            cursor.execute(f'INSERT INTO events.events ("timestamp", event, context_device_type) VALUES {values}')


@pytest.fixture(params=["redshift", "postgres"])
async def events(
    request: pytest.FixtureRequest, prefect_server: PrefectServer, stack: Stack, environment: dict[str, str]
) -> Any:
    """No table yet. The Postgres is one whose sessions are far from UTC."""
    if request.param == "redshift":
        await save_blocks(environment)
        yield Events(environment["WAREHOUSE_URL"].replace("redshift+psycopg2", "postgresql"), REDSHIFT_DIALECT)
        return
    name = unique("warehouse")
    url = stack.postgres.create_database(name)
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {quote(name)} SET timezone = 'Pacific/Auckland'")
    await save_blocks(environment | {"WAREHOUSE_URL": url})
    yield Events(url, POSTGRES_DIALECT)
    stack.postgres.drop_database(name)


def happened() -> Iterator[Row]:
    """On five days and a little around them; none on the fourth, no submission from Android on the second."""
    chance = random.Random(6)  # noqa: S311 (no secret)
    for _ in range(600):
        moment = FIRST - timedelta(days=1) + timedelta(days=7) * chance.random()
        kind, platform = chance.choice([*KINDS, "another_event"]), chance.choice(PLATFORMS)
        second = (moment.day, kind, platform) == (3, "submission_success", "android")
        if moment.day != 5 and not second:
            yield moment, kind, platform


def counted(numbers: EventCounts) -> dict[tuple[date, str, str], int]:
    return {(one.day, one.kind, one.platform): one.events for one in numbers.counts}


def expected(rows: Sequence[Row]) -> dict[tuple[date, str, str], int]:
    found = Counter((moment.date(), kind, platform) for moment, kind, platform in rows)
    days = [START + timedelta(days=number) for number in range(5)]
    return {key: found[key] for key in product(days, KINDS, PLATFORMS)}


async def test_every_day_kind_and_platform_has_its_number(events: Events) -> None:
    rows = [
        *happened(),
        *((FIRST + number * timedelta(days=1) - TICK, KINDS[0], "ios") for number in range(6)),
        *((FIRST + number * timedelta(days=1), KINDS[1], "android") for number in range(6)),
    ]
    events.make(*rows)
    drawn = await chart(SPAN)
    numbers = expected(rows)
    assert counted(drawn.numbers) == numbers
    assert list(counted(drawn.numbers)) == list(numbers), "in the order of days, kinds and platforms"
    fourth = [numbers[date(2026, 11, 5), kind, platform] for kind, platform in product(KINDS, PLATFORMS)]
    assert fourth == [1, 0, 0, 1], "the bounds of the day alone"
    assert numbers[date(2026, 11, 3), "submission_success", "android"] == 0
    assert sum(numbers.values()) > 200
    assert drawn.numbers.incomplete is None


@pytest.mark.parametrize("events", ["redshift"], indirect=True)
async def test_without_any_event_every_number_is_zero(events: Events) -> None:
    with pytest.raises(ConfigurationError, match=r'"events.events" does not exist. Remedy: run `millrace run events`'):
        await chart(SPAN)
    events.make()
    before = datetime.now(UTC)
    drawn = await chart(ChartRequest())
    assert before <= drawn.numbers.until <= datetime.now(UTC)
    assert drawn.numbers.incomplete == drawn.numbers.until.date() == drawn.numbers.days.each[-1]
    assert len(drawn.numbers.days.each) == 14
    assert [one.events for one in drawn.numbers.counts] == [0] * 14 * 2 * 2
    assert await stored(drawn.svg) != await stored(drawn.png)


async def stored(address: str) -> bytes:
    store = await load_processed()
    return store.get_bytes(address.removeprefix(f"s3://{store.name}/"))


@pytest.mark.parametrize("events", ["redshift"], indirect=True)
async def test_it_lies_in_the_lake_and_beside_the_run(events: Events) -> None:
    today = datetime.now(UTC).replace(tzinfo=None)
    events.make((today, "submission_success", "ios"), (today, "registration_initiated", "android"))
    yesterday = today.date() - timedelta(days=1)
    state = await chart(ChartRequest(start=yesterday, days=2), return_state=True)
    drawn: Chart = await state.aresult()
    moment = drawn.numbers.until.strftime("%Y-%m-%dT%H%M%S.%fZ")
    store = await load_processed()
    assert drawn.png == f"s3://{store.name}/charts/events/{moment}/events.png"
    assert drawn.svg == f"s3://{store.name}/charts/events/{moment}/events.svg"
    assert (await stored(drawn.png)).startswith(b"\x89PNG")
    assert b"Submissions and registrations by UTC day" in await stored(drawn.svg)
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        )
    assert run.name == "chart of events"
    found = {artifact.key: artifact.data for artifact in artifacts}
    assert set(found) == {"events-by-day", "events-chart"}
    latest, earlier = json.loads(found["events-by-day"])
    # Where it was midnight meanwhile, none of them is the day that is not over.
    note = f"until {drawn.numbers.until:%H:%M} UTC" if drawn.numbers.incomplete else ""
    assert latest == {
        "day": f"{today:%Y-%m-%d}",
        "submission_success iOS": 1,
        "submission_success Android": 0,
        "registration_initiated iOS": 0,
        "registration_initiated Android": 1,
        "note": note,
    }
    assert earlier == dict.fromkeys(latest, 0) | {"day": f"{yesterday}", "note": ""}
    assert "](data:image/png;base64,iVBORw0KGgo" in found["events-chart"]
    assert drawn.png in found["events-chart"]
    assert drawn.svg in found["events-chart"]


def invoked(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(application, ["chart", *arguments])
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


@pytest.mark.parametrize("events", ["postgres"], indirect=True)
def test_the_command_prints_where_the_pictures_are(events: Events) -> None:
    code, out, told = invoked("events")
    assert (code, out) == (2, "")
    assert 'chart of events: relation "events.events" does not exist. Remedy: run `millrace run events` first' in told

    rows = list(happened())
    events.make(*rows)
    code, out, told = invoked("events", "--from", "2026-11-02", "--days", "5")
    assert code == 0, told
    png, svg = out.splitlines()
    assert (png[:5], png[-11:], svg) == ("s3://", "/events.png", png[:-3] + "svg")

    code, out, told = invoked("events", "--from", "2026-11-02", "--to", "2026-11-07", "--json")
    assert code == 0, told
    report = json.loads(out)
    assert report["png"] > png
    assert report["numbers"]["shown"]["days"] == {"start": "2026-11-02", "end": "2026-11-07"}
    each = {
        (date.fromisoformat(one["day"]), one["kind"], one["platform"]): one["events"]
        for one in report["numbers"]["counts"]
    }
    assert each == expected(rows)

    code, out, told = invoked(
        "events", "--from", "2026-11-02", "--days", "5", "--event", "another_event", "--platform", "ios", "--json"
    )
    assert code == 0, told
    found = [one["events"] for one in json.loads(out)["numbers"]["counts"]]
    days = [START + timedelta(days=number) for number in range(5)]
    others = Counter(when.date() for when, *of in rows if of == ["another_event", "ios"])
    assert found == [others[day] for day in days]
    assert sum(found) > 0

    events.add((FIRST, KINDS[0], "web"))
    code, out, told = invoked("events", "--from", "2026-11-02", "--days", "5")
    assert (code, out) == (1, "")
    assert "there are events of a platform that the contract does not know" in told


TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ({}, date(2026, 11, 8), TODAY),
        ({"days": 1}, TODAY, TODAY),
        ({"days": 92}, date(2026, 8, 22), TODAY),
        ({"start": TODAY}, TODAY, TODAY),
        ({"start": date(2026, 11, 1)}, date(2026, 11, 1), TODAY),
        ({"start": date(2026, 11, 1), "days": 3}, date(2026, 11, 1), date(2026, 11, 3)),
        ({"end": date(2026, 11, 1)}, date(2026, 10, 18), date(2026, 10, 31)),
        ({"end": date(2026, 11, 1), "days": 2}, date(2026, 10, 30), date(2026, 10, 31)),
        ({"start": date(2026, 11, 1), "end": date(2026, 11, 22)}, date(2026, 11, 1), TODAY),
    ],
)
def test_the_days_that_are_meant(asked: dict[str, Any], first: date, last: date) -> None:
    each = ChartRequest(**asked).choose_shown(TODAY).days.each
    assert (each[0], each[-1], len(each)) == (first, last, (last - first).days + 1)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"start": date(2026, 11, 22)}, "from 2026-11-22 to today are not 1 to 92 days"),
        ({"start": date(2026, 8, 21)}, "from 2026-08-21 to today are not 1 to 92 days"),
        ({"start": date(2026, 11, 20), "days": 3}, "the days end after today, 2026-11-21"),
        ({"end": date(2026, 11, 23)}, "the days end after today, 2026-11-21"),
    ],
)
def test_days_that_have_not_come_or_are_too_many_are_told(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ChartRequest(**asked).choose_shown(TODAY)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"events": ["Submission"]}, "should match pattern"),
        ({"events": []}, "at least 1 item"),
        ({"events": list("abcde")}, "at most 4 items"),
        ({"events": [*KINDS, KINDS[0]]}, "each name once"),
        ({"platforms": ["windows"]}, "should be 'ios' or 'android'"),
        ({"days": 0}, "greater than or equal to 1"),
        ({"days": 93}, "less than or equal to 92"),
        ({"start": START, "end": START}, "from start to end are 1 to 92 days"),
        ({"start": START, "end": START - timedelta(days=1)}, "from start to end are 1 to 92 days"),
        ({"start": START, "end": START + timedelta(days=93)}, "from start to end are 1 to 92 days"),
        ({"start": START, "end": END, "days": 5}, "two of them say which days"),
        ({"pipeline": "stocks"}, "Input should be 'events'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ChartRequest(**asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stocks",), "millrace: there is no chart of 'stocks'. Remedy: choose events"),
        (("events", "--days", "0"), "millrace: --days: Input should be greater than or equal to 1"),
        (
            ("events", "--from", "2026-11-07", "--to", "2026-11-02"),
            "millrace: from start to end are 1 to 92 days (--from, --to)",
        ),
        (("events", "--from", "today"), "Invalid value for '--from'"),
    ],
)
def test_a_wrong_command_is_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    code, out, told = invoked(*arguments)
    assert (code, out) == (2, "")
    assert message in told
