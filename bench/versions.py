"""Measure what one changed version and one new fact cost, by the number of existing facts.

``python -m bench.versions --facts 10000 --facts 1000000``. Source and warehouse are two databases of a Postgres on this
machine, the lake is a folder. The existing facts are put into the warehouse directly, bound to the first versions of
their stocks.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import dataframely as dy
import polars as pl
import psycopg2

from local.postgres import start_postgres
from millrace import Append, Bind, Incremental, Model, Pipeline, Scd2, Stream
from millrace.lake.batch import Batch
from millrace.models.transform import transform
from millrace.runs.choose import ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import BatchDestination
from millrace.sources.postgres import PostgresSource
from millrace.warehouse.dialect import POSTGRES_DIALECT
from millrace.warehouse.warehouse import Warehouse

STOCKS = 1_000
ROUNDS = 5


class PricedStock(dy.Schema):
    """A price."""

    code = dy.String(nullable=False)
    price = dy.Int32(nullable=True)
    since = dy.Datetime(nullable=False)


class PricedTrade(dy.Schema):
    """A trade of a stock at a time."""

    trade_id = dy.Int64(nullable=False)
    code = dy.String(nullable=True)
    traded = dy.Datetime(nullable=True)


def stock(stocks: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return stocks.select("code", "price", since="changed")


def trade(trades: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return trades.select("trade_id", "code", traded="changed")


PIPELINE = Pipeline(
    "market",
    streams=[
        Stream("stocks", "postgres:public.stocks", "code", Incremental("changed", timedelta(0))),
        Stream("trades", "postgres:public.trades", "trade_id", Incremental("changed", timedelta(0)), load=Append()),
    ],
    schema="market_source",
    models=[
        Model(stock, PricedStock, "code", load=Scd2("stock_key", effective_from="since")),
        Model(
            trade, PricedTrade, "trade_id", load=Append(), binds=[Bind("stock_key", "stock", by="code", at="traded")]
        ),
    ],
)
SOURCE = f"""
CREATE TABLE stocks (code text PRIMARY KEY, price int, changed timestamp);
CREATE TABLE trades (trade_id bigint PRIMARY KEY, code text, changed timestamp);
INSERT INTO stocks SELECT 'stock ' || i, i, '2024-01-01' FROM generate_series(1, {STOCKS}) AS i;
INSERT INTO trades VALUES (0, 'stock 1', '2024-01-02');
"""
FACTS = f"""
INSERT INTO market.trade (trade_id, code, traded, stock_key, _row_hash, _loaded_at)
SELECT i, s.code, timestamp '2024-01-02' + i * interval '1 second', s.stock_key, '-', now()
FROM generate_series(1, {{facts}}) AS i JOIN market.stock AS s ON s.code = 'stock ' || (1 + i % {STOCKS});
INSERT INTO market_source.trades (trade_id, code, changed, _row_hash, _loaded_at)
SELECT trade_id, code, traded, '-', now() FROM market.trade WHERE trade_id > 0;
"""
CHANGES = """
UPDATE stocks SET price = price + 1, changed = clock_timestamp() AT TIME ZONE 'UTC' WHERE code = 'stock 7';
INSERT INTO trades VALUES (-{number}, 'stock 7', clock_timestamp() AT TIME ZONE 'UTC');
"""


class Folder:
    """A lake on this machine's disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def uri(self, key: str) -> str:
        """As ``ObjectStore.uri``."""
        return str(self._root / key)

    def put_file(self, path: Path, key: str) -> int:
        """As ``ObjectStore.put_file``."""
        return self.put_bytes(path.read_bytes(), key)

    def put_bytes(self, data: bytes, key: str) -> int:
        """As ``ObjectStore.put_bytes``."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.write_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """As ``ObjectStore.get_bytes``."""
        return (self._root / key).read_bytes()

    def get_file(self, key: str, path: Path) -> None:
        """As ``ObjectStore.get_file``."""
        shutil.copyfile(self._root / key, path)

    def exists(self, key: str) -> bool:
        """As ``ObjectStore.exists``."""
        return (self._root / key).exists()

    def list_keys(self, prefix: str) -> Iterator[str]:
        """As ``ObjectStore.list_keys``."""
        return (str(path.relative_to(self._root)) for path in sorted((self._root / prefix).rglob("*")))


@dataclass(frozen=True)
class VersionsPlaces:
    """Two databases and a folder."""

    source_url: str
    warehouse_url: str
    lake: Folder

    def run(self) -> float:
        """One run; the seconds that its load took."""
        batches = [batch for batch in asyncio.run(self._read()) if batch]
        computed = transform(PIPELINE, batches, self.lake, self.lake)
        begun = time.monotonic()
        results = self._warehouse().load(PIPELINE, computed, self.lake)
        assert all(result.loaded for result in results)
        return time.monotonic() - begun

    async def _read(self) -> list[Batch | None]:
        return [await self._read_one(stream) for stream in PIPELINE.streams]

    async def _read_one(self, stream: Stream) -> Batch | None:
        warehouse, source = self._warehouse(), PostgresSource(lambda: psycopg2.connect(self.source_url))
        with warehouse.lease(PIPELINE, stream, "bench") as token:
            landing = BatchDestination(PIPELINE.name, self.lake, warehouse.dialect.limits, token=token)
            return await read(StreamContext(source, landing, warehouse, PIPELINE, stream), ReadRequest())

    def _warehouse(self) -> Warehouse:
        return Warehouse(lambda: psycopg2.connect(self.warehouse_url), POSTGRES_DIALECT)


def execute(url: str, sql: str) -> None:
    """Outside of a transaction."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)


@contextmanager
def places() -> Iterator[VersionsPlaces]:
    """Provide two empty databases and an empty folder."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        Path(directory).chmod(0o755)
        server = start_postgres(Path(directory) / "postgres")
        try:
            urls = server.create_database("bench"), server.create_database("warehouse")
            yield VersionsPlaces(*urls, Folder(Path(directory) / "lake"))
        finally:
            server.stop()


def measure(facts: int) -> float:
    """Return the median seconds of several runs, each with one changed version and one new fact."""
    with places() as found:
        execute(found.source_url, SOURCE)
        found.run()
        execute(found.warehouse_url, FACTS.format(facts=facts))
        execute(found.warehouse_url, "VACUUM ANALYZE")
        seconds = []
        for number in range(1, ROUNDS + 2):
            execute(found.source_url, CHANGES.format(number=number))
            seconds.append(found.run())
    return median(seconds[1:])


def main(sizes: Sequence[int]) -> None:
    """Each in turn, beside the first."""
    first = 0.0
    for facts in sizes:
        seconds = measure(facts)
        first = first or seconds
        print(f"{facts:>12,} facts {seconds:8.3f} s, {seconds / first:6.2f} of the first", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, action="append", default=[])
    main(parser.parse_args().facts or [10_000, 300_000])
