"""No room for temporary files: the run ends, nothing is committed, and the next run is right.

The kernel refuses to let a file of the process grow past a limit; to the program that is a full disk.
"""

from __future__ import annotations

import resource

from millrace import Stream
from tests.faults.judge import Judge
from tests.faults.places import Places
from tests.faults.processes import Tell, deliver, run
from tests.faults.subjects import Table

ROWS = 3000
LESS_THAN_PARQUET_BYTES, LESS_THAN_CSV_BYTES = 4096, 100_000
"""Parquet comes first, in the extract; a Postgres warehouse is sent CSV, which is larger."""


def _deliver_with_little_room(tell: Tell, limit_bytes: int, places: Places, stream: Stream) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    deliver(places, stream)


def assert_fails(limit_bytes: int, places: Places, table: Table) -> None:
    code, said = run(_deliver_with_little_room, limit_bytes, places, table.stream)
    assert (code, "RetryableError" in said, "TMPDIR" in said) == (1, True, True), said


async def test_no_room_for_parquet(places: Places) -> None:
    table = Table(places, ROWS)
    assert_fails(LESS_THAN_PARQUET_BYTES, places, table)
    await places.engine().deliver(table.stream)
    Judge(places, table).check()


async def test_no_room_for_what_is_sent_to_postgres(postgres_places: Places) -> None:
    table = Table(postgres_places, ROWS)
    assert_fails(LESS_THAN_CSV_BYTES, postgres_places, table)
    await postgres_places.engine().deliver(table.stream)
    Judge(postgres_places, table).check()
