"""``python -m bench.sweep --rows 5000000``: a first load and two sweeps of a table, with time and peak memory of each.

Source, lake and warehouse are the local stack's, on the same machine; each step is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from prefect_aws import AwsClientParameters, AwsCredentials
from prefect_aws.s3 import S3Bucket

from local.stack import WAREHOUSE_IAM_ROLE, Stack
from millrace import Incremental, Pipeline, Stream
from millrace.blocks.sql import driver_of, opener, warehouse_connector
from millrace.blocks.store import BucketStore
from millrace.runs.choose import Mode, ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import BatchDestination
from millrace.sources.postgres import PostgresSource
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.warehouse import Warehouse

STREAM = Stream("big", source="postgres:public.big", key="id", capture=Incremental("changed"))
PIPELINE = Pipeline("bench", [STREAM])
TABLE = """
CREATE TABLE big AS SELECT i::bigint AS id, i % 1000 AS account, md5(i::text) AS body,
    (i * 7 % 100000)::numeric(12,2) AS amount, now() AS changed FROM generate_series(1, {rows}) AS i;
ALTER TABLE big ADD PRIMARY KEY (id)
"""
SILENT = "UPDATE big SET body = 'silent' WHERE id % 1000 = 0; DELETE FROM big WHERE id % 1000 = 1"


@dataclass(frozen=True)
class SweepPlaces:
    """Where everything is; travels to the processes that are measured."""

    source_url: str
    warehouse_url: str
    bucket: str
    aws_url: str
    aws: dict[str, str]

    def connect(self) -> Any:
        """Return a connection to the source."""
        return psycopg2.connect(self.source_url)

    def context(self) -> StreamContext:
        """Return the context of the stream."""
        credentials = AwsCredentials(
            aws_access_key_id=self.aws["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.aws["AWS_SECRET_ACCESS_KEY"],
            region_name=self.aws["AWS_DEFAULT_REGION"],
            aws_client_parameters=AwsClientParameters(endpoint_url=self.aws_url),
        )
        store = BucketStore(S3Bucket(bucket_name=self.bucket, credentials=credentials))
        connector = warehouse_connector(self.warehouse_url, place="bench")
        warehouse = Warehouse(opener(connector), dialect_for(driver_of(connector)), WAREHOUSE_IAM_ROLE)
        landing = BatchDestination(PIPELINE.name, store, warehouse.dialect.limits)
        return StreamContext(PostgresSource(self.connect), landing, warehouse, PIPELINE, STREAM)


def step(places: SweepPlaces, mode: Mode) -> str:
    """One run, and what it took."""
    context, begun = places.context(), time.monotonic()
    batch = asyncio.run(read(context, ReadRequest(mode)))
    was_read = time.monotonic() - begun
    assert batch is not None
    (result,) = context.warehouse.load(PIPELINE, [batch], context.destination.store)
    seconds, peak = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (
        f"{batch.kind:<7} {result.read:>12,} read {result.inserted:>12,} inserted {result.updated:>8,} updated "
        f"{result.deleted:>8,} deleted   {was_read:6.1f} s to the lake, {seconds:6.1f} s in all, peak {peak:,} MB"
    )


def main(rows: int) -> None:
    """Load, sweep what did not change, change one row in a thousand and delete another one, sweep."""
    with Stack(prefect=False) as stack:
        places = SweepPlaces(
            stack.postgres.create_database("bench"),
            stack.warehouse.url,
            stack.aws.create_bucket("bench"),
            stack.aws.url,
            stack.aws.environment(),
        )
        _source(places, TABLE.format(rows=rows))
        _measure(step, places, "incremental")
        _measure(step, places, "sweep")
        _source(places, SILENT)
        _measure(step, places, "sweep")


def _measure(function: Callable[[SweepPlaces, Mode], str], places: SweepPlaces, mode: Mode) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(function, places, mode).result(), flush=True)


def _source(places: SweepPlaces, sql: str) -> None:
    with closing(places.connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    main(parser.parse_args().rows)
