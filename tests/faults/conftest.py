"""Fresh places for every fault, and a judge that looks at them from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest

from local.stack import Stack
from millrace.warehouse.keepers.keeper import KeptIn
from tests.faults.judge import Judge
from tests.faults.places import Places, places_of
from tests.faults.processes import start_fork_server
from tests.faults.subjects import Collection, Table


@pytest.fixture
def places(stack: Stack, postgres_database: str, warehouse_url: str, bucket: str) -> Places:
    """Empty source, lake and Redshift stand-in."""
    start_fork_server(stack.aws.url)
    return places_of(stack, postgres_database, warehouse_url, bucket)


@pytest.fixture(params=get_args(KeptIn))
def kept_places(request: pytest.FixtureRequest, places: Places) -> Places:
    """`places`, with leases and states in the warehouse or in the lake."""
    return replace(places, kept_in=request.param)


@pytest.fixture
def postgres_places(stack: Stack, postgres_database: str, bucket: str) -> Iterator[Places]:
    """The same with a Postgres warehouse, by whose name its statements are told from those of the source."""
    start_fork_server(stack.aws.url)
    name = f"warehouse_of_{postgres_database.rpartition('/')[2]}"
    yield places_of(stack, postgres_database, stack.postgres.create_database(name), bucket)
    stack.postgres.drop_database(name)


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
