"""The sweep: compare the whole source with the whole target, by key and row hash, in bounded memory.

The warehouse joins the scan's keys and hashes with the target. Rows that differ are read again by key, and a key that
the source then does not have is a delete (docs/decisions/0007-sweep-lease-replay.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing

import polars as pl

from millrace.base.types import Column
from millrace.drivers.worker import Worker
from millrace.lake.batch import Batch
from millrace.runs.chunks import require_all
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.look_up import LookUps
from millrace.runs.reads import note_lost, read_window
from millrace.runs.scan import ScanWriter
from millrace.sources.chunk import Reading, Window
from millrace.warehouse.compare import Scan


async def sweep(context: StreamContext, *, deep: bool = False, reason: str = "") -> Batch | None:
    """Compare the whole table with the target, and read again what differs. Return None when both are empty.

    A ``deep`` sweep compares with the target's own values, not only with the hashes that are stored beside them. The
    ``reason`` is why it is done although nobody asked for it; it is reported. Without a target there is nothing to
    compare with: the batch is then a window of everything.
    """
    target_columns = await context.find_target_columns()
    if not target_columns:
        return await read_window(context, Window())
    async with AsyncExitStack() as stack:
        async with context.source.read(context.stream, target_columns, Window()) as reading:
            state = await context.find_state()
            extraction = stack.enter_context(
                Extraction(
                    context.destination,
                    context.stream,
                    await context.complete_facts(reading, Window()),
                    Purpose("sweep", consent=context.consent, by_value=deep or bool(state.lost)),
                    state,
                )
            )
            note_lost(extraction, state.lost)
            if reason:
                extraction.add_note(reason)
            scan = await _scan(context, target_columns, reading, extraction, deep=deep)
        matched = await _read_again(context, target_columns, scan, extraction)
        return await asyncio.to_thread(lambda: extraction.finish(matched=matched))


async def _scan(
    context: StreamContext, target_columns: Sequence[Column], reading: Reading, extraction: Extraction, *, deep: bool
) -> Scan:
    """Write key and row hash of every row into the lake. Rows that cannot be decoded are rejects of the batch."""
    prefix = extraction.scan_prefix
    with ScanWriter(context.destination, context.stream, reading.facts, target_columns, prefix, is_deep=deep) as writer:
        rows = 0
        async with aclosing(reading.read_chunks()) as chunks:
            async for chunk in chunks:
                rows += chunk.frame.height + chunk.rejected.height
                fitted = await asyncio.to_thread(extraction.fitting.fit, chunk)
                too_long = await asyncio.to_thread(writer.write, fitted)
                await asyncio.to_thread(extraction.keep_rejects, pl.concat([fitted.rejected, too_long]))
                extraction.report(writer.rows)
        extraction.fitting.require_key()
        scan = await asyncio.to_thread(writer.finish)
        await require_all(context, reading, rows)
    return scan


async def _read_again(
    context: StreamContext, target_columns: Sequence[Column], scan: Scan, extraction: Extraction
) -> int:
    """Add the rows that differ, and remove the rows that were deleted. Return the number of rows that agree."""
    columns = [column for name in scan.keys for column in scan.columns if column.name == name]
    look_ups = LookUps(context, target_columns, columns, scan.canaries, extraction)
    with Worker(f"compare-{context.stream.name}") as worker:
        lost = (await context.find_state()).lost
        comparison = context.warehouse.compare(
            context.pipeline,
            context.stream,
            scan,
            context.destination.working_store,
            target_columns,
            trusts_hashes=not lost,
        )
        async with worker.within(comparison) as compared:
            for change in compared.changes:
                extraction.add_note(change)
            async with aclosing(worker.each(compared.fetch_blocks())) as blocks:
                async for rows in blocks:
                    scanned = [key for *key, was_scanned in rows if was_scanned]
                    missing = [key for *key, was_scanned in rows if not was_scanned]
                    await look_ups.look_up([*map(tuple, scanned)], [*map(tuple, missing)])
            await look_ups.settle()
            if compared.altered:
                extraction.add_note(f"{compared.altered} rows of the target did not hold what their hash says")
            return compared.matched
