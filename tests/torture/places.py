"""The servers of one process that tortures, and an engine on them that can be made to fail at any step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

from local.pgbouncer import start_pgbouncer
from local.stack import WAREHOUSE_IAM_ROLE, Stack
from millrace import Stream
from millrace.blocks.store import BucketStore
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.lake.batch import Batch
from millrace.sources.chunk import Source
from millrace.warehouse.warehouse import Warehouse
from tests.support.engine import Engine, Way, bucket_store, engine_between
from tests.torture.crash import Trap, TrappedStore, trapped
from tests.torture.short import Cut

WarehouseKind = Literal["postgres", "redshift"]
MONGO_DATABASE = "torture"
FIRST_HOLDER = "first"
"""Of leases, unless a step says otherwise."""


@dataclass
class TrappedEngine(Engine):
    """An engine whose statements and objects are steps of ``trap``; ``connect_plainly`` reaches its warehouse past
    it. ``cut``: which of its source's answers are cut short; ``consent``: what a person allows."""

    trap: Trap = field(default_factory=Trap)
    connect_plainly: Callable[[], Any] = lambda: None
    cut: Cut | None = None
    consent: Consent = NO_CONSENT

    def connect_source(self) -> Any:
        """A connection to the Postgres source."""
        return trapped(super().connect_source, self.trap)()

    @contextmanager
    def _source(self, stream: Stream) -> Iterator[Source]:
        with super()._source(stream) as source:
            yield self.cut.applied_to(source) if self.cut else source

    async def _batch(self, stream: Stream, way: Way, token: int) -> Batch | None:
        return await super()._batch(stream, lambda route: way(replace(route, consent=self.consent)), token)

    def inject(self, fault: dict[str, str | int]) -> None:
        """Let the stand-in for Redshift fail (local/redshift/inject.py)."""
        self._tell_stand_in(f"INJECT '{json.dumps(fault)}'")

    def calm(self) -> None:
        """From now on nothing fails."""
        self.trap.disarm()
        if self.warehouse.dialect.copies_from_lake:
            self._tell_stand_in("RESET")

    def _tell_stand_in(self, command: str) -> None:
        """Not in a transaction, whose commit would count."""
        with closing(self.connect_plainly()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"STANDIN {command}")


@dataclass(frozen=True)
class Places:
    """One source of each kind, one warehouse of each kind, one lake. ``pooled_url`` reaches the Postgres source through
    a pooler that may change the session behind every transaction."""

    stack: Stack
    postgres_url: str
    pooled_url: str
    warehouse_urls: dict[WarehouseKind, str]
    bucket: str

    @property
    def mongo_url(self) -> str:
        """Of the server."""
        return self.stack.mongo.url

    @property
    def lake(self) -> BucketStore:
        """The lake, which nothing happens to."""
        return bucket_store(self.stack, self.bucket)

    def engine(self, kind: WarehouseKind, zone: str = "", *, is_pooled: bool = False) -> TrappedEngine:
        """Between these places; the Postgres source gives its sessions this time zone, by default UTC. With a zone it
        is reached without the pooler, which takes no options."""
        trap = Trap()
        source_url = self.pooled_url if is_pooled else self.postgres_url
        if zone:
            source_url = f"{self.postgres_url}?options={quote(f'-c TimeZone={zone}')}"
        plain = engine_between(
            self.stack, bucket_store(self.stack, self.bucket), self.postgres_url, self.warehouse_urls[kind]
        )
        store, connect = TrappedStore(plain.store, trap), trapped(plain.connect_warehouse, trap)
        role = WAREHOUSE_IAM_ROLE if plain.warehouse.dialect.copies_from_lake else ""
        warehouse = Warehouse(connect, plain.warehouse.dialect, role)
        return TrappedEngine(
            store,
            warehouse,
            connect,
            source_url,
            self.mongo_url,
            holder=FIRST_HOLDER,
            trap=trap,
            connect_plainly=plain.connect_warehouse,
        )


@contextmanager
def places_on(stack: Stack, name: str) -> Iterator[Places]:
    """Fresh databases, a pooler and a bucket on a running stack."""
    source_url = stack.postgres.create_database(f"{name}_source")
    directory = stack.directory / f"{name}_pooler"
    with start_pgbouncer(directory, source_url, "transaction", pool_size=20, round_robin=True) as pooler:
        yield Places(
            stack,
            source_url,
            pooler.url,
            {"postgres": stack.postgres.create_database(f"{name}_warehouse"), "redshift": stack.warehouse.url},
            stack.aws.create_bucket(name.replace("_", "-")),
        )
