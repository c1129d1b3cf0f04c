"""`millrace seed` and `millrace simulate` of the sample sources as a user types them: results, Ctrl-C, wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from typer.testing import CliRunner

from local.mysql import connect
from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.cli.main import application
from millrace.seed_data.events.stream import messages
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from tests.conftest import unique
from tests.saved_blocks import save_blocks

ROOT = Path(__file__).parents[2]
SEED_STOCKS = ("seed", "stocks", "--days", "2", "--start", "2025-03-06", "--seed", "3")
SEED = ("seed", "totesys", "--days", "4", "--start", "2025-03-06", "--seed", "3")


@pytest.fixture
async def environment_of_a_user(
    prefect_server: PrefectServer, environment: dict[str, str], postgres_database: str
) -> dict[str, str]:
    """With an empty database as the source that totesys writes to."""
    variables = environment | {"SOURCE_POSTGRES_TOTESYS_WRITER_URL": postgres_database}
    await save_blocks(variables)
    return variables | {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}


def started(*arguments: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "millrace.cli.main", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def millrace(*arguments: str, environment: dict[str, str]) -> tuple[int, str, str]:
    process = started(*arguments, environment=environment)
    out, told = process.communicate()
    return process.returncode, out, told


def invoked(*arguments: str) -> tuple[int, str, str]:
    """In this process, which is spared the seconds that Prefect takes to be imported."""
    done = CliRunner().invoke(application, arguments)
    return done.exit_code, done.stdout, done.stderr


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_seed_then_simulate(environment_of_a_user: dict[str, str], postgres_database: str) -> None:
    code, out, told = invoked(*SEED, "--json")
    assert code == 0, told
    filled = json.loads(out)
    assert (filled["start"], filled["end"]) == ("2025-03-06T00:00:00+00:00", "2025-03-10T00:00:00+00:00")
    counts = filled["happened"]["tables"]["payment"]
    assert rows(postgres_database, "SELECT count(*) FROM payment") == [(counts["inserted"] - counts["deleted"],)]

    lived = ("simulate", "totesys", "--speed", "86400", "--days", "0.5", "--json")
    code, out, told = millrace(*lived, environment=environment_of_a_user)
    assert code == 0, told
    report = json.loads(out)
    assert report["start"] == filled["end"]
    assert report["happened"]["tables"]["payment"]["updated"] > 0
    assert "Mon 2025-03-10 09:00" in told
    assert rows(postgres_database, "SELECT simulation.now() >= '2025-03-10 12:00+00'") == [(True,)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_happened(
    number: signal.Signals, environment_of_a_user: dict[str, str], postgres_database: str
) -> None:
    with closing(psycopg2.connect(postgres_database)) as connection:
        install(connection)
        TotesysSimulation(connection, 3, date(2025, 3, 6)).fill(4)
    process = started("simulate", "totesys", "--speed", "3600", environment=environment_of_a_user)
    assert process.stderr is not None
    assert any("Mon 2025-03-10 01:00" in line for line in process.stderr)
    process.send_signal(number)
    out, told = process.communicate()
    assert process.returncode == 0, told
    assert "Simulated from 2025-03-10 00:00 to 2025-03-10 0" in out
    assert "Traceback" not in told
    assert rows(postgres_database, "SELECT speed FROM simulation.clock") == [(0.0,)]


@pytest.fixture
async def stocks_of_a_user(prefect_server: PrefectServer, stocks_environment: dict[str, str]) -> str:
    """The URL of whoever writes an empty `stock_db`."""
    await save_blocks(stocks_environment)
    return stocks_environment["SOURCE_MYSQL_STOCKS_WRITER_URL"]


def test_stocks_are_seeded_and_live_on(stocks_of_a_user: str) -> None:
    code, out, told = invoked("simulate", "stocks")
    assert (code, out) == (2, "")
    assert "no simulation was begun. Remedy: run `millrace seed stocks` first" in " ".join(told.split())

    code, out, told = invoked(*SEED_STOCKS, "--json")
    assert code == 0, told
    filled = json.loads(out)
    assert (filled["start"], filled["end"]) == ("2025-03-05T17:00:00+00:00", "2025-03-07T17:00:00+00:00")
    counts = filled["happened"]["tables"]
    assert (counts["transaction"]["inserted"], counts["user"]["inserted"]) == (100, 40)

    code, out, told = invoked("simulate", "stocks", "--speed", "86400", "--days", "0.5", "--json")
    assert code == 0, told
    lived = json.loads(out)
    assert lived["start"] == filled["end"]
    assert lived["happened"]["tables"]["transaction"]["inserted"] == 20
    with closing(connect(stocks_of_a_user)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), utc_timestamp() >= '2025-03-08 05:00' FROM `transaction`")
        assert cursor.fetchall() == ((120, 1),)

    code, out, told = invoked(*SEED_STOCKS)
    assert (code, out) == (2, "")
    assert "there is data already. Remedy: go on with it (millrace simulate stocks)" in " ".join(told.split())


@pytest.fixture
async def events_of_a_user(prefect_server: PrefectServer, stack: Stack) -> str:
    """The URL of an empty queue of `events`."""
    url = stack.aws.create_queue(unique("events"))
    await save_blocks(stack.environment() | {"SOURCE_SQS_EVENTS_URL": url})
    return url


def bodies(stack: Stack, url: str) -> list[str]:
    """All that are in the queue; takes them out of sight."""
    client, found = stack.aws.client("sqs"), []
    while answer := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in answer]
    return found


def test_events_are_sent(stack: Stack, events_of_a_user: str) -> None:
    history = ("--rate", "20", "--count", "300", "--start", "2026-03-01")
    code, out, told = invoked(
        *("simulate", "events", *history, "--duplicates", "0.1", "--malformed", "0.2", "--seed", "3", "--json")
    )
    assert code == 0, told
    expected = list(islice(messages(3, datetime(2026, 3, 1, tzinfo=UTC), 20, 0.1, 0.2), 300))
    assert sorted(bodies(stack, events_of_a_user)) == sorted(message.body for message in expected)
    kinds = Counter(message.kind for message in expected)
    report = {"messages": 300, "valid": kinds.pop("valid"), "duplicates": kinds.pop("duplicate"), "malformed": kinds}
    assert json.loads(out) == report

    code, out, told = invoked("simulate", "events", "--rate", "1000", "--count", "50")
    assert code == 0, told
    assert "50 messages sent." in out
    assert len(bodies(stack, events_of_a_user)) == 50


def test_ctrl_c_ends_the_sending_with_what_was_sent(stack: Stack, events_of_a_user: str) -> None:
    ended = threading.Event()

    def interrupt() -> None:
        attributes, client = ["ApproximateNumberOfMessages"], stack.aws.client("sqs")
        while not ended.wait(0.05):
            answer = client.get_queue_attributes(QueueUrl=events_of_a_user, AttributeNames=attributes)
            if int(answer["Attributes"][attributes[0]]) > 20:
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    code, out, told = invoked("simulate", "events", "--rate", "100", "--json")
    ended.set()
    watcher.join()
    assert code == 0, told
    assert 20 < json.loads(out)["messages"] == len(bodies(stack, events_of_a_user))


def test_a_queue_that_is_not_there_is_told(stack: Stack, events_of_a_user: str) -> None:
    stack.aws.client("sqs").delete_queue(QueueUrl=events_of_a_user)
    code, out, told = invoked("simulate", "events", "--count", "1")
    assert (code, out) == (2, "")
    assert "the queue is not there. Remedy: create it, or correct the block's URL" in " ".join(told.split())


@pytest.mark.usefixtures("environment_of_a_user")
def test_nothing_to_simulate_is_told() -> None:
    code, out, told = invoked("simulate", "totesys")
    assert (code, out) == (2, "")
    assert "no simulation was begun. Remedy: run `millrace seed totesys` first" in " ".join(told.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate", "stori"), "there is no simulation of 'stori'. Remedy: choose totesys, stocks or events"),
        (("simulate", "totesys", "--speed", "0"), "--speed: Input should be greater than 0"),
        (("simulate", "totesys", "--speed", "nan"), "--speed: Input should be"),
        (("simulate", "totesys", "--speed", "1e9"), "--speed: Input should be less than or equal to 86400"),
        (("simulate", "totesys", "--days", "-1"), "--days: Input should be greater than 0"),
        (("simulate", "stocks", "--speed", "0"), "--speed: Input should be greater than 0"),
        (("simulate", "stocks", "--rare-rate", "-1"), "--rare-rate: Input should be greater than or equal to 0"),
        (("simulate", "stocks", "--silent-rate", "1"), "--silent-rate has no effect here: stocks has --rare-rate"),
        (("simulate", "totesys", "--rare-rate", "1"), "--rare-rate has no effect here: totesys has --silent-rate"),
        (("simulate", "events", "--rate", "0"), "--rate: Input should be greater than 0"),
        (("simulate", "events", "--rate", "nan"), "--rate: Input should be"),
        (("simulate", "events", "--count", "0"), "--count: Input should be greater than or equal to 1"),
        (("simulate", "events", "--duplicates", "0.6"), "--duplicates: Input should be less than or equal to 0.5"),
        (("simulate", "events", "--malformed", "-0.1"), "--malformed: Input should be greater than or equal to 0"),
        (("simulate", "events", "--seed", "-1"), "--seed: Input should be greater than or equal to 0"),
        (("simulate", "events", "--start", "yesterday"), "Invalid value for '--start'"),
        (("simulate", "events", "--speed", "2", "--days", "1"), "--speed, --days has no effect here: events come at"),
        (("simulate", "events", "--silent-rate", "2"), "--silent-rate has no effect here: events come at a --rate"),
        (("simulate", "events", "--rare-rate", "2"), "--rare-rate has no effect here: events come at a --rate"),
        (("simulate", "stocks", "--rate", "2"), "--rate has no effect here"),
        (("simulate", "totesys", "--count", "2", "--seed", "3"), "--count, --seed has no effect here"),
        (("seed", "stocks", "--days", "100000"), "--days: Input should be less than or equal to 3650"),
        (("seed", "stocks", "--rows", "5"), "--rows has no effect here: stocks is measured in days"),
        (("seed", "stocks", "--silent-rate", "2"), "--silent-rate has no effect here"),
        (("seed", "totesys", "--rare-rate", "2"), "--rare-rate has no effect here"),
        (("seed", "stori", "--rare-rate", "2"), "--rare-rate has no effect here: stori is not simulated"),
        (("seed", "totesys", "--days", "100000"), "--days: Input should be less than or equal to 3650"),
        (("seed", "totesys", "--days", "0"), "Invalid value for '--days'"),
        (("seed", "totesys", "--start", "yesterday"), "Invalid value for '--start'"),
        (("seed", "totesys", "--rows", "5"), "--rows has no effect here: totesys is measured in days"),
        (("seed", "stori", "--days", "5", "--silent-rate", "2"), "--days, --silent-rate has no effect here"),
        (("seed", "events"), "there is no sample data for 'events'. Remedy: choose stori, totesys or stocks"),
    ],
)
def test_a_wrong_request_is_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(application, arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
