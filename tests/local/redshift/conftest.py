"""A Redshift for the contract tests: the stand-in, or a real cluster where REDSHIFT_URL names one.

A real one also needs REDSHIFT_S3_BUCKET and REDSHIFT_IAM_ROLE, and AWS credentials that may write to the bucket.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import boto3
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROLE = "arn:aws:iam::123456789012:role/warehouse"


class Redshift:
    """A fresh schema in a warehouse, and a fresh prefix on the S3 it reads."""

    def __init__(self, url: str, bucket: str, s3: Any, iam_role: str) -> None:
        self.url, self.bucket, self.s3, self.iam_role = url, bucket, s3, iam_role
        self.dsn = url.replace("redshift+psycopg2://", "postgresql://")
        self.schema = f"contract_{secrets.token_hex(4)}"
        self._connections: list[Any] = []

    def connect(self, *, autocommit: bool = False) -> Any:
        """A connection that works in the schema and is closed at the end of the test."""
        connection = psycopg2.connect(self.dsn)
        self._connections.append(connection)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET search_path TO {self.schema}")
        connection.autocommit = autocommit
        return connection

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run the statements, each for itself; the rows of the last."""
        connection = self.connect(autocommit=True)
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def refusal(self, *statements: str) -> psycopg2.Error:
        """The error of the last statement; the others succeed."""
        connection = self.connect(autocommit=True)
        with connection.cursor() as cursor:
            for statement in statements[:-1]:
                cursor.execute(statement)
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute(statements[-1])
        assert not connection.closed
        return caught.value

    def put(self, name: str, content: bytes) -> dict[str, Any]:
        """Store an object; its entry for a manifest."""
        key = f"{self.schema}/{name}"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)
        return {
            "url": f"s3://{self.bucket}/{key}",
            "mandatory": True,
            "meta": {"content_length": len(content)},
        }

    def put_parquet(self, name: str, table: pa.Table, **options: Any) -> dict[str, Any]:
        """Store a table as Parquet; its entry for a manifest."""
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        return self.put(name, sink.getvalue())

    def put_manifest(self, entries: Sequence[dict[str, Any]]) -> str:
        """Store a manifest; its URL."""
        return str(self.put(f"{secrets.token_hex(4)}.manifest", json.dumps({"entries": entries}).encode())["url"])

    def copy(self, table: str, entries: Sequence[dict[str, Any]], options: str = "") -> str:
        """The COPY statement that loads these files."""
        return self.copy_from(table, self.put_manifest(entries), f"MANIFEST {options}")

    def copy_from(self, table: str, location: str, options: str = "") -> str:
        """The COPY statement that loads this location."""
        return f"COPY {table} FROM '{location}' IAM_ROLE '{self.iam_role}' FORMAT AS PARQUET {options}"

    def read_parquet(self, key: str) -> pa.Table:
        """A Parquet object as a table."""
        return pq.read_table(io.BytesIO(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()))


@pytest.fixture(scope="session")
def redshift_places(request: pytest.FixtureRequest) -> tuple[str, str, Any, str]:
    """URL, bucket, S3 client and role: a real cluster's, or the local stack's."""
    if url := os.environ.get("REDSHIFT_URL"):
        return url, os.environ["REDSHIFT_S3_BUCKET"], boto3.client("s3"), os.environ["REDSHIFT_IAM_ROLE"]
    stack = request.getfixturevalue("stack")
    return stack.warehouse.url, stack.aws.create_bucket("contract"), stack.aws.client("s3"), ROLE


@pytest.fixture
def redshift(redshift_places: tuple[str, str, Any, str]) -> Iterator[Redshift]:
    """A Redshift with nothing in it."""
    bound = Redshift(*redshift_places)
    with closing(psycopg2.connect(bound.dsn)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE SCHEMA {bound.schema}")
        yield bound
        bound.close()
        connection.cursor().execute(f"DROP SCHEMA {bound.schema} CASCADE")
