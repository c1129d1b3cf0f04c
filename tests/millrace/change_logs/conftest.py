"""Sources that may be read by their change log, and a table in each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from local.mysql import MySQLServer
from local.stack import Stack
from millrace import ChangeLog, Stream
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import PUBLICATION, Engine, database_of
from tests.support.mysql_logs import FollowedRows, make_followed
from tests.support.mysql_places import database

DROP_SLOTS = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{}'"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def logged(either: Engine, stack: Stack) -> Iterator[Engine]:
    """The engine, of which the user of the source may read the change log. Slots are dropped afterwards."""
    name = database_of(either.postgres_url)
    stack.postgres.execute(f"ALTER ROLE {name} REPLICATION")
    yield either
    stack.postgres.execute(DROP_SLOTS.format(name))
    stack.postgres.execute(f"ALTER ROLE {name} NOREPLICATION")


@dataclass(frozen=True)
class Orders:
    """A published table of five orders, and the stream that follows it."""

    engine: Engine
    stack: Stack
    stream: Stream

    async def follow(self) -> LoadResult:
        """Bring the stream to the present; something must have changed."""
        return (await self.engine.follow(self.stream))["orders"]

    def change(self, *statements: str) -> None:
        """Run statements in the source on one connection, each as it stands: BEGIN begins a transaction."""
        with closing(psycopg2.connect(self.engine.postgres_url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)

    def assert_equal(self, *columns: str) -> None:
        """The target holds what the source holds."""
        names = columns or ("id", "note")
        expected = self.engine.source(f"SELECT {', '.join(names)} FROM orders ORDER BY 1")
        assert self.engine.rows("orders", *names) == expected

    def wait_for_a_standby(self) -> None:
        """From now on commits wait for a standby that never answers, if their session asks for it."""
        # The warehouse of the test may be on the same server.
        self._set(synchronous_commit="local", synchronous_standby_names="nobody")

    def begin_waiting(self, writer: Any, statement: str) -> None:
        """Begin a statement on a connection that does not wait, and return when its commit waits for the standby."""
        _wait_for(writer)
        with writer.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")
            _wait_for(writer)
            cursor.execute(statement)
        deadline = time.monotonic() + 10
        while self.stack.postgres.execute(WAITING) == [(0,)]:
            assert time.monotonic() < deadline
            writer.poll()
            time.sleep(0.01)

    def release(self) -> None:
        """Commits wait for nobody any more."""
        self._set(synchronous_standby_names="", synchronous_commit="on")
        while self.stack.postgres.execute(WAITING) != [(0,)]:
            time.sleep(0.01)

    def _set(self, **settings: str) -> None:
        for name, value in settings.items():
            self.stack.postgres.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.stack.postgres.execute("SELECT pg_reload_conf()")
        for name, value in settings.items():
            while self.stack.postgres.execute(f"SHOW {name}") != [(value,)]:
                time.sleep(0.01)


def _wait_for(connection: Any) -> None:
    while connection.poll() != psycopg2.extensions.POLL_OK:
        time.sleep(0.01)


@pytest.fixture
def orders(logged: Engine, stack: Stack) -> Iterator[Orders]:
    """The table, published and not loaded."""
    logged.source(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        "INSERT INTO orders SELECT number, 'first' FROM generate_series(1, 5) AS number;"
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE orders (id) WITH (publish_via_partition_root = true)"
    )
    orders = Orders(logged, stack, Stream("orders", "postgres:public.orders", "id", ChangeLog(), max_delete_share=1.0))
    yield orders
    orders.release()


@pytest.fixture(scope="module")
def mysql_logged(mysql_shop: Engine, mysql: MySQLServer) -> Engine:
    """From MariaDB, of which the user of the source may read the change log."""
    name = database(mysql_shop)
    mysql.execute(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '{name}'@'%'")
    return mysql_shop


@pytest.fixture
def followed_rows(mysql_logged: Engine, mysql: MySQLServer) -> FollowedRows:
    """A new table of five rows."""
    return make_followed(mysql_logged, mysql)
