"""Rows that a read of everything missed, where the source shows no snapshot: they moved while they were read.

A key that the target has and the read did not give would be taken for deleted. So it is looked up first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from millrace.base.types import Column
from millrace.runs.chunks import broken_look_up, take_chunks
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction
from millrace.sources.chunk import Keys, batches_of_keys

CANARIES = 100
"""Keys that were read and that every look-up must find: one that misses them proves nothing about the others, unless a
pass over all rows does not see them either, because they were deleted meanwhile."""


async def add_missed_rows(context: StreamContext, extraction: Extraction, target_columns: Sequence[Column]) -> int:
    """Add the rows to the batch that the target has and that the source has too, although the read did not give them.

    Return how many there are. Raises FatalError when the source does not find rows by their keys.
    """
    keys = [column for name in extraction.key_names for column in target_columns if column.name == name]
    # Rows of the target may be read once more for the same batch, and Redshift unloads into an empty place only.
    prefix = f"{extraction.scan_prefix}/keys"
    target_frames = context.warehouse.read_rows(
        context.pipeline, context.stream, context.destination.working_store, prefix, keys
    )
    names, canaries = tuple(column.name for column in keys), extraction.some_keys(CANARIES)
    added = 0
    for block in await asyncio.to_thread(lambda: list(_absent(extraction, target_frames, names))):
        existing = await context.source.find_existing(context.stream, target_columns, Keys(names, [*block, *canaries]))
        if lost := list(set(canaries) - existing):
            seen = await context.source.find_in_all_rows(context.stream, target_columns, Keys(names, lost))
            if unfound := set().union(*seen):
                kinds = ", ".join(f"{column.name} {column.type}" for column in keys)
                raise broken_look_up(context, len(unfound), kinds)
        if missed := [key for key in block if key in existing]:
            added += await _add(context, extraction, Keys(names, missed))
    return added


def _absent(
    extraction: Extraction, target_frames: Iterator[pl.DataFrame], names: Sequence[str]
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the keys of the target that were not read, in blocks."""
    return batches_of_keys(
        row for frame in target_frames for row in extraction.without_accepted(frame).select(names).rows()
    )


async def _add(context: StreamContext, extraction: Extraction, keys: Keys) -> int:
    async with context.source.read(context.stream, extraction.fitting.columns, keys) as reading:
        return await take_chunks(reading, extraction)
