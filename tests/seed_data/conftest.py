"""What the tests of the sample data share: open connections to fresh databases, and a landing zone on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from millrace.drivers.mongo_client import open_client
from millrace.seed_data.stori.trade_validator import install_collection
from millrace.seed_data.stori.transactions import install_source
from tests.seed_data.directory_store import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "landing")


@pytest.fixture
def postgres(postgres_database: str) -> Iterator[Any]:
    """A psycopg2 connection to a database with the tables of the source."""
    with closing(psycopg2.connect(postgres_database)) as connection:
        install_source(connection)
        yield connection


@pytest.fixture
async def mongo(mongo_url: str, mongo_database: str) -> AsyncIterator[Any]:
    """A Motor database with the collection of the source."""
    client = open_client(mongo_url)
    await install_collection(client[mongo_database])
    yield client[mongo_database]
    client.close()
