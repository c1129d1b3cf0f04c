"""``python -m bench.tables --rows 1000000``: one table read from Postgres and from MySQL, to Parquet with row hashes.

Both servers are on this machine; each read is a process of its own, the two kinds in turn. Nothing is uploaded.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from typing_extensions import override

from local.mysql import connect, start_mysql
from local.postgres import start_postgres
from millrace import Incremental, Stream
from millrace.lake.batch import Batch
from millrace.lake.store import ObjectStore
from millrace.runs.chunks import take_chunks
from millrace.runs.destination import BatchDestination
from millrace.runs.extract import Extraction
from millrace.sources.chunk import Window
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource
from millrace.sources.tables import TableSource
from millrace.warehouse.dialect import REDSHIFT_DIALECT

ROUNDS = 5
POSTGRES_TABLE = """
CREATE TABLE big AS
SELECT n AS id, md5(n::text)::varchar(32) AS body, (n * 7 % 100000 / 100.0)::numeric(12,2) AS amount,
    timestamp '2024-01-01' + n * interval '1.000001 s' AS changed, n / 7::double precision AS ratio
FROM generate_series(0, {rows} - 1) AS n
"""
MYSQL_TABLE = """
CREATE TABLE big (id int PRIMARY KEY, body varchar(32), amount decimal(12,2), changed datetime(6), ratio double)
"""
MYSQL_ROWS = """
INSERT INTO big SELECT n, md5(n), n * 7 % 100000 / 100.0, '2024-01-01' + INTERVAL n * 1000001 MICROSECOND, n / 7e0
FROM ({numbers}) AS numbers WHERE n < {rows}
"""


class Discard(ObjectStore):
    """A lake that keeps nothing."""

    @override
    def uri(self, key: str) -> str:
        return key

    @override
    def put_file(self, path: Path, key: str) -> int:
        return path.stat().st_size

    @override
    def put_bytes(self, data: bytes, key: str) -> int:
        return len(data)

    @override
    def get_bytes(self, key: str) -> bytes:
        raise KeyError(key)

    @override
    def get_file(self, key: str, path: Path) -> None:
        raise KeyError(key)

    @override
    def exists(self, key: str) -> bool:
        return False

    @override
    def list_keys(self, prefix: str) -> Iterator[str]:
        return iter(())


def source_of(url: str) -> tuple[TableSource, Stream]:
    """Return the table as a stream, and its source."""
    place = "mysql:bench.big" if url.startswith("mysql") else "postgres:public.big"
    source = (
        MySQLSource(lambda: connect(url)) if url.startswith("mysql") else PostgresSource(lambda: psycopg2.connect(url))
    )
    return source, Stream("big", place, "id", Incremental("changed"))


async def read(url: str) -> Batch:
    """Read the whole table."""
    source, stream = source_of(url)
    async with source.read(stream, (), Window()) as reading:
        with Extraction(
            BatchDestination("bench", Discard(), REDSHIFT_DIALECT.limits), stream, reading.facts
        ) as extraction:
            await take_chunks(reading, extraction)
            batch = extraction.finish()
    assert batch is not None
    return batch


def measure(url: str) -> str:
    """One read, and what it took."""
    begun = time.monotonic()
    batch = asyncio.run(read(url))
    seconds, used = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF)
    speed, peak = batch.counts.read / seconds / 1e6, used.ru_maxrss // 1024
    return (
        f"{url.partition(':')[0]:<10} {batch.counts.read:>10,} rows {seconds:6.2f} s {speed:6.2f} M rows/s "
        f"{used.ru_utime + used.ru_stime:6.2f} CPU-seconds, peak {peak:,} MB"
    )


@contextmanager
def tables(rows: int) -> Iterator[tuple[str, str]]:
    """Provide the URLs of two databases with the same table."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        Path(directory).chmod(0o755)
        postgres, mysql = start_postgres(Path(directory) / "postgres"), start_mysql(Path(directory) / "mysql")
        try:
            urls = postgres.create_database("bench"), mysql.create_database("bench")
            fill(*urls, rows)
            yield urls
        finally:
            mysql.stop()
            postgres.stop()


def fill(postgres_url: str, mysql_url: str, rows: int) -> None:
    """Write the same rows into both databases."""
    with closing(psycopg2.connect(postgres_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(POSTGRES_TABLE.format(rows=rows))
    with closing(connect(mysql_url)) as connection, connection.cursor() as cursor:
        cursor.execute(MYSQL_TABLE)
        cursor.execute(MYSQL_ROWS.format(numbers="SELECT 0 AS n", rows=rows))
        for power in range(rows.bit_length()):
            cursor.execute(MYSQL_ROWS.format(numbers=f"SELECT id + {2**power} AS n FROM big", rows=rows))


def main(rows: int) -> None:
    """Each in turn."""
    with tables(rows) as urls:
        for url in urls * ROUNDS:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                print(pool.submit(measure, url).result(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    main(parser.parse_args().rows)
