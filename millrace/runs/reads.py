"""Two ways to a batch, a window of the cursor and a replay of what was rejected, and what they share with the sweep.

Rules and reasons are in docs/decisions/0007-sweep-lease-replay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from millrace.base.errors import FatalError, RetryableError
from millrace.base.rejects import FILE_IS_GONE, NO_LOCATION, REJECT_SCHEMA
from millrace.base.types import Column
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch, BatchKind
from millrace.runs.destination import BatchDestination
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.quarantine import count_rejected_before, read_open_rejects
from millrace.sources.chunk import Keys, ReadFacts, Reading, Selection, Source, Window
from millrace.warehouse.stream_state import StreamState
from millrace.warehouse.warehouse import Warehouse

WRITTEN_MEANWHILE = 0.01
"""Share of the rows that may be new when a source without snapshots is counted after it was read."""


@dataclass(frozen=True)
class Route:
    """One stream's way: where it is read, where its batch lies, what it is compared with, and what a person allows."""

    source: Source
    landing: BatchDestination
    warehouse: Warehouse
    pipeline: Pipeline
    stream: Stream
    consent: Consent = NO_CONSENT
    _asked: list[StreamState] = field(default_factory=list)

    async def standing(self) -> StreamState:
        """How far the stream had come when this was asked first."""
        if not self._asked:
            self._asked.append(await asyncio.to_thread(self.warehouse.find_state, self.pipeline, self.stream))
        return self._asked[0]

    async def facts(self, reading: Reading, selection: Selection) -> ReadFacts:
        """Return what is fixed of a read, as its batch records it: the next position only where the selection
        advances, and with what an operator should know about the position that the read may have begun from."""
        read = reading.facts
        begun = (await self.standing()).note if isinstance(selection, Window) else ""
        if not selection.advances:
            read = replace(read, next_position=None, position_note="")
        return replace(read, note="; ".join(filter(None, (read.note, read.position_note, begun))))

    @property
    def models(self) -> list[Model]:
        """Those that are computed from the stream, and whose rows hold its key."""
        roots = self.pipeline.roots
        return [one for one in self.pipeline.models if roots.of(one) >= {self.stream.name} and roots.key_columns(one)]

    @property
    def feeds_models(self) -> bool:
        """Whether a model is computed from the stream."""
        return any(self.stream.name in model.inputs for model in self.pipeline.models)

    async def known(self) -> Sequence[Column]:
        """The target's columns."""
        return (await self.standing()).columns


async def window(route: Route, selected: Window, kind: BatchKind = "window", *, by_value: bool = False) -> Batch | None:
    """Read a window; None when there was nothing. Backfills, whose bounds a person chose, and reads of everything are
    compared ``by_value``, and so is a snapshot if that is asked; where the target lost a column everything is read,
    but by a backfill."""
    known = await route.known()
    lost = (await route.standing()).lost
    selected = selected if selected.is_chosen else whole_if_lost(lost, selected)
    by_value = by_value or selected.is_chosen or bool(lost) or (kind == "window" and selected == Window())
    async with route.source.read(route.stream, known, selected) as reading:
        read = await route.facts(reading, selected)
        with Extraction(
            route.landing,
            route.stream,
            read,
            Purpose(kind, selected.lower, route.consent, by_value),
            await route.standing(),
            partial(count_rejected_before, route.warehouse, route.landing.store, route.pipeline, route.stream, read),
        ) as extraction:
            note_lost(extraction, () if selected.is_chosen else lost)
            note_unfilled(extraction, (await route.standing()).unfilled if selected == Window() else ())
            taken = await take(reading, extraction)
            if selected == Window():
                await require_all(route, reading, taken)
            if route.stream.reconcile is not None and read.next_position is not None:
                rows, sample = await reading.sample(route.stream.reconcile.rows)
                await asyncio.to_thread(extraction.expect, rows, sample)
            if kind == "snapshot" and extraction.has_rejects and route.feeds_models:
                held = route.warehouse.rows(
                    route.pipeline, route.stream, route.landing.working_store, extraction.scan_prefix, known
                )
                await asyncio.to_thread(extraction.keep_former, held)
            return await asyncio.to_thread(extraction.finish)


def whole_if_lost(lost: Sequence[str], selected: Window) -> Window:
    """What is read: everything, where the target lost a column that its rows had."""
    return Window() if lost else selected


def note_lost(extraction: Extraction, lost: Sequence[str]) -> None:
    """Report that columns were missing in the target, and what was done about it."""
    if lost:
        extraction.add_note(f"the target had lost {', '.join(lost)}: all rows were read and compared value by value")


