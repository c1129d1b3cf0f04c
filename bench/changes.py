"""Measure the change log of Postgres: what it costs to drain changes, when a whole read is cheaper, and an idle run.

``python -m bench.changes drain``, ``threshold`` and ``idle``. Source and warehouse are two Postgres servers on this
machine, started for it; the lake is in memory. Every number is of the product's own functions.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import psycopg2
import psycopg2.extensions

from local.postgres import PostgresServer, start_postgres
from millrace import ChangeLog, Incremental, Pipeline, Stream
from millrace.base.naming import quote
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.postgres_log import PostgresLog
from millrace.fixtures.memory_store import MemoryLake
from millrace.lake.batch import Batch
from millrace.runs import changes
from millrace.runs.choose import ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import BatchDestination
from millrace.sources.postgres import PostgresSource
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.warehouse import Warehouse

DATABASE, PIPELINE = "bench", "bench"
COLUMNS = (
    "id bigint PRIMARY KEY, account int, body text, amount numeric(12, 2), is_open boolean, day date, "
    "changed timestamptz, code text"
)
VALUES = (
    "n, n % 1000, md5(n::text), (n * 7 % 100000)::numeric(12, 2), n % 2 = 0, DATE '2026-01-01' + (n % 300)::int, "
    "now(), 'code ' || n % 50"
)
TRANSACTION_ROWS = 10_000
DIALECT = dialect_for("postgresql+psycopg2")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
Kind = Literal["keys", "pass", "sweep"]
"""Each key looked up; all rows read, and the changed ones kept; all rows compared."""
KINDS: tuple[Kind, ...] = ("keys", "pass", "sweep")


class CountingCursor(psycopg2.extensions.cursor):
    """Counts the statements of all of its kind."""

    statements = 0

    def execute(self, query: Any, parameters: Any = None) -> None:
        """Run a statement."""
        CountingCursor.statements += 1
        super().execute(query, parameters)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Run COPY."""
        CountingCursor.statements += 1
        super().copy_expert(sql, file, size)


@dataclass
class Cost:
    """What something took."""

    seconds: float = 0.0
    own_cpu_seconds: float = 0.0
    source_cpu_seconds: float = 0.0
    warehouse_cpu_seconds: float = 0.0
    peak_mb: int = 0
    temporary_mb: float = 0.0
    statements: int = 0
    connections: int = 0

    def __str__(self) -> str:
        return (
            f"{self.seconds:6.2f} s, CPU-s: own {self.own_cpu_seconds:5.2f}, source {self.source_cpu_seconds:5.2f}, "
            f"warehouse {self.warehouse_cpu_seconds:5.2f}; peak {self.peak_mb:,} MB, temporary file "
            f"{self.temporary_mb:,.0f} MB, {self.statements} statements, {self.connections} connections"
        )


@dataclass
class BenchPlaces:
    """Two servers and a lake."""

    source: PostgresServer
    target: PostgresServer
    lake: MemoryLake = field(default_factory=MemoryLake)
    connections: int = 0
    ledger: str = ""

    def connect_source(self) -> Any:
        """Open a connection to the source."""
        self.connections += 1
        return psycopg2.connect(self._url(self.source), cursor_factory=CountingCursor)

    def connect_warehouse(self) -> Any:
        """Open a connection to the warehouse."""
        self.connections += 1
        return psycopg2.connect(self._url(self.target), cursor_factory=CountingCursor)

    def _url(self, server: PostgresServer) -> str:
        return server.url(DATABASE, user=DATABASE)

    def change(self, *statements: str) -> None:
        """Run statements in the source, each in a transaction of its own."""
        with closing(psycopg2.connect(self._url(self.source))) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)

    def contexts(self, pipeline: Pipeline) -> list[StreamContext]:
        """Contexts of all streams of a pipeline, as a run makes them."""
        warehouse = Warehouse(self.connect_warehouse, DIALECT)
        source = PostgresSource(self.connect_source)
        landing = BatchDestination(PIPELINE, self.lake, DIALECT.limits)
        return [StreamContext(source, landing, warehouse, pipeline, stream) for stream in pipeline.streams]

    def open_log(self, ledger: str) -> PostgresLog:
        """Return the log."""
        return PostgresLog(self.connect_source, LogReader(PIPELINE, ledger, "", "bench"))

    def read_log(self, pipeline: Pipeline, kind: Kind | None = None) -> tuple[list[StreamContext], list[Batch]]:
        """Read all streams; ``kind`` instead of what the run would choose."""
        contexts = self.contexts(pipeline)
        with ExitStack() as stack:
            if kind is not None:
                chosen = changes.LogReadPlan("sweep" if kind == "sweep" else "keys")
                stack.enter_context(patch.object(changes, "plan_read", lambda *_, **__: chosen))
                stack.enter_context(patch.object(changes, "are_many_keys", lambda _: kind == "pass"))
            found = asyncio.run(changes.read_changes(self.open_log, contexts, ReadRequest()))
        return contexts, [batch for batch in found.batches if batch]

    def follow(self, pipeline: Pipeline, kind: Kind | None = None) -> None:
        """Read and load all streams."""
        contexts, batches = self.read_log(pipeline, kind)
        contexts[0].warehouse.load(pipeline, batches, self.lake)

    def temporary_bytes(self) -> int:
        """Return how much the source wrote into temporary files until now."""
        ((found,),) = self.source.execute(f"SELECT temp_bytes FROM pg_stat_database WHERE datname = '{DATABASE}'")
        return int(found)

    @contextmanager
    def measure_cost(self) -> Iterator[Cost]:
        """Measure what happens within the context."""
        cost, temporary, began = Cost(), self.temporary_bytes(), time.monotonic()
        Path("/proc/self/clear_refs").write_text("5")
        own, source, target = time.process_time(), cpu_seconds(self.source), cpu_seconds(self.target)
        statements, connections = CountingCursor.statements, self.connections
        yield cost
        cost.seconds, cost.own_cpu_seconds = time.monotonic() - began, time.process_time() - own
        time.sleep(1.2)  # Sessions end and tell their numbers.
        cost.source_cpu_seconds = cpu_seconds(self.source) - source
        cost.warehouse_cpu_seconds = cpu_seconds(self.target) - target
        cost.peak_mb, cost.temporary_mb = peak_mb(), (self.temporary_bytes() - temporary) / 1e6
        cost.statements, cost.connections = CountingCursor.statements - statements, self.connections - connections


