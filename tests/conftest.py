"""Servers and fresh places on them, for every test that asks: real ones, started once per session."""

from __future__ import annotations

import inspect
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import certifi
import hypothesis
import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)
from prefect.utilities.asyncutils import run_coro_as_sync

from local.demos import stocks_source
from local.mysql import MySQLServer, start_mysql
from local.postgres import SUPERUSER
from local.prefect_server import PrefectServer, launch_prefect_server, wait_for_prefect_server
from local.stack import WAREHOUSE_DATABASE, Stack
from local.warehouse import WarehouseServer, launch_warehouse, wait_for_warehouse
from millrace.seed_data.stocks.script import SUFFIX
from tests.saved_blocks import save_blocks
from tests.support.connections import kept_session, kept_session_of_redshift
from tests.support.databases import EmptyDatabases

SHARED_DATABASES = {"postgres", WAREHOUSE_DATABASE}
"""Databases whose superuser's sessions are kept: each is used by many tests."""
MEMORY_DIRECTORY = "/dev/shm"  # noqa: S108 (whoever makes a directory there gives it a name nobody can foresee)
ENOUGH_BYTES = 6 * 1024**3

# Two cores are shared by the suite and what runs beside it: an example may wait for longer than Hypothesis' 200 ms.
hypothesis.settings.register_profile("shared cores", deadline=None)
hypothesis.settings.load_profile("shared cores")


def pytest_configure() -> None:
    """Let the servers keep their data in memory, where that is large enough and nobody wants it elsewhere: databases
    come and go by the thousand, which a disk's file system makes dear."""
    if "TMPDIR" not in os.environ and roomy(MEMORY_DIRECTORY):
        # pytest keeps its own directories after the run.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        os.environ["TMPDIR"] = tempfile.tempdir = MEMORY_DIRECTORY


def roomy(directory: str) -> bool:
    """Programs must run there as well: those of Postgres are copied beside its data if it cannot read ours."""
    if not os.access(directory, os.W_OK):
        return False
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize > ENOUGH_BYTES and not found.f_flag & os.ST_NOEXEC


def unique(prefix: str) -> str:
    """A name nobody else has."""
    return f"{prefix}_{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Postgres, MongoDB, AWS and the Redshift stand-in; no Prefect server."""
    with Stack(prefect=False) as running:
        # Every test makes databases, and most of them empty the warehouse.
        running.postgres = replace(running.postgres, connect=partial(kept_session, databases=SHARED_DATABASES))
        running.warehouse = replace(running.warehouse, postgres=running.postgres, connect=kept_session_of_redshift)
        yield running


@pytest.fixture(scope="session")
def lasting_warehouse(stack: Stack) -> Iterator[WarehouseServer]:
    """A second Redshift stand-in, for what the tests of a file share: ``warehouse_url`` empties the first one for each
    test that asks. Call ``clear`` first."""
    database = unique("lasting")
    stack.postgres.create_database(database, owner=SUPERUSER)
    server = launch_warehouse(stack.directory / database, postgres=stack.postgres, database=database, aws=stack.aws)
    yield wait_for_warehouse(server)
    server.stop()


@pytest.fixture(scope="session")
def mysql(stack: Stack) -> Iterator[MySQLServer]:
    """MariaDB, or the server that MYSQL_URL names; started for the first test that asks. About 2 seconds, once."""
    server = start_mysql(stack.directory / "mysql")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def prefect_server(stack: Stack) -> Iterator[PrefectServer]:
    """A Prefect server on PostgreSQL, and this process as its client. About 10 seconds, once."""
    database_url = stack.postgres.create_database("prefect")
    server = launch_prefect_server(stack.directory / "prefect", database_url=database_url)
    wait_for_prefect_server(server)
    settings = {
        PREFECT_API_URL: server.api_url,
        PREFECT_HOME: server.home,
        # A heartbeat's thread costs a second at the end of every flow run.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        # A run makes ten clients, and each reads all certificates (15 ms), though the server is reached by http.
        PREFECT_API_SSL_CERT_FILE: str(_one_certificate(server.home)),
    }
    with temporary_settings(settings):
        yield server
        run_coro_as_sync(drain())
    server.stop()


