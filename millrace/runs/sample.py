"""Check a sample of rows before a run: what the types, the limits of the warehouse and the contract would reject."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass

import polars as pl
from typing_extensions import override

from millrace.base.types import Column
from millrace.contract.fitting import Fitting
from millrace.runs.context import StreamContext
from millrace.sources.chunk import Window

SAMPLE_ROWS = 10_000
"""A plan stops reading after the chunk in which this row is."""


@dataclass(frozen=True)
class SampledRejects:
    """Rows of the sample that a run would reject for one reason."""

    reason: str
    field: str
    rows: int


@dataclass(frozen=True)
class Sample:
    """The first rows that a run would read."""

    rows: int = 0
    rejects: tuple[SampledRejects, ...] = ()
    is_whole: bool = False
    """Whether these are all rows that the run would read."""

    @override
    def __str__(self) -> str:
        of_what = "all" if self.is_whole else "the first"
        rejected = "; ".join(f"{one.rows:,} {one.reason} {one.field}".rstrip() for one in self.rejects)
        return f"{of_what} {self.rows:,} rows: {f'rejected {rejected}' if rejected else 'none rejected'}"


async def take_sample(context: StreamContext, window: Window) -> tuple[Sample, tuple[Column, ...]]:
    """Read the first rows of a window, and check them as a run would. Nothing is written.

    Return the sample, and the columns of the target and of these rows.

    Raises what a run would raise for them: SchemaConflict for a contract that no row can meet, KeyViolation.
    """
    target_columns = await context.find_target_columns()
    async with context.source.read(context.stream, target_columns, window) as reading:
        fitting = Fitting(
            context.stream,
            context.destination.limits,
            target_columns,
            reading.facts.location_columns,
            context.destination.mask_keys,
            (await context.find_state()).child_columns,
        )
        rows, counts = 0, Counter[tuple[str, str]]()
        async with aclosing(reading.read_chunks()) as chunks:
            async for chunk in chunks:
                rows += chunk.frame.height + chunk.rejected.height
                fitted = await asyncio.to_thread(fitting.fit, chunk)
                _, _, rejected = await asyncio.to_thread(fitting.accept, fitted)
                counts += _count_reasons(rejected)
                if rows >= SAMPLE_ROWS:
                    if counts.total() > context.stream.max_rejects:
                        fitting.require_key()
                    return Sample(rows, _list_rejects(counts)), tuple(fitting.columns)
    fitting.require_key()
    return Sample(rows, _list_rejects(counts), is_whole=True), tuple(fitting.columns)


def _count_reasons(rejected: pl.DataFrame) -> Counter[tuple[str, str]]:
    return Counter(zip(rejected["reason"], rejected["field"], strict=True))


def _list_rejects(counts: Counter[tuple[str, str]]) -> tuple[SampledRejects, ...]:
    return tuple(SampledRejects(reason, field, rows) for (reason, field), rows in counts.most_common())
