"""A Prefect server for flow tests, and blocks that point to fresh places."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg2
import pytest

from local.prefect_server import PrefectServer
from local.stack import Stack
from tests.conftest import unique
from tests.saved_blocks import save_blocks

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