def _one_certificate(directory: Path) -> Path:
    """Write the first of the certificates that Prefect's clients read by default."""
    end = "-----END CERTIFICATE-----\n"
    file = directory / "certificate.pem"
    file.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(end)[0] + end, encoding="utf-8")
    return file


async def drain() -> None:
    """Send what Prefect still holds of logs and events, so that it does not look for a server that is gone."""
    for drained in (APILogWorker.drain_all(), EventsWorker.drain_all()):
        if inspect.isawaitable(drained):
            await drained


@pytest.fixture
def aws_environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The emulator's AWS_* variables, set for this test."""
    variables = stack.aws.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture(scope="session")
def empty_databases(stack: Stack) -> EmptyDatabases:
    """Lends empty databases of Postgres."""
    return EmptyDatabases(stack.postgres, SHARED_DATABASES)


@pytest.fixture
def postgres_database(empty_databases: EmptyDatabases) -> Iterator[str]:
    """The owner's ``postgresql://`` URL of an empty database. The superuser's: ``stack.postgres.url(name)``."""
    with empty_databases.lend() as url:
        yield url


@pytest.fixture
def mysql_database(mysql: MySQLServer) -> Iterator[str]:
    """The owner's ``mysql://`` URL of an empty database, dropped afterwards. The superuser's: ``mysql.url(name)``."""
    name = unique("source")
    yield mysql.create_database(name)
    mysql.drop_database(name)


@pytest.fixture
def warehouse_url(stack: Stack) -> str:
    """The loader's ``redshift+psycopg2://`` URL of the warehouse, which is empty now."""
    stack.warehouse.clear()
    return stack.warehouse.url


@pytest.fixture
def mongo_url(stack: Stack) -> str:
    """The server's URL."""
    return stack.mongo.url


@pytest.fixture
def mongo_database(stack: Stack) -> Iterator[str]:
    """The name of a database that is not there yet, dropped afterwards. Its server: ``mongo_url``."""
    name = unique("source")
    yield name
    stack.mongo.drop_database(name)


@pytest.fixture
def bucket(stack: Stack) -> str:
    """The name of an empty bucket."""
    return stack.aws.create_bucket(unique("bucket").replace("_", "-"))


@pytest.fixture
def environment(stack: Stack, postgres_database: str, warehouse_url: str) -> dict[str, str]:
    """Variables that describe fresh places: an empty source, warehouse and lake. MongoDB is the shared server."""
    fresh = {
        "SOURCE_POSTGRES_URL": postgres_database,
        "WAREHOUSE_URL": warehouse_url,
        "LANDING_BUCKET": stack.aws.create_bucket(unique("landing").replace("_", "-")),
        "PROCESSED_BUCKET": stack.aws.create_bucket(unique("processed").replace("_", "-")),
    }
    return stack.environment() | fresh


@pytest.fixture
def stocks_environment(
    empty_databases: EmptyDatabases, mysql: MySQLServer, environment: dict[str, str]
) -> Iterator[dict[str, str]]:
    """``environment``, with an empty MySQL source and an empty Postgres warehouse for the pipeline `stocks`."""
    mysql.drop_database(stocks_source.DATABASE)
    mysql.drop_database(f"{stocks_source.DATABASE}{SUFFIX}")
    stocks_source.install(mysql)
    with empty_databases.lend() as warehouse_url:
        yield environment | {
            "SOURCE_MYSQL_STOCKS_URL": mysql.url(stocks_source.DATABASE, user=stocks_source.READER),
            "SOURCE_MYSQL_STOCKS_WRITER_URL": mysql.url(stocks_source.DATABASE, user=stocks_source.WRITER),
            "WAREHOUSE_STOCKS_URL": warehouse_url,
        }


@pytest.fixture
async def bootstrapped(prefect_server: PrefectServer, environment: dict[str, str]) -> dict[str, str]:
    """The variables of ``environment``, saved as blocks on the Prefect server."""
    await save_blocks(environment)
    return environment
