"""What a read of one stream needs to know."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from millrace.base.types import Column
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import LogProgress
from millrace.runs.destination import BatchDestination
from millrace.runs.gathered import load_landed
from millrace.sources.chunk import ReadFacts, Reading, Selection, Source, Window
from millrace.warehouse.stream_state import StreamState
from millrace.warehouse.warehouse import Warehouse


@dataclass
class StreamContext:
    """One stream of a pipeline in one run: its source, the destination of its batch, and its warehouse."""

    source: Source
    destination: BatchDestination
    warehouse: Warehouse
    pipeline: Pipeline
    stream: Stream
    consent: Consent = NO_CONSENT
    """What a person allows this run to do."""
    log: LogProgress | None = None
    """How far the batch brings the stream in the change log; None: it is not read by one."""
    _state: StreamState | None = field(default=None, repr=False)

    async def find_state(self) -> StreamState:
        """Return how far the stream has come in the warehouse. The warehouse is queried once."""
        if self._state is None:
            self._state = await asyncio.to_thread(self.warehouse.find_state, self.pipeline, self.stream)
        return self._state

    def keep_state(self, state: StreamState) -> None:
        """Take over how far the stream has come from whoever asked the warehouse for several streams."""
        self._state = state

    async def refresh_state(self) -> None:
        """Ask the warehouse how far the stream has come, if the state is one that the lake keeps."""
        if (await self.find_state()).newest_batch is not None:
            self._state = await asyncio.to_thread(self.warehouse.refresh_state, self.pipeline, self.stream)

    async def load_landed(self) -> bool:
        """Load the batches that wait in the lake, and refresh the state; return whether there were any."""
        results = await asyncio.to_thread(
            load_landed, self.warehouse, self.destination.store, self.pipeline, self.stream, self.destination.token
        )
        if results:
            await self.refresh_state()
            self._add_note(f"{len(results)} batches that waited in the lake were loaded before")
        return bool(results)

    async def forget_landed(self) -> None:
        """Let no batch wait in the lake, and refresh the state: everything is read again."""
        if await asyncio.to_thread(self.warehouse.list_landed, self.pipeline, self.stream):
            await asyncio.to_thread(self.warehouse.forget_landed, self.pipeline, self.stream)
            await self.refresh_state()

    async def forget_outdated(self) -> bool:
        """Let no batch wait that was read by another declaration; return whether there was one."""
        forgotten = await asyncio.to_thread(self.warehouse.forget_outdated, self.pipeline, self.stream)
        if forgotten:
            await self.refresh_state()
            self._add_note(
                f"{forgotten} batches that waited in the lake were read before the declaration of the stream changed: "
                "their rows were read again"
            )
        return bool(forgotten)

    def _add_note(self, note: str) -> None:
        if self._state is not None:
            self._state = replace(self._state, note="; ".join(filter(None, (self._state.note, note))))

    async def refresh_if_behind(self) -> bool:
        """Refresh a state that the lake keeps; return whether the warehouse says something else than the lake said."""
        by_lake = await self.find_state()
        await self.refresh_state()
        if replace(await self.find_state(), note=by_lake.note) == by_lake:
            self._state = by_lake
            return False
        self._add_note(
            "the state in the lake was behind the warehouse, so the stream was read again by what the warehouse says"
        )
        return True

    async def find_target_columns(self) -> tuple[Column, ...]:
        """Return the columns that the target has now; () before the first load."""
        return (await self.find_state()).columns

    async def complete_facts(self, reading: Reading, selection: Selection) -> ReadFacts:
        """Return what is fixed of a read, as its batch records it.

        It has a next position only if the selection advances, and a note if an operator should know something about the
        position that the read began from.
        """
        read = reading.facts
        begun = (await self.find_state()).note if isinstance(selection, Window) else ""
        if self.log is not None:
            read = replace(read, next_position=read.read_at.isoformat(), position_note="", log=self.log)
        elif not selection.advances:
            read = replace(read, next_position=None, position_note="")
        return replace(read, note="; ".join(filter(None, (read.note, read.position_note, begun))))

    @property
    def models(self) -> list[Model]:
        """The models that are computed from the stream alone or with others, and whose rows hold its key."""
        roots = self.pipeline.roots
        return [
            model
            for model in self.pipeline.models
            if roots.of(model) >= {self.stream.name} and roots.key_columns(model)
        ]

    @property
    def feeds_models(self) -> bool:
        """Whether a model is computed from the stream."""
        return any(self.stream.name in model.inputs for model in self.pipeline.models)
