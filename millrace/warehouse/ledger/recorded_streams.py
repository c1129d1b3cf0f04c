"""Streams of wildcards, as the ledger records them: which tables were found, and what was chosen for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from millrace.warehouse.ledger.ledger import Ledger

SINCE_VERSION = 7
"""The first version of the ledger that records streams of wildcards."""
ROWS_OF_A_STATEMENT = 100


@dataclass(frozen=True)
class RecordedStream:
    """A stream that a wildcard stood for at the last run."""

    stream: str
    """Name of the stream."""
    source: str
    """The table, as a stream names it."""
    wildcard: str
    """The wildcard, as ``str(Streams(...))`` names it."""
    choice: Mapping[str, Any]
    """What was chosen for the table: key, cursor, sweep, types and the like."""


def list_recorded_streams(ledger: Ledger, pipeline: str) -> list[RecordedStream]:
    """Return the streams of wildcards that were recorded for a pipeline, in the order of their names."""
    rows = ledger.fetch_all(
        "SELECT stream, source, wildcard, choice FROM millrace.found_streams WHERE pipeline = %s ORDER BY stream",
        (pipeline,),
        since=SINCE_VERSION,
    )
    return [RecordedStream(stream, source, wildcard, orjson.loads(choice)) for stream, source, wildcard, choice in rows]


def record_streams(ledger: Ledger, pipeline: str, streams: Sequence[RecordedStream]) -> None:
    """Record these streams of wildcards, and no others, for a pipeline. Commits."""
    ledger.lock()
    with ledger.connection.cursor() as cursor:
        cursor.execute("DELETE FROM millrace.found_streams WHERE pipeline = %s", (pipeline,))
        for first in range(0, len(streams), ROWS_OF_A_STATEMENT):
            block = streams[first : first + ROWS_OF_A_STATEMENT]
            cursor.execute(
                "INSERT INTO millrace.found_streams (pipeline, stream, source, wildcard, choice) VALUES "
                + ", ".join(["(%s, %s, %s, %s, %s)"] * len(block)),
                [
                    value
                    for one in block
                    for value in (pipeline, one.stream, one.source, one.wildcard, orjson.dumps(one.choice).decode())
                ],
            )
    ledger.connection.commit()
