"""Open rejects, as people see them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace import Stream
from millrace.blocks.load import load_landing, load_processed
from millrace.runs.quarantine import read_open_rejects, read_refused_rejects
from millrace.tasks.connections import open_warehouse
from millrace.tasks.pipelines import load_pipeline


@dataclass(frozen=True)
class Rejects:
    """Rows of a stream or model that were rejected for one reason and field."""

    stream: str
    """Name of the stream or model."""
    reason: str
    """Code of the reason."""
    field: str
    """The field that is wrong; '' for the whole row."""
    rows: int
    """Number of rows."""
    read_at: datetime
    """When the latest of them was read."""
    file: str
    """The file in the lake with the latest of them."""
    coordinates: str = ""
    """The row location of a single row; '' for several rows."""
    is_refused: bool = False
    """Whether their batch was refused because of its rejects, so that none of its rows is loaded."""


async def list_rejects(pipeline: str, names: Sequence[str] = (), *, each: bool = False) -> list[Rejects]:
    """Return the open rejects of streams and models (all, if none is named), the most frequent reason first.

    Rejects of a refused batch after which no other was loaded are included. With ``each`` every row is listed. Raises
    ConfigurationError.
    """
    declared = await load_pipeline(pipeline)
    members = [declared.find(name) for name in names] or declared.members
    warehouse, landing = await open_warehouse(declared), await load_landing()
    processed = await load_processed() if declared.models else landing
    found: list[Rejects] = []
    for member in members:
        place_of_rejects = (warehouse, landing if isinstance(member, Stream) else processed, declared, member)
        _, applied = await asyncio.to_thread(read_open_rejects, *place_of_rejects)
        refused = await asyncio.to_thread(read_refused_rejects, *place_of_rejects)
        found += _group(member.name, applied, each=each)
        found += _group(member.name, refused, each=each, is_refused=True)
    return found


def _group(stream: str, rows: pl.DataFrame, *, each: bool, is_refused: bool = False) -> list[Rejects]:
    by = ["reason", "field", "coordinates"] if each else ["reason", "field"]
    grouped = rows.group_by(by, maintain_order=True).agg(
        pl.len().alias("rows"), pl.col("read_at").max(), pl.col("file").last()
    )
    return [Rejects(stream, **row, is_refused=is_refused) for row in grouped.sort("rows", descending=True).to_dicts()]