def cpu_seconds(server: PostgresServer) -> float:
    """Return what a server and all its sessions took until now, also those that have ended."""
    postmaster, ticks = server.process.process_id, 0
    for path in Path("/proc").iterdir():
        try:
            values = (path / "stat").read_text().rpartition(")")[2].split() if path.name.isdigit() else None
        except OSError:
            continue
        if values and int(path.name) == postmaster:
            ticks += sum(map(int, values[11:15]))
        elif values and int(values[1]) == postmaster:
            ticks += sum(map(int, values[11:13]))
    return ticks / CLOCK_TICKS


def peak_mb() -> int:
    """Return the greatest memory of this process since its peak was reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@contextmanager
def places() -> Iterator[BenchPlaces]:
    """Two fresh servers."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        Path(directory).chmod(0o755)
        servers = [start_postgres(Path(directory) / name) for name in ("source", "target")]
        for server in servers:
            stack.callback(server.stop)
            server.create_database(DATABASE)
        servers[0].execute(f"ALTER ROLE {DATABASE} REPLICATION")
        here = BenchPlaces(servers[0], servers[1])
        # A slot is named by the ledger, which the lease of a run creates.
        with Warehouse(here.connect_warehouse, DIALECT).open_ledger("bench") as ledger:
            ledger.ensure()
        yield here


def log_stream(name: str) -> Stream:
    """Return a stream that is followed by the log."""
    return Stream(name, f"postgres:public.{name}", "id", ChangeLog(), max_delete_share=1.0)


def publish(tables: Sequence[str]) -> str:
    """Return the SQL that publishes tables."""
    keys = ", ".join(f"{quote(table)} (id)" for table in tables)
    return f"CREATE PUBLICATION millrace_{PIPELINE} FOR TABLE {keys} WITH (publish_via_partition_root = true)"


def fill(table: str, first: int, last: int) -> list[str]:
    """Return statements that insert rows, each some thousand in a transaction."""
    return [
        f"INSERT INTO {table} SELECT {VALUES} FROM generate_series({low}, {min(low + TRANSACTION_ROWS - 1, last)}) AS n"
        for low in range(first, last + 1, TRANSACTION_ROWS)
    ]


def drain(rows: int) -> None:
    """Insert rows, then read their keys from the log, then the rows by key."""
    pipeline = Pipeline(PIPELINE, [log_stream("big")])
    with places() as here:
        here.change(f"CREATE TABLE big ({COLUMNS})", publish(["big"]))
        here.change(*fill("big", 1, 1000))
        here.follow(pipeline)
        with here.measure_cost() as cost:
            here.change(*fill("big", 1001, rows + 1000))
        print(f"insert of {rows:,} rows of 8 columns      {rows / cost.seconds:>9,.0f} rows/s {cost}", flush=True)
        retained = here.source.execute("SELECT pg_current_wal_lsn() - confirmed_flush_lsn FROM pg_replication_slots")
        print(f"log since the last read: {int(retained[0][0]) / 1e6:,.0f} MB", flush=True)
        contexts = here.contexts(pipeline)
        state = asyncio.run(contexts[0].find_state())
        entries = {"big": state.log} if state.log else {}
        with here.measure_cost() as cost, here.open_log(state.ledger).read(pipeline.streams, entries) as reading:
            found = reading.tables["big"].keys.height
        assert found == rows, f"{found:,} keys"
        print(f"keys from the log (peek, decode, fold)  {rows / cost.seconds:>9,.0f} rows/s {cost}", flush=True)
        for kind in KINDS[:2]:
            with here.measure_cost() as cost:
                here.read_log(pipeline, kind)
            print(f"log, and rows into the lake, by {kind:<7} {rows / cost.seconds:>9,.0f} rows/s {cost}", flush=True)
        with here.measure_cost() as cost:
            here.follow(pipeline)
        print(f"a whole run as it chooses               {rows / cost.seconds:>9,.0f} rows/s {cost}", flush=True)


