"""The stand-in as a server: logins, the protocol it does not speak, its end, and serializable isolation."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg2
import pytest

from local.processes import Process
from local.redshift import BACKEND_URL
from local.stack import Stack

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def serializable(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a stand-in whose database has SERIALIZABLE isolation."""
    stack.postgres.create_database("serializable")
    backend_url = stack.postgres.url("serializable")
    process = Process(
        "redshift",
        [
            *(sys.executable, "-m", "local.redshift", "--ready-line", "--isolation", "serializable"),
            *("--s3-endpoint", stack.aws.url),
        ],
        log_path=tmp_path_factory.mktemp("serializable") / "log",
        environment=os.environ | stack.aws.environment() | {BACKEND_URL: backend_url},
        working_directory=ROOT,
    )
    process.start()
    process.wait_until(lambda: "ready" in process.log_text())
    port = re.findall(r"redshift ready port=(\d+)", process.log_text())[0]
    yield backend_url.replace(str(urlsplit(backend_url).port), port)
    process.stop()


@pytest.fixture
def ledger(serializable: str) -> Iterator[Any]:
    """Two connections to a database with a ledger."""
    with closing(psycopg2.connect(serializable)) as first, closing(psycopg2.connect(serializable)) as second:
        with first.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS ledger")
            cursor.execute("CREATE TABLE ledger (stream VARCHAR(9), position INT)")
        first.commit()
        yield first, second


def advance(connection: Any, stream: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(position) FROM ledger WHERE stream = %s", (stream,))
        cursor.execute("INSERT INTO ledger VALUES (%s, 1)", (stream,))


def test_a_shared_ledger_written_without_a_lock_conflicts(ledger: Any) -> None:
    first, second = ledger
    advance(first, "a")
    advance(second, "b")
    first.commit()
    with pytest.raises(psycopg2.errors.InternalError_, match="1023") as caught:
        second.commit()
    assert "Serializable isolation violation on table" in caught.value.diag.message_detail


def test_the_lock_first_prevents_the_conflict(ledger: Any) -> None:
    first, second = ledger
    for connection, stream in ((first, "a"), (second, "b")):
        connection.cursor().execute("LOCK ledger")
        advance(connection, stream)
        connection.commit()


def test_the_isolation_level_is_not_the_sessions_to_choose(serializable: str) -> None:
    with closing(psycopg2.connect(serializable)) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="READ COMMITTED")
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("serializable",)


def test_wrong_credentials_are_refused_as_postgres_does(redshift: Any) -> None:
    user = urlsplit(redshift.dsn).username
    for wrong in (redshift.dsn.replace(f"//{user}:", "//nobody:"), redshift.dsn.replace(f"//{user}:", f"//{user}:x")):
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(wrong)


def test_another_database_is_refused(redshift: Any) -> None:
    with pytest.raises(psycopg2.OperationalError, match="does not exist in the stand-in"):
        psycopg2.connect(redshift.dsn, dbname="another")


async def test_the_extended_protocol_is_refused_and_the_session_lives(redshift: Any) -> None:
    connection = await asyncpg.connect(redshift.dsn.partition("?")[0], ssl=False)
    with pytest.raises(asyncpg.FeatureNotSupportedError, match="simple"):
        await connection.fetch("SELECT 1")
    assert await connection.execute("SELECT 1") == "SELECT 1"
    await connection.close()


def test_a_vanished_client_is_rolled_back(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)")
    connection = redshift.connect()
    connection.cursor().execute("LOCK t")
    connection.close()
    assert redshift.run("SELECT * FROM t") == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal(stack: Stack, tmp_path: Path, ending: signal.Signals) -> None:
    process = Process(
        "redshift",
        [
            *(sys.executable, "-m", "local.redshift", "--ready-line"),
            *("--s3-endpoint", stack.aws.url),
        ],
        log_path=tmp_path / "log",
        environment=os.environ | stack.aws.environment() | {BACKEND_URL: stack.warehouse.backend_url},
        stop_signal=ending,
        working_directory=ROOT,
    )
    process.start()
    process.wait_until(lambda: "ready" in process.log_text())
    process.stop()
    assert "Traceback" not in process.log_text()
