"""Read many changed rows by one pass over their table, where that is cheaper than to look each of them up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import polars as pl

from millrace.base.naming import column_name
from millrace.base.types import Column
from millrace.change_logs.reading import ChangedTable
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction
from millrace.sources.chunk import Window

MANY_SHARE = 0.05
"""From this share of changed rows on, a pass over all rows is cheaper than look-ups. CPU-seconds of this process and of
the source (bench/changes.py, 8 columns), look-ups and pass: of 500,000 rows 1.0 and 0.8 at 5 %, 1.6 and 1.0 at 10 %,
7.2 and 2.9 at 50 %; of 2 million rows, more than shared_buffers, 3.9 and 4.2 at 5 %. A sweep is never cheaper: 2.1, 2.9
and 8.3 of 500,000 rows, and half as much again in the warehouse."""
FEW_KEYS = 10_000
"""So few keys are looked up, whatever the table's size."""


def are_many_keys(table: ChangedTable) -> bool:
    """Return whether a pass over the table is cheaper than a look-up of each changed key."""
    keys = table.keys.height
    return table.estimated_rows is not None and keys > max(FEW_KEYS, MANY_SHARE * table.estimated_rows)


async def take_changed_rows(
    context: StreamContext, target_columns: Sequence[Column], keys: pl.DataFrame, extraction: Extraction
) -> pl.DataFrame:
    """Read the whole table, and add the rows with these keys to the batch. Return the keys that were not found.

    Rows that cannot be decoded are left to the look-up of their keys, which counts them.
    """
    names = [column_name(key) for key in context.stream.keys]
    found: list[pl.DataFrame] = []
    async with (
        context.source.read(context.stream, target_columns, Window()) as reading,
        aclosing(reading.read_chunks()) as chunks,
    ):
        async for chunk in chunks:
            if any(chunk.frame.schema.get(name) != keys.schema[name] for name in names):
                continue  # Nothing but rejects, or a key of another type: both are looked up.
            changed = await asyncio.to_thread(chunk.frame.join, keys, names, "semi")
            if changed.height:
                await asyncio.to_thread(extraction.add, replace(chunk, frame=changed, rejected=chunk.rejected.clear()))
                found.append(changed.select(names))
    return keys.join(pl.concat(found), names, "anti", maintain_order="left") if found else keys
