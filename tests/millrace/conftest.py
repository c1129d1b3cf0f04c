"""The engine on real servers, as fixtures.

`deliver` takes a stream once from its position to the warehouse. `engine` loads into the Redshift stand-in,
`postgres_engine` into a Postgres warehouse; `together` runs pipelines with models. All are described in
tests/support/engine.py.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from local.stack import Stack
from millrace.blocks.store import BucketStore
from millrace.warehouse.keepers.keeper import KeptIn
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.warehouse import Warehouse
from tests.support.cluster import Cluster, cluster, is_given
from tests.support.databases import EmptyDatabases
from tests.support.engine import Engine, Together, bucket_store, quick_engine_between
from tests.support.mysql_places import (  # noqa: F401 (fixtures)
    blind_mysql_url,
    mysql_many,
    mysql_notes,
    mysql_shop,
    mysql_source_url,
)

WAREHOUSES = ("redshift", "postgres")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_warehouses: every case on both, since each has SQL of its own")
    config.addinivalue_line("markers", "standin: not on a Redshift of somebody's own (faults on demand, other rights)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that has cases and wants `either` warehouse, run every case on one of them, in turn. A test without
    cases runs on each, as do the cases of one that is marked with ``both_warehouses``, or names its warehouses."""
    cases: dict[tuple[Path, str], dict[str, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if (case := _case_of(item)) is not None:
            cases[item.path, item.originalname][case].append(item)  # type: ignore[attr-defined] # a function's
    dropped: set[pytest.Item] = set()
    for of_test in cases.values():
        for number, (_, on_each) in enumerate(sorted(of_test.items())):
            on_each.sort(key=lambda item: item.nodeid)
            dropped.update(on_each[: number % len(on_each)], on_each[number % len(on_each) + 1 :])
    items[:] = [item for item in items if item not in dropped and not (is_given() and _is_of_standin(item))]


def _is_of_standin(item: pytest.Item) -> bool:
    """Whether a test needs what only the stand-in can, or is one of Postgres as the warehouse."""
    callspec = getattr(item, "callspec", None)
    of_postgres = "postgres_engine" in getattr(item, "fixturenames", ()) or "postgres" in getattr(
        callspec, "_idlist", ()
    )
    return of_postgres or item.get_closest_marker("standin") is not None


def _case_of(item: pytest.Item) -> str | None:
    """Return what a case is called without its warehouse; None of a test that has no cases, or says where each runs."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or "either" not in callspec.params or len(callspec.params) == 1:
        return None
    named = any("either" in mark.args[0] for mark in item.iter_markers("parametrize"))
    if named or item.get_closest_marker("both_warehouses"):
        return None
    return "-".join(part for part in callspec._idlist if part not in WAREHOUSES)


@pytest.fixture
def store(stack: Stack, bucket: str) -> BucketStore:
    """An empty lake."""
    return bucket_store(stack, bucket)


@pytest.fixture
def engine(request: pytest.FixtureRequest, stack: Stack, postgres_database: str) -> Iterator[Engine]:
    """Empty source, lake and Redshift stand-in; or the Redshift that REDSHIFT_URL names."""
    if is_given():
        with cluster() as found:
            yield found.engine(stack, postgres_database)
    else:
        store, warehouse_url = (request.getfixturevalue(name) for name in ("store", "warehouse_url"))
        yield quick_engine_between(stack, store, postgres_database, warehouse_url)


@pytest.fixture
def warehouse(engine: Engine) -> Warehouse:
    """The engine's warehouse."""
    return engine.warehouse


@pytest.fixture
def deliver(engine: Engine) -> Callable[..., Awaitable[LoadResult | None]]:
    """``await deliver(stream)``: one run of a stream on the engine."""
    return engine.deliver


@pytest.fixture
def postgres_engine(
    stack: Stack, store: BucketStore, postgres_database: str, empty_databases: EmptyDatabases
) -> Iterator[Engine]:
    """Empty source, lake and Postgres warehouse."""
    with empty_databases.lend() as warehouse_url:
        yield quick_engine_between(stack, store, postgres_database, warehouse_url)


@pytest.fixture(params=WAREHOUSES)
def either(request: pytest.FixtureRequest) -> Engine:
    """`engine` and `postgres_engine` in turn."""
    chosen: Engine = request.getfixturevalue("engine" if request.param == "redshift" else "postgres_engine")
    return chosen


@pytest.fixture(params=get_args(KeptIn))
def kept(request: pytest.FixtureRequest, either: Engine) -> Engine:
    """`either`, whose leases and states are kept in the warehouse or in the lake."""
    place: KeptIn = request.param
    return either.with_leases_in(place)


@pytest.fixture
def processed(request: pytest.FixtureRequest, stack: Stack) -> BucketStore:
    """An empty processed zone."""
    if is_given():
        return Cluster(f"t{secrets.token_hex(4)}_").store("processed")
    return bucket_store(stack, stack.aws.create_bucket(f"processed-{secrets.token_hex(4)}"))


@pytest.fixture
def together(either: Engine, processed: BucketStore) -> Together:
    """Pipelines that are committed together, on either warehouse."""
    return Together(either, processed)


@pytest.fixture
def on_redshift(engine: Engine, processed: BucketStore) -> Together:
    """The same on the Redshift stand-in alone."""
    return Together(engine, processed)
