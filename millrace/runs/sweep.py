"""The sweep: the whole source compared with the whole target, by key and row hash, in bounded memory.

The scan's keys and hashes are joined with the target by the warehouse; what differs is read again by key, and what
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
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.look_up import LookUps
from millrace.runs.reads import Route, note_lost, require_all, window
from millrace.runs.scan import ScanWriter
from millrace.sources.chunk import Reading, Window
from millrace.warehouse.compare import Scan


async def sweep(route: Route, *, deep: bool = False) -> Batch | None:
    """Compare the whole table with the target, and read again what differs. Return None when both are empty.

    A ``deep`` sweep compares with the target's own values, not only with the hashes that are stored beside them.
    Without a target there is nothing to compare with: the batch is then a window of everything.
    """
    known = await route.known()
    if not known:
        return await window(route, Window())
    async with AsyncExitStack() as stack:
        async with route.source.read(route.stream, known, Window()) as reading:
            standing = await route.standing()
            extraction = stack.enter_context(
                Extraction(
                    route.landing,
                    route.stream,
                    await route.facts(reading, Window()),
                    Purpose("sweep", consent=route.consent, by_value=deep or bool(standing.lost)),
                    standing,
                )
            )
            note_lost(extraction, standing.lost)
            scan = await _scan(route, known, reading, extraction, deep=deep)
        matched = await _read_again(route, known, scan, extraction)
        return await asyncio.to_thread(lambda: extraction.finish(matched=matched))


async def _scan(route: Route, known: Sequence[Column], reading: Reading, extraction: Extraction, *, deep: bool) -> Scan:
    """Write key and row hash of every row into the lake. Rows that cannot be decoded are rejects of the batch."""
    prefix = extraction.scan_prefix
    with ScanWriter(route.landing, route.stream, reading.facts, known, prefix, is_deep=deep) as writer:
        rows = 0
        async with aclosing(reading.chunks()) as chunks:
            async for chunk in chunks:
                rows += chunk.frame.height + chunk.rejected.height
                fitted = await asyncio.to_thread(extraction.fitting.fit, chunk)
                too_long = await asyncio.to_thread(writer.write, fitted)
                await asyncio.to_thread(extraction.keep_rejects, pl.concat([fitted.rejected, too_long]))
                extraction.report(writer.rows)
        scan = await asyncio.to_thread(writer.finish)
        await require_all(route, reading, rows)
    return scan


async def _read_again(route: Route, known: Sequence[Column], scan: Scan, extraction: Extraction) -> int:
    """Add the rows that differ, and remove the rows that were deleted. Return the number of rows that agree."""
    columns = [column for name in scan.keys for column in scan.columns if column.name == name]
    look_ups = LookUps(route, known, columns, scan.canaries, extraction)
    with Worker(f"compare-{route.stream.name}") as worker:
        lost = (await route.standing()).lost
        comparison = route.warehouse.compare(
            route.pipeline, route.stream, scan, route.landing.working_store, known, trusts_hashes=not lost
        )
        async with worker.within(comparison) as compared:
            for change in compared.changes:
                extraction.add_note(change)
            async with aclosing(worker.each(compared.blocks())) as blocks:
                async for rows in blocks:
                    scanned = [key for *key, was_scanned in rows if was_scanned]
                    missing = [key for *key, was_scanned in rows if not was_scanned]
                    await look_ups.look_up([*map(tuple, scanned)], [*map(tuple, missing)])
            await look_ups.settle()
            if compared.altered:
                extraction.add_note(f"{compared.altered} rows of the target did not hold what their hash says")
            return compared.matched
