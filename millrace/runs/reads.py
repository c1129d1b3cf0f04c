"""The read of a window of the cursor, and what it shares with sweep and replay.

Rules and reasons are in docs/decisions/0007-sweep-lease-replay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial

from millrace.base.errors import FatalError, RetryableError
from millrace.lake.batch import Batch, BatchKind
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.quarantine import count_rejected_before
from millrace.sources.chunk import Reading, Window

WRITTEN_MEANWHILE = 0.01
"""Share of the rows that may be new when a source without snapshots is counted after it was read."""


async def read_window(
    context: StreamContext, selected: Window, kind: BatchKind = "window", *, by_value: bool = False
) -> Batch | None:
    """Read a window, and return its batch; None when there was nothing to read.

    A backfill, whose bounds a person chose, and a read of everything are compared ``by_value``; so is a snapshot if a
    person asks for it. If the target lost a column, everything is read, except by a backfill.
    """
    target_columns = await context.target_columns()
    lost = (await context.state()).lost
    selected = selected if selected.is_chosen else whole_if_lost(lost, selected)
    by_value = by_value or selected.is_chosen or bool(lost) or (kind == "window" and selected == Window())
    async with context.source.read(context.stream, target_columns, selected) as reading:
        read = await context.facts(reading, selected)
        with Extraction(
            context.destination,
            context.stream,
            read,
            Purpose(kind, selected.lower, context.consent, by_value),
            await context.state(),
            partial(
                count_rejected_before,
                context.warehouse,
                context.destination.store,
                context.pipeline,
                context.stream,
                read,
            ),
        ) as extraction:
            note_lost(extraction, () if selected.is_chosen else lost)
            note_unfilled(extraction, (await context.state()).unfilled if selected == Window() else ())
            taken = await take_chunks(reading, extraction)
            if selected == Window():
                await require_all(context, reading, taken)
            if context.stream.reconcile is not None and read.next_position is not None:
                rows, sample = await reading.sample(context.stream.reconcile.rows)
                await asyncio.to_thread(extraction.expect, rows, sample)
            if kind == "snapshot" and extraction.has_rejects and context.feeds_models:
                held = context.warehouse.rows(
                    context.pipeline,
                    context.stream,
                    context.destination.working_store,
                    extraction.scan_prefix,
                    target_columns,
                )
                await asyncio.to_thread(extraction.keep_former, held)
            return await asyncio.to_thread(extraction.finish)


def whole_if_lost(lost: Sequence[str], selected: Window) -> Window:
    """Return the window to read: everything, if the target lost a column that its rows had."""
    return Window() if lost else selected


def note_lost(extraction: Extraction, lost: Sequence[str]) -> None:
    """Report that columns were missing in the target, and what was done about it."""
    if lost:
        extraction.add_note(f"the target had lost {', '.join(lost)}: all rows were read and compared value by value")


def note_unfilled(extraction: Extraction, models: Sequence[str]) -> None:
    """Report that everything was read because of models that were never loaded."""
    if models:
        extraction.add_note(f"all rows were read for {', '.join(models)}, which was never loaded")


async def take_chunks(reading: Reading, extraction: Extraction) -> int:
    """Add every chunk of a reading to the batch. Return how many rows there were, with rejected rows."""
    rows = 0
    async with aclosing(reading.chunks()) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(extraction.add, chunk)
            rows += chunk.frame.height + chunk.rejected.height
            del chunk  # or it would live until the next one is there
    return rows


async def require_all(context: StreamContext, reading: Reading, rows: int) -> None:
    """Check that a read of everything gave all rows.

    Raises RetryableError when the source holds more than ``rows``: rows that were not read would be taken for deleted,
    or never be read.
    """
    held = await reading.count()
    allowed = rows * (1 + WRITTEN_MEANWHILE) if reading.facts.row_id_column else rows
    if held is not None and held > allowed:
        raise RetryableError(
            f"the source holds {held} rows and gave {rows} when all were read",
            place=f"stream {context.stream.name} ({context.stream.source})",
            remedy="nothing was committed; run again, and look for what limits the results of this user's queries if "
            "it stays",
        )


def broken_look_up(context: StreamContext, keys: int, kinds: str) -> FatalError:
    """Return the error of a source that shows rows and does not find them by their keys."""
    return FatalError(
        f"{keys} rows that the source holds are not found by their key ({kinds})",
        place=f"stream {context.stream.name} ({context.stream.source})",
        remedy="nothing was committed and nothing is taken for deleted; look for what limits the results of this "
        "user's queries, or declare a key of whole numbers or plain text",
    )
