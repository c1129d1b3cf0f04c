"""The sweep: the whole source compared with the whole target, by key and row hash, in bounded memory.

The scan's keys and hashes are joined with the target by the warehouse; what differs is read again by key, and what
the source then does not have is a delete (docs/decisions/0007-sweep-lease-replay.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.base.naming import ROW_HASH, column_name
from millrace.base.types import Column, Kind, row_id_columns
from millrace.contract.check import within_limits
from millrace.drivers.worker import Worker
from millrace.hashes.content_hash import CONTENT_HASH, with_content_hash
from millrace.hashes.row_hash import with_row_hash
from millrace.lake.batch import Batch
from millrace.lake.writer import PartWriter
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.look_up import LookUps
from millrace.runs.reads import Route, note_lost, require_all, window
from millrace.sources.chunk import Chunk, Read, Reading, Window
from millrace.warehouse.compare import Scan

COMPARABLE = frozenset({
    Kind.BOOLEAN, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP,
    Kind.TIMESTAMP_UTC,
})  # fmt: skip
"""Kinds of keys that a warehouse's driver gives back equal to what the source gave."""
CANARIES, CANARIES_OF_A_CHUNK = 100, 10
"""Keys that the scan saw and that every look-up must find."""


async def sweep(route: Route, *, deep: bool = False) -> Batch | None:
    """Compare the whole table with the target, and read again what differs; None when both are empty.

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
    """The table's keys and row hashes, in the lake; rows that cannot be decoded are rejects already."""
    narrowing = _Narrowing(route, known, reading.read, deep=deep)
    with PartWriter(route.landing.working_store, extraction.scan_prefix, "scan") as writer:
        rows = 0
        async with aclosing(reading.chunks()) as chunks:
            async for chunk in chunks:
                rows += chunk.frame.height + chunk.rejected.height
                fitted = await asyncio.to_thread(extraction.fitting.fit, chunk)
                too_long = await asyncio.to_thread(narrowing.write, fitted, writer)
                await asyncio.to_thread(extraction.keep_rejects, pl.concat([fitted.rejected, too_long]))
                extraction.report(narrowing.rows)
        await asyncio.to_thread(writer.close)
        await require_all(route, reading, rows)
    return narrowing.scan(writer, extraction.scan_prefix)


class _Narrowing:
    """Keeps of every row its key, what identifies it in its source, and its hash; of a ``deep`` sweep also the hash of
    its content."""

    def __init__(self, route: Route, known: Sequence[Column], read: Read, *, deep: bool) -> None:
        self._deep = deep
        self._carried: dict[str, Column] = {}
        self._stream, self._limits, self._identity = route.stream, route.landing.limits, read.identity
        self._keys = [column_name(key) for key in route.stream.keys]
        self._coordinates = list(read.coordinates) or self._keys
        self._columns = {column.name: column for column in known if column.name in self._keys}
        self._canaries: list[tuple[Any, ...]] = []
        self.rows = 0

    def write(self, chunk: Chunk, writer: PartWriter) -> pl.DataFrame:
        """The rows whose key is too long for the warehouse come back as rejects."""
        self._columns |= {column.name: column for column in chunk.columns if column.name in self._keys}
        self._refuse_incomparable()
        keys = [column for column in self._chosen if column.name in self._keys]
        frame, too_long = within_limits(chunk.frame, keys, self._coordinates, self._limits)
        self._carried |= {column.name: column for column in chunk.columns}
        hashed = with_row_hash(frame, chunk.columns)
        if self._deep:
            hashed = with_content_hash(hashed, chunk.columns)
        narrow = hashed.select(*self._names, ROW_HASH, *([CONTENT_HASH] if self._deep else []))
        if len(self._canaries) < CANARIES:
            self._canaries += narrow.select(self._keys).head(CANARIES_OF_A_CHUNK).rows()
        writer.write(narrow, self._chosen)
        self.rows += narrow.height
        return too_long

    def scan(self, writer: PartWriter, prefix: str) -> Scan:
        return Scan(
            columns=tuple(self._chosen),
            keys=tuple(self._keys),
            parts=tuple(writer.parts),
            prefix=prefix,
            identity=self._identity,
            longest_bytes=dict(writer.longest_bytes),
            canaries=tuple(self._canaries),
            carried=tuple(self._carried.values()) if self._deep else (),
        )

    def _refuse_incomparable(self) -> None:
        for column in self._chosen:
            if column.name in self._keys and column.type.kind not in COMPARABLE:
                raise ConfigurationError(
                    f"a sweep cannot compare keys of type {column.type}",
                    place=f"stream {self._stream.name} ({self._stream.source})",
                    remedy="declare a key of numbers, text or timestamps, or no sweep",
                )

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self._chosen]

    @property
    def _chosen(self) -> list[Column]:
        keys = [self._columns[name] for name in self._keys if name in self._columns]
        return [*keys, *row_id_columns(self._identity)]


async def _read_again(route: Route, known: Sequence[Column], scan: Scan, extraction: Extraction) -> int:
    """Add the rows that differ and remove those that are gone; the number of rows that agree."""
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
