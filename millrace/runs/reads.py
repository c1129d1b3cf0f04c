"""The read of a window of the cursor, and what it shares with sweep and replay.

Rules and reasons are in docs/decisions/0007-sweep-lease-replay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from millrace.lake.batch import Batch, BatchKind
from millrace.runs.chunks import require_all, take_chunks
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.missed_rows import add_missed_rows
from millrace.runs.quarantine import count_rejected_before
from millrace.sources.chunk import Window


async def read_window(
    context: StreamContext,
    selected: Window,
    kind: BatchKind = "window",
    *,
    by_value: bool = False,
    replaces_target: bool = False,
) -> Batch | None:
    """Read a window, and return its batch; None when there was nothing to read.

    A backfill, whose bounds a person chose, and a read of everything are compared ``by_value``; so is a snapshot if a
    person asks for it. If the target lost a column, everything is read, except by a backfill.
    """
    target_columns = await context.find_target_columns()
    lost = (await context.find_state()).lost
    selected = selected if selected.is_chosen else whole_if_lost(lost, selected)
    by_value = by_value or selected.is_chosen or bool(lost) or (kind == "window" and selected == Window())
    async with context.source.read(context.stream, target_columns, selected) as reading:
        read = await context.complete_facts(reading, selected)
        with Extraction(
            context.destination,
            context.stream,
            read,
            Purpose(kind, selected.lower, context.consent, by_value, replaces_target),
            await context.find_state(),
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
            note_unfilled(extraction, (await context.find_state()).unfilled if selected == Window() else ())
            taken = await take_chunks(reading, extraction)
            if kind == "snapshot" and not context.stream.reference.kind.has_snapshot:
                taken += await add_missed_rows(context, extraction, target_columns)
            if selected == Window():
                await require_all(context, reading, taken)
            if context.stream.reconcile is not None and read.next_position is not None:
                rows, sample = await reading.sample(context.stream.reconcile.rows)
                await asyncio.to_thread(extraction.expect, rows, sample)
            if kind == "snapshot" and extraction.has_rejects and context.feeds_models:
                target_rows = context.warehouse.read_rows(
                    context.pipeline,
                    context.stream,
                    context.destination.working_store,
                    extraction.scan_prefix,
                    target_columns,
                )
                await asyncio.to_thread(extraction.keep_former, target_rows)
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
