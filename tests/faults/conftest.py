"""Fresh places for every fault, and a judge that looks at them from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import Stack
from tests.faults.judge import Judge
from tests.faults.places import Places, places_of
from tests.faults.processes import start_fork_server
from tests.faults.subjects import Collection, Table
from tests.support.databases import EmptyDatabases


@pytest.fixture
def places(stack: Stack, postgres_database: str, warehouse_url: str, bucket: str) -> Places:
    """Empty source, lake and Redshift stand-in."""
    start_fork_server(stack.aws.url)
    return places_of(stack, postgres_database, warehouse_url, bucket)


@pytest.fixture
def postgres_places(
    stack: Stack, postgres_database: str, bucket: str, empty_databases: EmptyDatabases
) -> Iterator[Places]:
    """The same with a Postgres warehouse."""
    start_fork_server(stack.aws.url)
    with empty_databases.lend() as warehouse_url:
        yield places_of(stack, postgres_database, warehouse_url, bucket)


@pytest.fixture
def table(places: Places) -> Table:
    """A small table in the source."""
    return Table(places)


@pytest.fixture
def collection(places: Places, mongo_database: str) -> Collection:
    """A small collection in the source."""
    return Collection(places, mongo_database)


@pytest.fixture
def judge(places: Places, table: Table) -> Judge:
    """The judge of the table."""
    return Judge(places, table)
