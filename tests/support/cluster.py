"""A Redshift of somebody's own, named by REDSHIFT_URL: the engine's tests on it, in schemas of their own.

The product's schemas have fixed names (``millrace``), and tests name theirs (``engine``). On a shared database every
test gets a random prefix: it is put before these names in all SQL, taken away from all results, and what has it is
dropped at the end. A cursor of the driver does this, so that the product runs as it is.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2.extensions
from prefect_aws import AwsCredentials
from prefect_aws.s3 import S3Bucket

from local.stack import Stack
from millrace.blocks.sql import opener, warehouse_connector
from millrace.blocks.store import BucketStore
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from millrace.warehouse.warehouse import Warehouse
from tests.support.engine import Engine

URL, BUCKET, ROLE = "REDSHIFT_URL", "REDSHIFT_S3_BUCKET", "REDSHIFT_IAM_ROLE"
SCHEMAS = (
    *("millrace", "engine", "market", "market_source", "shop", "shop_source", "sales", "sales_source"),
    *("rates", "rates_source", "one", "two", "three", "other"),
)
"""Every schema that the chosen tests and the product use."""
_NAMES = "|".join(sorted(SCHEMAS, key=len, reverse=True))
_NAMED = re.compile(
    rf"""(?P<before>(?<![\w."'])"?)(?P<name>{_NAMES})(?="?\.)  # before a dot
      |(?P<schema>\bSCHEMA\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"?)(?P<of_schema>{_NAMES})\b
      |(?P<quote>')(?P<literal>{_NAMES})(?=')  # as a value of the catalog, or of the ledger""",
    re.VERBOSE | re.IGNORECASE,
)

_MAKES_A_SCHEMA = re.compile(r"\bCREATE\s+SCHEMA\b", re.IGNORECASE)


def is_given() -> bool:
    """Whether tests run on a Redshift of somebody's own."""
    return bool(os.environ.get(URL))


def with_prefix(sql: str, prefix: str) -> str:
    """The statement on schemas with this prefix."""

    def named(found: re.Match[str]) -> str:
        before = found["before"] or found["schema"] or found["quote"] or ""
        return f"{before}{prefix}{found['name'] or found['of_schema'] or found['literal']}"

    return _NAMED.sub(named, sql)


@dataclass(frozen=True)
class Cluster:
    """A Redshift, a prefix of schemas and a folder of a bucket that are this test's own."""

    prefix: str

    def connector(self) -> Any:
        """A connector whose sessions work on schemas with the prefix."""
        prefix = self.prefix

        class Cursor(psycopg2.extensions.cursor):
            def execute(self, query: Any, variables: Any = None) -> None:
                text = self.mogrify(query, variables).decode() if variables is not None else str(query)
                named = with_prefix(text, prefix)
                assert prefix in named or not _MAKES_A_SCHEMA.search(named), f"add the schema to SCHEMAS: {named}"
                super().execute(named.encode())

            def fetchone(self) -> Any:
                return None if (row := super().fetchone()) is None else without(row)

            def fetchall(self) -> list[Any]:
                return [without(row) for row in super().fetchall()]

        def without(row: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(value.replace(prefix, "") if isinstance(value, str) else value for value in row)

        class Connection(psycopg2.extensions.connection):
            def cursor(self, *arguments: Any, **options: Any) -> Any:
                return super().cursor(*arguments, **{"cursor_factory": Cursor} | options)

        connector = warehouse_connector(os.environ[URL], place="test")
        connector.connect_args = {**(connector.connect_args or {}), "connection_factory": Connection}
        return connector

    def store(self, name: str = "lake") -> BucketStore:
        """An empty folder of the bucket."""
        bucket = S3Bucket(
            bucket_name=os.environ[BUCKET], bucket_folder=f"{self.prefix}{name}", credentials=AwsCredentials()
        )
        return BucketStore(bucket)

    def engine(self, stack: Stack, postgres_url: str) -> Engine:
        """An engine from local sources into the cluster."""
        connect = opener(self.connector())
        warehouse = Warehouse(connect, REDSHIFT_DIALECT, os.environ[ROLE])
        return Engine(self.store(), warehouse, connect, postgres_url, stack.mongo.url)

    def clear(self) -> None:
        """Drop every schema with the prefix; objects in the bucket are left to its lifecycle rules."""
        with closing(opener(self.connector())()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for name in SCHEMAS:
                    cursor.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster with nothing in it that is this test's; cleared at the end."""
    found = Cluster(f"t{secrets.token_hex(4)}_")
    try:
        yield found
    finally:
        found.clear()
