"""What was rejected and not replayed since, for people who look.

What does not belong here: how rows are rejected and replayed (millrace/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from blocks.load import load_landing
from millrace.reads import open_rejects
from pipelines import find
from tasks.connections import open_warehouse


@dataclass(frozen=True)
class Rejects:
    """Rows of a stream rejected for one reason and field: how many, when last, and the latest ``file`` that holds them
    whole. ``coordinates`` is the key of a single row, '' where there are several."""

    stream: str
    reason: str
    field: str
    rows: int
    read_at: datetime
    file: str
    coordinates: str = ""


async def list_rejects(pipeline: str, streams: Sequence[str], *, each: bool = False) -> list[Rejects]:
    """Open rejects of these streams, the most frequent reason first; ``each``: row by row."""
    declared = find(pipeline)
    warehouse, store = await open_warehouse(declared), await load_landing()
    by = ["reason", "field", "coordinates"] if each else ["reason", "field"]
    found: list[Rejects] = []
    for stream in streams:
        _, rows = await asyncio.to_thread(open_rejects, warehouse, store, declared, declared.stream(stream))
        grouped = rows.group_by(by, maintain_order=True).agg(
            pl.len().alias("rows"), pl.col("read_at").max(), pl.col("file").last()
        )
        found += [Rejects(stream, **row) for row in grouped.sort("rows", descending=True).to_dicts()]
    return found