def threshold(rows: int, shares: Sequence[float]) -> None:
    """Change rows that lie all over a table, and read them by key and by a sweep."""
    pipeline = Pipeline(PIPELINE, [log_stream("big")])
    with places() as here:
        here.change(f"CREATE TABLE big ({COLUMNS})", publish(["big"]), *fill("big", 1, rows), "VACUUM ANALYZE big")
        here.follow(pipeline)
        size, buffers = here.source.execute(
            "SELECT 1, setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'"
        )[0]
        with closing(here.connect_source()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size('big')")
            (size,) = cursor.fetchone()
        print(f"{rows:,} rows, {size / 1e6:,.0f} MB with index; shared_buffers {buffers / 1e6:,.0f} MB", flush=True)
        for share in shares:
            here.change(
                f"UPDATE big SET amount = amount + 1 WHERE hashint8(id) % 1000 BETWEEN 0 AND {share * 1000 - 1}"
            )
            kinds: tuple[Kind, ...] = ("keys", "sweep")
            for kind in kinds:
                with here.measure_cost() as cost:
                    here.read_log(pipeline, kind)
                print(f"{share:>6.1%} by {kind:<6} {cost}", flush=True)
            here.follow(pipeline)


def idle(streams: int, times: int) -> None:
    """Measure runs that find nothing, by cursors and by the log, with leases as a run takes them."""
    names = [f"t{number}" for number in range(streams)]
    by_log = Pipeline(PIPELINE, [log_stream(name) for name in names])
    by_cursor = Pipeline(
        "cursor", [Stream(name, f"postgres:public.{name}", "id", Incremental("changed")) for name in names]
    )
    with places() as here:
        for name in names:
            here.change(f"CREATE TABLE {name} ({COLUMNS})", *fill(name, 1, 1000))
        here.change(publish(names))
        runs: dict[str, Callable[[], None]] = {
            "log": lambda: run_leased(here, by_log, is_log=True),
            "cursor": lambda: run_leased(here, by_cursor, is_log=False),
        }
        for run in runs.values():
            run()
        time.sleep(61)  # A cursor reads again what is younger than its overlap.
        for what, run in runs.items():
            run()
            with here.measure_cost() as cost:
                for _ in range(times):
                    run()
            print(f"{times} idle runs of {streams} streams by {what:<7} {cost}", flush=True)


def run_leased(here: BenchPlaces, pipeline: Pipeline, *, is_log: bool) -> None:
    """Do what a run does: take leases, read, load, give leases back."""
    contexts = here.contexts(pipeline)
    warehouse = contexts[0].warehouse
    with ExitStack() as stack:
        # Streams of a log are read by one task, the others each by its own.
        groups = [pipeline.streams] if is_log else [[stream] for stream in pipeline.streams]
        tokens: dict[str, int] = {}
        for group in groups:
            tokens |= stack.enter_context(warehouse.lease_all(pipeline, group, "bench"))
        for context in contexts:
            context.destination = BatchDestination(
                pipeline.name, here.lake, warehouse.dialect.limits, token=tokens[context.stream.name]
            )
        batches = asyncio.run(_read_all(here, contexts, is_log=is_log))
        warehouse.load(pipeline, batches, here.lake)
    warehouse.release(pipeline, tokens)


async def _read_all(here: BenchPlaces, contexts: list[StreamContext], *, is_log: bool) -> list[Batch]:
    found: Sequence[Batch | None]
    if is_log:
        found = (await changes.read_changes(here.open_log, contexts, ReadRequest())).batches
    else:
        found = await asyncio.gather(*(read(context, ReadRequest()) for context in contexts))
    return [batch for batch in found if batch]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["drain", "threshold", "idle"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--times", type=int, default=5)
    chosen = parser.parse_args()
    if chosen.what == "drain":
        drain(chosen.rows)
    elif chosen.what == "threshold":
        threshold(chosen.rows, chosen.shares)
    else:
        idle(chosen.streams, chosen.times)


if __name__ == "__main__":
    main()
