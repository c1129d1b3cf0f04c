"""A Prefect server for flow tests, and blocks that point to fresh places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg2
import pytest
from prefect.client.orchestration import get_client

from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.flows.request import ReplicateRequest
from tests.conftest import unique
from tests.saved_blocks import save_blocks
from tests.support.engine import database_of

MONGO_DATABASE = "finance"


@dataclass(frozen=True)
class Places:
    """Where this test's data is."""

    source_url: str
    mongo_url: str
    warehouse_url: str
    environment: dict[str, str]

    def source(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run SQL in the source; rows if there are any."""
        return _execute(self.source_url, statement, parameters)

    def warehouse(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run SQL in the warehouse; rows if there are any."""
        return _execute(self.warehouse_url, statement, parameters)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table of ours in the warehouse: targets, and what the ledger holds; not who holds a
        stream, nor that a ledger was made that holds no more than its version."""
        tables = self.warehouse(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema IN ('stori', 'millrace', 'shop') AND table_name NOT IN ('leases', 'version') "
            "ORDER BY 1, 2"
        )
        rows = {name: sorted(self.warehouse(f'SELECT * FROM "{name[0]}"."{name[1]}"'), key=repr) for name in tables}
        return {f"{name[0]}.{name[1]}": found for name, found in rows.items() if found or name[0] != "millrace"}


def _execute(url: str, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    plain = url.replace("redshift+psycopg2", "postgresql")
    with closing(psycopg2.connect(plain)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def places(
    prefect_server: PrefectServer,
    stack: Stack,
    postgres_database: str,
    warehouse_url: str,
    bucket: str,
    aws_environment: dict[str, str],
) -> Any:
    """Blocks registered for an empty source, an empty warehouse and empty buckets."""
    stack.mongo.drop_database(MONGO_DATABASE)
    environment = stack.environment() | {
        "SOURCE_POSTGRES_URL": postgres_database,
        "LANDING_BUCKET": bucket,
        "PROCESSED_BUCKET": stack.aws.create_bucket(unique("processed").replace("_", "-")),
    }
    await save_blocks(environment)
    yield Places(postgres_database, stack.mongo.url, warehouse_url, environment)
    stack.mongo.drop_database(MONGO_DATABASE)


class OwnPipeline(Protocol):
    """Writes a user's own pipeline of one stream; gives its address."""

    def __call__(self, table: str, key: str, cursor: str = "changed", kind: str = "postgres:public") -> str: ...


@pytest.fixture
def own_pipeline(tmp_path: Path) -> OwnPipeline:
    """A module of a user, with the pipeline `shop`."""

    def write(table: str, key: str, cursor: str = "changed", kind: str = "postgres:public") -> str:
        path = tmp_path / "shop.py"
        path.write_text(
            "from millrace import Incremental, Pipeline, Stream\n"
            f"shop = Pipeline('shop', [Stream({table!r}, source={f'{kind}.{table}'!r}, key={key!r}, "
            f"capture=Incremental({cursor!r}))])\n"
        )
        return f"{path}:shop"

    return write


FOLLOWED = """
from millrace import ChangeLog, Incremental, Pipeline, Stream
followed = Pipeline("followed", streams=[
    Stream("orders", "postgres:public.orders", "id", ChangeLog()),
    Stream("items", "postgres:public.items", "id", ChangeLog()),
    Stream("notes", "postgres:public.notes", "id", Incremental("changed")),
])
"""


def publish_followed() -> str:
    """The SQL that publishes what the pipeline `followed` follows, as `millrace plan` prints it."""
    return (
        'CREATE PUBLICATION "millrace_followed" FOR TABLE "public"."orders" ("id"), "public"."items" ("id") '
        "WITH (publish_via_partition_root = true)"
    )


@pytest.fixture
def request_of_followed(places: Places, stack: Stack, tmp_path: Path) -> Iterator[ReplicateRequest]:
    """A request of the pipeline, whose tables are there; the publication is not."""
    path = tmp_path / "followed.py"
    path.write_text(FOLLOWED)
    name = database_of(places.source_url)
    stack.postgres.execute(f"ALTER ROLE {name} REPLICATION")
    places.source(
        "CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE items (id int PRIMARY KEY, order_id int); INSERT INTO items VALUES (1, 1), (2, 1), (3, 2);"
        "CREATE TABLE notes (id int PRIMARY KEY, changed timestamptz DEFAULT now()); INSERT INTO notes VALUES (1)"
    )
    yield ReplicateRequest(pipeline=f"{path}:followed")
    stack.postgres.execute(
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}'"
    )
    stack.postgres.execute(f"ALTER ROLE {name} NOREPLICATION")


async def told_as_loaded(pipeline: str) -> list[list[str]]:
    """The tables of each load of the pipeline that Prefect was told of; the latest fifty."""
    wanted = {"event": {"name": ["millrace.loaded"]}, "resource": {"id": [f"millrace.pipeline.{pipeline}"]}}
    async with get_client() as client:
        response = await client._client.post("/events/filter", json={"filter": wanted})
    return [list(event["payload"]["counts"]) for event in response.raise_for_status().json()["events"]]
