"""The engine on real servers, as fixtures.

`deliver` takes a stream once from its position to the warehouse. `engine` loads into the Redshift stand-in,
`postgres_engine` into a Postgres warehouse; `together` runs pipelines with models. All are described in
engine_on_servers.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator

import pytest
from engine_on_servers import Engine, Together, bucket_store, quick_engine_between
from mysql_places import (  # noqa: F401 (fixtures)
    blind_mysql_url,
    mysql_many,
    mysql_notes,
    mysql_shop,
    mysql_source_url,
)

from local.stack import Stack
from millrace.blocks.store import BucketStore
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.warehouse import Warehouse


@pytest.fixture
def store(stack: Stack, bucket: str) -> BucketStore:
    """An empty lake."""
    return bucket_store(stack, bucket)


@pytest.fixture
def engine(stack: Stack, store: BucketStore, postgres_database: str, warehouse_url: str) -> Engine:
    """Empty source, lake and Redshift stand-in."""
    return quick_engine_between(stack, store, postgres_database, warehouse_url)


@pytest.fixture
def warehouse(engine: Engine) -> Warehouse:
    """The engine's warehouse."""
    return engine.warehouse


@pytest.fixture
def deliver(engine: Engine) -> Callable[..., Awaitable[LoadResult | None]]:
    """``await deliver(stream)``: one run of a stream on the engine."""
    return engine.deliver


@pytest.fixture
def postgres_engine(stack: Stack, store: BucketStore, postgres_database: str) -> Iterator[Engine]:
    """Empty source, lake and Postgres warehouse."""
    name = f"warehouse_of_{postgres_database.rpartition('/')[2]}"
    yield quick_engine_between(stack, store, postgres_database, stack.postgres.create_database(name))
    stack.postgres.drop_database(name)


@pytest.fixture(params=["redshift", "postgres"])
def either(request: pytest.FixtureRequest) -> Engine:
    """`engine` and `postgres_engine` in turn."""
    chosen: Engine = request.getfixturevalue("engine" if request.param == "redshift" else "postgres_engine")
    return chosen


@pytest.fixture
def processed(stack: Stack) -> BucketStore:
    """An empty processed zone."""
    return bucket_store(stack, stack.aws.create_bucket(f"processed-{secrets.token_hex(4)}"))


@pytest.fixture
def together(either: Engine, processed: BucketStore) -> Together:
    """Pipelines that are committed together, on either warehouse."""
    return Together(either, processed)


@pytest.fixture
def on_redshift(engine: Engine, processed: BucketStore) -> Together:
    """The same on the Redshift stand-in alone."""
    return Together(engine, processed)
