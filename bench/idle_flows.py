"""``python -m bench.idle_flows``: whole flow runs that find nothing, of streams of a change log and of a cursor.

They run on the local stack with a Prefect server; both pipelines copy the same tables into Postgres.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from contextlib import closing

import psycopg2

from bench.changes import COLUMNS, cpu_seconds, fill
from local.stack import BANK_DATABASE, Stack
from millrace import ChangeLog, Incremental, Pipeline, Stream

STREAMS = 20
NAMES = [f"t{number}" for number in range(STREAMS)]
log = Pipeline("idle_log", [Stream(name, f"postgres:public.{name}", "id", ChangeLog()) for name in NAMES])
cursor = Pipeline(
    "idle_cursor", [Stream(name, f"postgres:public.{name}", "id", Incremental("changed")) for name in NAMES]
)


async def measure(stack: Stack, times: int) -> None:
    """Print time and CPU of idle runs."""
    from millrace.blocks.bootstrap import bootstrap  # noqa: PLC0415 - Prefect reads the environment when imported
    from millrace.flows.replicate import replicate  # noqa: PLC0415
    from millrace.flows.request import ReplicateRequest  # noqa: PLC0415

    await bootstrap(os.environ)
    requests = {name: ReplicateRequest(pipeline=f"bench.idle_flows:{name}") for name in ("log", "cursor")}
    for request in requests.values():
        await replicate(request)
    await asyncio.sleep(61)  # A cursor reads again what is younger than its overlap.
    for name, request in requests.items():
        await replicate(request)
        began, own, server = time.monotonic(), time.process_time(), cpu_seconds(stack.postgres)
        for _ in range(times):
            await replicate(request)
        seconds, own = time.monotonic() - began, time.process_time() - own
        print(
            f"{times} idle flow runs of {STREAMS} streams by {name}: {seconds:.1f} s, CPU-s: own {own:.2f}, Postgres "
            f"(source, warehouse and Prefect's database) {cpu_seconds(stack.postgres) - server:.2f}",
            flush=True,
        )


def main(times: int) -> None:
    """Start the stack, make the tables and measure."""
    with Stack() as stack:
        warehouse = stack.postgres.create_database("idle")
        os.environ.update(stack.environment() | {"WAREHOUSE_URL": warehouse})
        stack.postgres.execute(f"ALTER ROLE {BANK_DATABASE} REPLICATION")
        with closing(psycopg2.connect(os.environ["SOURCE_POSTGRES_URL"])) as connection, connection.cursor() as writer:
            connection.autocommit = True
            for name in NAMES:
                writer.execute(f"CREATE TABLE {name} ({COLUMNS})")
                writer.execute(fill(name, 1, 1000)[0])
            keys = ", ".join(f"{name} (id)" for name in NAMES)
            writer.execute(
                f"CREATE PUBLICATION millrace_{log.name} FOR TABLE {keys} WITH (publish_via_partition_root = true)"
            )
        asyncio.run(measure(stack, times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    main(parser.parse_args().times)
