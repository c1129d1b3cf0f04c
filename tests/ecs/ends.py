"""Both ends of the chain: where rows come from and where they go to, and what can be wrong there for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from motor.motor_asyncio import AsyncIOMotorClient
from prefect.utilities.asyncutils import run_coro_as_sync

from local.stack import BANK_DATABASE, WAREHOUSE_DATABASE, Stack
from millrace.seed_data.stori.changes import change_trades, change_transactions
from millrace.seed_data.stori.flow import SeedRequest, seed
from millrace.seed_data.stori.tasks import DATABASE

TRANSACTIONS, TRADES = 400, 200
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@dataclass(frozen=True)
class Ends:
    """The sources and the target of the pipeline `stori`."""

    stack: Stack

    async def fill(self) -> None:
        """Sample data for both sources. Blocks are saved already."""
        await seed(SeedRequest(rows=TRANSACTIONS, documents=TRADES))

    def change(self) -> None:
        """Insert ten and update ten, in both sources."""
        with closing(self._connection(BANK_DATABASE)) as connection:
            change_transactions(connection, inserts=10, updates=10, seed=1)
        run_coro_as_sync(self._change_trades())

    async def _change_trades(self) -> None:
        with closing(AsyncIOMotorClient(self.stack.mongo.url)) as client:
            await change_trades(client[DATABASE], inserts=10, updates=10, seed=1)

    def loaded(self, table: str) -> int:
        """Rows of a table of the warehouse."""
        return int(self._warehouse(f"SELECT count(*) FROM {table}")[0][0])

    def expected(self) -> int:
        """Transactions of the source."""
        return int(self._ask(BANK_DATABASE, "SELECT count(*) FROM transactions")[0][0])

    def batches(self) -> list[str]:
        """The stream of every batch that was ever loaded, in order."""
        return [stream for (stream,) in self._warehouse("SELECT stream FROM millrace.batches ORDER BY applied_at")]

    def let_leases_end(self) -> None:
        """As if the two minutes had gone by for which a dead run keeps its streams."""
        self._warehouse("UPDATE millrace.leases SET expires_at = expires_at - interval '1 hour'")

    @contextmanager
    def held_source(self) -> Iterator[None]:
        """Whoever reads transactions waits until the end of this."""
        with closing(self._connection(BANK_DATABASE)) as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE")
            yield

    def is_waited_for(self) -> bool:
        """Whether somebody waits for the held source."""
        return bool(self._ask(BANK_DATABASE, WAITING)[0][0])

    @contextmanager
    def refusing_target(self, table: str) -> Iterator[None]:
        """That table of the warehouse takes no row until the end of this."""
        self._warehouse(f"ALTER TABLE {table} ADD CONSTRAINT refusing CHECK (false) NOT VALID")
        try:
            yield
        finally:
            self._warehouse(f"ALTER TABLE {table} DROP CONSTRAINT refusing")

    def _warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        return self._ask(WAREHOUSE_DATABASE, statement)

    def _ask(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        return self.stack.postgres.execute(statement, database=database)

    def _connection(self, database: str) -> Any:
        return psycopg2.connect(self.stack.postgres.url(database))
