"""Leases and states in the lake, so that a run that finds nothing sends no statement to the warehouse.

The warehouse is visited when the lake does not know the state of a stream, when a load began whose end the lake does
not know, and every ``visit_every`` of the pipeline. The first visit gives the row of ``millrace.leases`` to the lake:
runs whose leases are kept there see it and stay out (docs/decisions/0023-a-warehouse-that-sleeps.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from millrace.base.errors import MillraceError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import database_errors
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLease
from millrace.lake.store import ChangingObjects
from millrace.queues.objects import first_name
from millrace.queues.source import OVERLAP
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.keepers.keeper import BegunLoads, OpenSession, Tokens
from millrace.warehouse.keepers.lake_copy import LakeCopy
from millrace.warehouse.keepers.landed_batches import LandedBatch, go_on
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.pauses import Pause, list_pauses
from millrace.warehouse.ledger.recorded_streams import RecordedStream, list_recorded_streams
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.stream_state import StreamState, find_state
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class LakeKeeper:
    """Keeps leases and states in the lake."""

    open_session: OpenSession
    dialect: Dialect
    lake: LakeCopy

    @classmethod
    def of(cls, open_session: OpenSession, dialect: Dialect, objects: ChangingObjects, address: str) -> LakeKeeper:
        """Return the keeper for the warehouse at an address (host, port and database)."""
        return cls(open_session, dialect, LakeCopy.of(objects, address))

    def take(self, pipeline: Pipeline, streams: Sequence[Stream], holder: str) -> dict[str, int]:
        """Take the leases of streams, and visit the warehouse where the state in the lake may be behind or is old."""
        tokens: dict[str, int] = {}
        try:
            for stream in streams:
                tokens[stream.name] = self._take(pipeline, stream, holder)
        except BaseException:
            self.extend(pipeline, tokens, 0)
            raise
        return tokens

    def _take(self, pipeline: Pipeline, stream: Stream, holder: str) -> int:
        taken = self.lake.leases.take(pipeline.name, stream.name, holder)
        try:
            if self._must_visit(pipeline, stream, taken):
                with self.open_session(self._target(pipeline, stream).place) as connection:
                    taken = self._take_row(connection, pipeline, stream, taken)
                    self._write_state(connection, pipeline, stream, taken)
        except BaseException:
            self.lake.leases.extend(pipeline.name, stream.name, taken.token, seconds=0)
            raise
        return taken.token

    def extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        """Let leases end ``seconds`` from now."""
        for stream, token in tokens.items():
            self.lake.leases.extend(pipeline.name, stream, token, seconds)

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come by what the lake says; by the warehouse, if the lake does not know it."""
        stored = self.lake.states.find(pipeline, stream, self._target(pipeline, stream))
        if stored is None:
            return self.refresh_state(pipeline, stream)
        return go_on(stored.state, self._find_landed(pipeline, stream, stored.state))

    def find_states(self, pipeline: Pipeline, streams: Sequence[Stream]) -> dict[str, StreamState]:
        """Return how far several streams have come, each as ``find_state`` does."""
        return {stream.name: self.find_state(pipeline, stream) for stream in streams}

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come by what the warehouse says, and write it over what the lake says."""
        with self.open_session(self._target(pipeline, stream).place) as connection:
            state = self._write_state(connection, pipeline, stream)
        return go_on(state, self._find_landed(pipeline, stream, state))

    def forget_states(self, pipeline: Pipeline, streams: Collection[str]) -> None:
        """Forget how far streams have come and which batches wait."""
        self.lake.forget_states(pipeline, streams)

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline by what the lake says; by the ledger, if the lake does not know them."""
        pauses = self.lake.pauses.find(pipeline)
        if pauses is None:
            pauses = self.lake.pauses.write(pipeline, lambda: self._ask_pauses(pipeline))
        return {pause.stream: pause for pause in pauses}

    def forget_pauses(self, pipeline: Pipeline) -> None:
        """Forget what the lake says of pauses, for all warehouses."""
        self.lake.pauses.forget(pipeline)

    def _ask_pauses(self, pipeline: Pipeline) -> list[Pause]:
        with self.open_session(f"pipeline {pipeline.name}") as connection:
            return [*list_pauses(Ledger(connection), pipeline.name).values()]

    def find_recorded_streams(self, pipeline: Pipeline) -> list[RecordedStream]:
        """Return the streams of wildcards by what the lake says; by the ledger, if the lake does not know them."""
        stored = self.lake.found_streams.find(pipeline)
        if stored is None:
            return self.lake.found_streams.write(pipeline, lambda: self._ask_recorded_streams(pipeline))
        return stored

    def forget_recorded_streams(self, pipeline: Pipeline) -> None:
        """Forget what the lake says of streams of wildcards, for all warehouses."""
        self.lake.found_streams.forget(pipeline)

    def _ask_recorded_streams(self, pipeline: Pipeline) -> list[RecordedStream]:
        with self.open_session(f"pipeline {pipeline.name}") as connection:
            return list_recorded_streams(Ledger(connection), pipeline.name)

    def find_collected(self, pipeline: Pipeline, stream: Stream, since: str) -> Collection[str]:
        """Return the objects with messages that were applied, by what the lake says of those that a window meets."""
        state = self.find_state(pipeline, stream)
        if state.collected is not None and state.position and since == _first_name(state.position):
            return state.collected
        with self.open_session(self._target(pipeline, stream).place) as connection:
            return Ledger(connection).list_collected(pipeline.name, stream.name, since)

    def land(self, pipeline: Pipeline, batch: Batch) -> None:
        """Let a batch wait in the lake for its load."""
        stream = pipeline.stream(batch.stream)
        stored = self.lake.states.find(pipeline, stream, self._target(pipeline, stream))
        self.lake.landed.add(stream, batch, stored.state.newest_batch if stored else None)

    def list_landed(self, pipeline: Pipeline, stream: Stream) -> list[LandedBatch]:
        """Return the batches that wait and go on from the state of the stream."""
        stored = self.lake.states.find(pipeline, stream, self._target(pipeline, stream))
        return self._find_landed(pipeline, stream, stored.state) if stored else []

    def forget_landed(self, pipeline: Pipeline, stream: Stream) -> None:
        """Let no batch of a stream wait any more."""
        self.lake.landed.forget(pipeline.name, stream.name)

    def forget_outdated(self, pipeline: Pipeline, stream: Stream) -> int:
        """Let no batch wait if one was read by another declaration of the stream; return how many waited."""
        return self.lake.landed.forget_outdated(pipeline.name, stream)

    def _find_landed(self, pipeline: Pipeline, stream: Stream, state: StreamState) -> list[LandedBatch]:
        # Of a target that was dropped everything is read again.
        if pipeline.load_every is None or not state.columns:
            return []
        return self.lake.landed.find(pipeline.name, stream, state.newest_batch)

    def begin_load(self, pipeline: Pipeline, tokens: Tokens) -> BegunLoads:
        """Record that the ledger may change, so that a run after a crash looks into it."""
        begun: dict[str, LakeLease] = {}
        for stream, token in tokens.items():
            if token is None:
                # Its state stays in doubt: the warehouse keeps the lease, and the next run here takes it back.
                self.lake.leases.doubt(pipeline.name, stream)
            else:
                begun[stream] = self.lake.leases.begin_load(pipeline.name, stream, token)
        return begun

    def end_load(self, connection: Any, pipeline: Pipeline, begun: BegunLoads) -> None:
        """Write the states after the commit. A crash before this leaves them behind the ledger, which is found."""
        for name, begun_under in begun.items():
            stream = pipeline.stream(name)
            # Else the next run looks into the warehouse; that must not hide that the change was committed.
            with suppress(MillraceError), database_errors(stream.place):
                state = self._write_state(connection, pipeline, stream, begun_under)
                if pipeline.load_every is not None:
                    self.lake.landed.forget_applied(pipeline.name, stream, state.newest_batch)

    def _must_visit(self, pipeline: Pipeline, stream: Stream, taken: LakeLease) -> bool:
        stored = self.lake.states.find(pipeline, stream, self._target(pipeline, stream))
        if stored is None or stored.age >= pipeline.visit_every:
            return True
        # The second: the lease was deleted by hand, and its tokens begin again.
        return taken.loads != stored.settled or taken.token <= stored.token

    def _take_row(self, connection: Any, pipeline: Pipeline, stream: Stream, taken: LakeLease) -> LakeLease:
        """Let the lake keep the lease of a stream, and return the lease with a token above those of the ledger.

        Raises StreamBusy when a run holds the stream by the warehouse's lease.
        """
        of_stream = (pipeline.name, stream.name)
        retry_on_conflict(connection, Ledger(connection).ensure)
        newest = retry_on_conflict(connection, lambda: lease.give_to_lake(connection, self.dialect.clock, *of_stream))
        return taken if newest < taken.token else self.lake.leases.raise_token(*of_stream, taken.token, newest)

    def _write_state(
        self, connection: Any, pipeline: Pipeline, stream: Stream, ended: LakeLease | None = None
    ) -> StreamState:
        """Write the state of a stream by what the warehouse says, and return it; all loads of ``ended`` have ended."""
        target = self._target(pipeline, stream)
        return self.lake.states.write(
            pipeline, stream, target, lambda: _find_state(connection, pipeline, stream, target), ended
        )

    def _target(self, pipeline: Pipeline, stream: Stream) -> Target:
        return target_of(pipeline, stream, self.dialect)


def _find_state(connection: Any, pipeline: Pipeline, stream: Stream, target: Target) -> StreamState:
    ledger, of_stream = Ledger(connection), (pipeline.name, stream.name)
    # A transaction of Redshift sees what was committed before it began.
    connection.rollback()
    # First: a batch that is applied after it makes the state old, and never the batch that is read by it.
    newest = ledger.find_newest_batch(*of_stream)
    state = replace(find_state(connection, pipeline, stream, target), newest_batch=newest)
    if not stream.reference.kind.is_queue or state.position is None:
        return state
    return replace(state, collected=tuple(sorted(ledger.list_collected(*of_stream, _first_name(state.position)))))


def _first_name(position: str) -> str:
    """Return the name from which on the next window of a queue looks for objects."""
    return first_name(datetime.fromisoformat(position) - OVERLAP)
