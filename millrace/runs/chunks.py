"""Take the chunks of a reading into a batch, and check that the source gave what it holds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from millrace.base.errors import FatalError, RetryableError
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction
from millrace.sources.chunk import Reading

WRITTEN_MEANWHILE = 0.01
"""Share of the rows that may be new when a source without snapshots is counted after it was read."""


async def take_chunks(reading: Reading, extraction: Extraction) -> int:
    """Add every chunk of a reading to the batch. Return how many rows there were, with rejected rows."""
    rows = 0
    async with aclosing(reading.read_chunks()) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(extraction.add, chunk)
            rows += chunk.frame.height + chunk.rejected.height
            del chunk  # or it would live until the next one is there
    return rows


async def require_all(context: StreamContext, reading: Reading, rows: int) -> None:
    """Check that a read of everything gave all rows.

    Raises RetryableError when the source holds more than ``rows``: rows that were not read would be taken for deleted,
    or never be read.
    """
    source_rows = await reading.count()
    allowed = rows * (1 + WRITTEN_MEANWHILE) if reading.facts.row_id_column else rows
    if source_rows is not None and source_rows > allowed:
        raise RetryableError(
            f"the source holds {source_rows} rows and gave {rows} when all were read",
            place=context.stream.place,
            remedy="nothing was committed; run again, and look for what limits the results of this user's queries if "
            "it stays",
        )


def broken_look_up(context: StreamContext, keys: int, kinds: str) -> FatalError:
    """Return the error of a source that shows rows and does not find them by their keys."""
    return FatalError(
        f"{keys} rows that the source holds are not found by their key ({kinds})",
        place=context.stream.place,
        remedy="nothing was committed and nothing is taken for deleted; look for what limits the results of this "
        "user's queries, or declare a key of whole numbers or plain text",
    )
