"""Rows of megabytes: the memory that a read of them takes, in a process of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl
import pytest
from pymongo import MongoClient

from millrace.warehouse.dialect import REDSHIFT_DIALECT
from tests.support.engine import Engine

ROWS = 3
MOST_BYTES = 400 * 1000 * 1000
TEXTS = 250_000
"""Of 32 characters in a document, which so has 9 MB."""
MEASURE = """
import asyncio, re, resource, sys
from pathlib import Path
import psycopg2
from local.mysql import connect
from millrace import Incremental, Stream
from millrace.sources.chunk import Window
from millrace.sources.mongo import MongoSource
from millrace.drivers.mongo_client import open_client
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource
from millrace.runs.destination import BatchDestination
from millrace.declaration.pipeline import Pipeline
from millrace.runs.context import StreamContext
from millrace.runs.reads import read_window
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from millrace.warehouse.stream_state import NEVER_LOADED

class Discard:
    def uri(self, key): return key
    def put_file(self, path, key): return path.stat().st_size
    def put_bytes(self, data, key): return len(data)

class Empty:
    def find_state(self, pipeline, stream): return NEVER_LOADED

kind, place, url, rows = sys.argv[1:]

async def read():
    source = {
        "postgres": lambda: PostgresSource(lambda: psycopg2.connect(url)),
        "mysql": lambda: MySQLSource(lambda: connect(url)),
        "mongo": lambda: MongoSource(open_client(url)),
    }[kind]()
    stream = Stream("large", f"{kind}:{place}", "_id" if kind == "mongo" else "id", Incremental("changed"))
    landing = BatchDestination("test", Discard(), REDSHIFT_DIALECT.limits)
    return await read_window(StreamContext(source, landing, Empty(), Pipeline("test", [stream]), stream), Window())

assert asyncio.run(read()).written == int(rows)
status = Path("/proc/self/status")
if status.exists():
    # Linux counts in ru_maxrss what the parent had when it began this process.
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def texts(row: int) -> list[str]:
    return [hashlib.md5(b"%d" % (row * number), usedforsecurity=False).hexdigest() for number in range(TEXTS)]


def peak_bytes(kind: str, place: str, url: str) -> int:
    command = [sys.executable, "-c", MEASURE, kind, place, url, str(ROWS)]
    root = Path(__file__).parents[3]
    return int(subprocess.run(command, capture_output=True, check=True, cwd=root).stdout)


def fill_postgres(engine: Engine) -> tuple[str, str]:
    engine.source(
        "CREATE TABLE large AS SELECT i AS id, now() AS changed, "
        f"(SELECT jsonb_agg(md5((i * j)::text)) FROM generate_series(1, {TEXTS}) AS j) AS body "
        f"FROM generate_series(1, {ROWS}) AS i"
    )
    return "public.large", engine.postgres_url


def fill_mysql(engine: Engine) -> tuple[str, str]:
    engine.mysql("CREATE TABLE large (id int PRIMARY KEY, body json, changed datetime(6) DEFAULT now(6))")
    for row in range(ROWS):
        engine.mysql(f"INSERT INTO large (id, body) VALUES ({row}, '{orjson.dumps(texts(row)).decode()}')")
    return f"{engine.mysql_url.rpartition('/')[2]}.large", engine.mysql_url


def fill_mongo(engine: Engine) -> tuple[str, str]:
    with MongoClient[dict[str, object]](engine.mongo_url) as client:
        large = client.get_database("large").get_collection("large")
        large.drop()
        for row in range(ROWS):
            large.insert_one({"_id": row, "body": texts(row), "changed": datetime.now(UTC)})
    return "large.large", engine.mongo_url


@pytest.mark.parametrize(("kind", "fill"), [("postgres", fill_postgres), ("mysql", fill_mysql), ("mongo", fill_mongo)])
def test_rows_of_9_megabytes_are_read_in_400_megabytes(
    engine: Engine, mysql_database: str, kind: str, fill: Callable[[Engine], tuple[str, str]]
) -> None:
    engine.mysql_url = mysql_database
    assert peak_bytes(kind, *fill(engine)) < MOST_BYTES


def test_a_document_that_is_one_long_text_is_measured_without_a_copy_per_character() -> None:
    limits = REDSHIFT_DIALECT.limits.documents
    tracemalloc.start()
    documents = pl.Series(['{"a": "' + "x" * 9_000_000 + '"}', '{"a": "' + '\\"' * 4_500_000 + '"}'])
    tracemalloc.reset_peak()
    assert limits.find_unfit(documents).to_list() == ["too_long", "too_long"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
