"""The replay: rows that were rejected are read again as they are now, by row location."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import polars as pl

from millrace.base.rejects import FILE_IS_GONE, NO_LOCATION, REJECT_SCHEMA
from millrace.base.types import Column
from millrace.declaration.model import Model
from millrace.lake.batch import Batch
from millrace.runs.chunks import broken_look_up, take_chunks
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.quarantine import read_open_rejects
from millrace.sources.chunk import Keys


async def replay_rejects(context: StreamContext) -> Batch | None:
    """Read the rows of all open rejects as they are now; None when there are no open rejects.

    Source rows from which a rejected row of a model was made are read as well.
    """
    target_columns = await context.find_target_columns()
    closes, rejected = await asyncio.to_thread(
        read_open_rejects, context.warehouse, context.destination.store, context.pipeline, context.stream
    )
    of_models = [await asyncio.to_thread(_read_open_rejects_of, context, model) for model in context.models]
    closes += [batch for batches, _ in of_models for batch in batches]
    if not closes:
        return None
    nothing = Keys((), ())
    async with context.source.read(context.stream, target_columns, nothing) as reading:
        read = await context.complete_facts(reading, nothing)
    purpose = Purpose("replay", consent=context.consent)
    with Extraction(context.destination, context.stream, read, purpose, await context.find_state()) as extraction:
        extraction.keep_rejects(rejected.filter(pl.col("coordinates") == NO_LOCATION).select(*REJECT_SCHEMA))
        _note_lost_files(extraction, rejected)
        deleted = 0
        locations = pl.concat([rejected["coordinates"], *(rows["coordinates"] for _, rows in of_models)])
        for keys in context.source.keys_of(locations):
            async with context.source.read(context.stream, extraction.fitting.columns, keys) as reading:
                found = await take_chunks(reading, extraction)
            if found < len(keys.rows) and context.stream.capture.keeps_rows:
                deleted += await _refuse_unfound(context, target_columns, keys, found)
        if deleted:
            extraction.add_note(f"{deleted} rejected rows have left the source")
        return await asyncio.to_thread(lambda: extraction.finish(closes=closes))


def _read_open_rejects_of(context: StreamContext, model: Model) -> tuple[list[str], pl.DataFrame]:
    """Return the open rejects of a model; they are located by the key of the stream."""
    return read_open_rejects(context.warehouse, context.destination.working_store, context.pipeline, model)


def _note_lost_files(extraction: Extraction, rejected: pl.DataFrame) -> None:
    files = rejected.filter(pl.col("reason") == FILE_IS_GONE)["row"].unique(maintain_order=True).to_list()
    if files:
        extraction.add_note(
            f"files with rejected rows are gone from the lake ({', '.join(map(str, files[:3]))}): these rows are read "
            "again by a sweep or by a run of everything (--full)"
        )


async def _refuse_unfound(context: StreamContext, target_columns: Sequence[Column], asked: Keys, found: int) -> int:
    """Return how many of the keys that were asked for are deleted, when only so many rows were found.

    Raises FatalError when a pass over all rows of the source sees more rows with such a key.
    """
    seen = await context.source.find_in_all_rows(context.stream, target_columns, asked)
    if len(seen) > found:
        raise broken_look_up(context, len(seen) - found, ", ".join(asked.names))
    return len(asked.rows) - len(set().union(*seen))