def note_unfilled(extraction: Extraction, models: Sequence[str]) -> None:
    """Report that everything was read because of models that were never loaded."""
    if models:
        extraction.add_note(f"all rows were read for {', '.join(models)}, which was never loaded")


async def replay(route: Route) -> Batch | None:
    """Read the rows of all open rejects as they are now, also those of which a model's rows were rejected; None when
    there are none."""
    known = await route.known()
    closes, rejected = await asyncio.to_thread(
        read_open_rejects, route.warehouse, route.landing.store, route.pipeline, route.stream
    )
    of_models = [await asyncio.to_thread(_open_rejects_of, route, model) for model in route.models]
    closes += [batch for batches, _ in of_models for batch in batches]
    if not closes:
        return None
    nothing = Keys((), ())
    async with route.source.read(route.stream, known, nothing) as reading:
        read = await route.facts(reading, nothing)
    purpose = Purpose("replay", consent=route.consent)
    with Extraction(route.landing, route.stream, read, purpose, await route.standing()) as extraction:
        extraction.keep_rejects(rejected.filter(pl.col("coordinates") == NO_LOCATION).select(*REJECT_SCHEMA))
        _note_lost_files(extraction, rejected)
        gone = 0
        coordinates = pl.concat([rejected["coordinates"], *(rows["coordinates"] for _, rows in of_models)])
        for keys in route.source.keys_of(coordinates):
            async with route.source.read(route.stream, extraction.fitting.columns, keys) as reading:
                found = await take(reading, extraction)
            if found < len(keys.rows) and route.stream.capture.keeps_rows:
                gone += await _refuse_unfound(route, known, keys, found)
        if gone:
            extraction.add_note(f"{gone} rejected rows have left the source")
        return await asyncio.to_thread(lambda: extraction.finish(closes=closes))


def _open_rejects_of(route: Route, model: Model) -> tuple[list[str], pl.DataFrame]:
    """Those of a model, known by the key of the stream."""
    return read_open_rejects(route.warehouse, route.landing.working_store, route.pipeline, model)


def _note_lost_files(extraction: Extraction, rejected: pl.DataFrame) -> None:
    files = rejected.filter(pl.col("reason") == FILE_IS_GONE)["row"].unique(maintain_order=True).to_list()
    if files:
        extraction.add_note(
            f"files with rejected rows are gone from the lake ({', '.join(map(str, files[:3]))}): these rows are read "
            "again by a sweep or by a run of everything (--full)"
        )


async def take(reading: Reading, extraction: Extraction) -> int:
    """Every chunk of a reading into the batch; how many rows there were, rejected ones included."""
    rows = 0
    async with aclosing(reading.chunks()) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(extraction.add, chunk)
            rows += chunk.frame.height + chunk.rejected.height
            del chunk  # or it would live until the next one is there
    return rows


async def require_all(route: Route, reading: Reading, rows: int) -> None:
    """After a read of everything that gave so many ``rows``. Raises RetryableError when the source holds more: what
    was not read would be taken for deleted, or passed over for ever."""
    held = await reading.count()
    allowed = rows * (1 + WRITTEN_MEANWHILE) if reading.facts.row_id_column else rows
    if held is not None and held > allowed:
        raise RetryableError(
            f"the source holds {held} rows and gave {rows} when all were read",
            place=f"stream {route.stream.name} ({route.stream.source})",
            remedy="nothing was committed; run again, and look for what limits the results of this user's queries if "
            "it stays",
        )


def broken_look_up(route: Route, keys: int, kinds: str) -> FatalError:
    """The error of a source that shows rows and does not find them by their keys."""
    return FatalError(
        f"{keys} rows that the source holds are not found by their key ({kinds})",
        place=f"stream {route.stream.name} ({route.stream.source})",
        remedy="nothing was committed and nothing is taken for deleted; look for what limits the results of this "
        "user's queries, or declare a key of whole numbers or plain text",
    )


async def _refuse_unfound(route: Route, known: Sequence[Column], asked: Keys, found: int) -> int:
    """Of the keys that were asked for, only so many rows were found: how many keys are gone. Raises FatalError when a
    pass over all rows of the source sees more rows with such a key."""
    seen = await route.source.seen(route.stream, known, asked)
    if len(seen) > found:
        raise broken_look_up(route, len(seen) - found, ", ".join(asked.names))
    return len(asked.rows) - len(set().union(*seen))
