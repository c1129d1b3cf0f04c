"""What was rejected and not replayed since, for people who look."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace import Stream
from millrace.blocks.load import load_landing, load_processed
from millrace.declaration.find import find_pipeline
from millrace.runs.quarantine import read_open_rejects, read_refused_rejects
from millrace.tasks.connections import open_warehouse


@dataclass(frozen=True)
class Rejects:
    """Rows of a stream or model rejected for one reason and field: how many, when last, and the latest ``file`` that
    holds them whole. ``coordinates`` is the key of a single row of the source, '' where there are several.
    ``is_refused``: the batch was refused for its rejects, so that nothing of it is loaded."""

    stream: str
    reason: str
    field: str
    rows: int
    read_at: datetime
    file: str
    coordinates: str = ""
    is_refused: bool = False


async def list_rejects(pipeline: str, names: Sequence[str] = (), *, each: bool = False) -> list[Rejects]:
    """Open rejects of these streams and models (of all, if none is named), and those of a batch that was refused and on
    which nothing went on; the most frequent reason first; ``each``: row by row. Raises ConfigurationError."""
    declared = find_pipeline(pipeline)
    members = [declared.find(name) for name in names] or declared.members
    warehouse, landing = await open_warehouse(declared), await load_landing()
    processed = await load_processed() if declared.models else landing
    found: list[Rejects] = []
    for member in members:
        own = (warehouse, landing if isinstance(member, Stream) else processed, declared, member)
        _, applied = await asyncio.to_thread(read_open_rejects, *own)
        refused = await asyncio.to_thread(read_refused_rejects, *own)
        found += _grouped(member.name, applied, each=each)
        found += _grouped(member.name, refused, each=each, is_refused=True)
    return found


def _grouped(stream: str, rows: pl.DataFrame, *, each: bool, is_refused: bool = False) -> list[Rejects]:
    by = ["reason", "field", "coordinates"] if each else ["reason", "field"]
    grouped = rows.group_by(by, maintain_order=True).agg(
        pl.len().alias("rows"), pl.col("read_at").max(), pl.col("file").last()
    )
    return [Rejects(stream, **row, is_refused=is_refused) for row in grouped.sort("rows", descending=True).to_dicts()]
