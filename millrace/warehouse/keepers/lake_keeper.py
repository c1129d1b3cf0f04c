"""Leases and states in the lake, so that a run that finds nothing sends no statement to the warehouse.

The warehouse is visited when the lake does not know the state of a stream, when a load began whose end the lake does
not know, and every ``visit_every`` of the pipeline. The first visit gives the row of ``millrace.leases`` to the lake:
runs whose leases are kept there see it and stay out (docs/decisions/0023-a-warehouse-that-sleeps.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from millrace.base.errors import MillraceError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import database_errors
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLease, LakeLeases
from millrace.lake.store import ChangingObjects
from millrace.queues.objects import first_name
from millrace.queues.source import OVERLAP
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.keepers.keeper import OpenSession, Tokens
from millrace.warehouse.keepers.landed_batches import LandedBatch, LandedBatches, go_on
from millrace.warehouse.keepers.stored_pauses import StoredPauses
from millrace.warehouse.keepers.stored_state import StoredStates
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.pauses import Pause, list_pauses
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.stream_state import StreamState, find_state
from millrace.warehouse.target import Target

LEASES = "stream-leases"
"""The first part of the keys of leases and states: no name of a pipeline, which has no hyphen."""


def prefix_of(address: str) -> str:
    """Return the first part of the keys of what the lake keeps for one warehouse: two warehouses share nothing."""
    return f"{LEASES}/{sha256(address.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class LakeKeeper:
    """Keeps leases and states in the lake."""

    open_session: OpenSession
    dialect: Dialect
    leases: LakeLeases
    states: StoredStates
    pauses: StoredPauses
    landed: LandedBatches

    @classmethod
    def of(cls, open_session: OpenSession, dialect: Dialect, objects: ChangingObjects, address: str) -> LakeKeeper:
        """Return the keeper for the warehouse at an address (host, port and database)."""
        prefix = prefix_of(address)
        return cls(
            open_session,
            dialect,
            LakeLeases(objects, prefix),
            StoredStates(objects, prefix),
            StoredPauses(objects, prefix),
            LandedBatches(objects, prefix),
        )

    def take(self, pipeline: Pipeline, stream: Stream, holder: str) -> int:
        """Take the lease of a stream, and visit the warehouse if the state in the lake may be behind or is old."""
        taken = self.leases.take(pipeline.name, stream.name, holder)
        try:
            if self._must_visit(pipeline, stream, taken):
                return self._visit(pipeline, stream, taken.token)
        except BaseException:
            self.leases.extend(pipeline.name, stream.name, taken.token, seconds=0)
            raise
        return taken.token

    def extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        """Let leases end ``seconds`` from now."""
        for stream, token in tokens.items():
            self.leases.extend(pipeline.name, stream, token, seconds)

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come by what the lake says; by the warehouse, if the lake does not know it."""
        stored = self.states.find(pipeline, stream, self._target(pipeline, stream))
        if stored is None:
            return self.refresh_state(pipeline, stream)
        return go_on(stored.state, self._find_landed(pipeline, stream, stored.state))

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come by what the warehouse says, and write it into the lake."""
        target = self._target(pipeline, stream)
        found = self.leases.find(pipeline.name, stream.name)
        settled = found.token - 1 if found.loading == found.token else found.token
        with self.open_session(target.place) as connection:
            state = _find_state(connection, pipeline, stream, target)
        self.states.write(pipeline, stream, target, state, settled)
        return go_on(state, self._find_landed(pipeline, stream, state))

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline by what the lake says; by the ledger, if the lake does not know them."""
        stored = self.pauses.find(pipeline)
        return self._ask_pauses(pipeline) if stored is None else stored

    def refresh_pauses(self, pipeline: Pipeline) -> None:
        """Write into the lake what the ledger says now."""
        self._ask_pauses(pipeline)

    def _ask_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        with self.open_session(f"pipeline {pipeline.name}") as connection:
            found = list_pauses(Ledger(connection), pipeline.name)
        self.pauses.write(pipeline, found)
        return found

    def find_collected(self, pipeline: Pipeline, stream: Stream, since: str) -> Collection[str]:
        """Return the objects with messages that were applied, by what the lake says of those that a window meets."""
        state = self.find_state(pipeline, stream)
        if state.collected is not None and state.position and since == _first_name(state.position):
            return state.collected
        with self.open_session(self._target(pipeline, stream).place) as connection:
            return Ledger(connection).list_collected(pipeline.name, stream.name, since)

    def land(self, pipeline: Pipeline, batch: Batch) -> None:
        """Let a batch wait in the lake for its load."""
        stored = self.states.find(pipeline, stream := pipeline.stream(batch.stream), self._target(pipeline, stream))
        self.landed.add(batch, stored.state.newest_batch if stored else None)

    def list_landed(self, pipeline: Pipeline, stream: Stream) -> list[LandedBatch]:
        """Return the batches that wait and go on from the state of the stream."""
        stored = self.states.find(pipeline, stream, self._target(pipeline, stream))
        return self._find_landed(pipeline, stream, stored.state) if stored else []

    def forget_landed(self, pipeline: Pipeline, stream: Stream) -> None:
        """Let no batch of a stream wait any more."""
        self.landed.forget_applied(pipeline.name, stream.name, None)

    def _find_landed(self, pipeline: Pipeline, stream: Stream, state: StreamState) -> list[LandedBatch]:
        # Of a target that was dropped everything is read again.
        if pipeline.load_every is None or not state.columns:
            return []
        return self.landed.find(pipeline.name, stream.name, state.newest_batch)

    def begin_change(self, pipeline: Pipeline, tokens: Tokens) -> None:
        """Record that the ledger may change, so that a run after a crash looks into it."""
        for stream, token in tokens.items():
            if token is None:
                self.leases.doubt(pipeline.name, stream)
            else:
                self.leases.begin_load(pipeline.name, stream, token)

    def end_change(self, connection: Any, pipeline: Pipeline, tokens: Tokens) -> None:
        """Write the states after the commit. A crash before this leaves them behind the ledger, which is found."""
        for name, token in tokens.items():
            if token is None:
                continue
            stream = pipeline.stream(name)
            target = self._target(pipeline, stream)
            # Else the next run looks into the warehouse; that must not hide that the change was committed.
            with suppress(MillraceError), database_errors(target.place):
                state = _find_state(connection, pipeline, stream, target)
                self.states.write(pipeline, stream, target, state, token)
                if pipeline.load_every is not None:
                    self.landed.forget_applied(pipeline.name, name, state.newest_batch)

    def _must_visit(self, pipeline: Pipeline, stream: Stream, taken: LakeLease) -> bool:
        stored = self.states.find(pipeline, stream, self._target(pipeline, stream))
        if stored is None or stored.age >= pipeline.visit_every:
            return True
        # The second: the lease was deleted by hand, and its tokens begin again.
        return taken.loading > stored.settled or taken.token <= stored.settled

    def _visit(self, pipeline: Pipeline, stream: Stream, token: int) -> int:
        """Look into the warehouse under the lease with this token; return the token that it has then.

        Tokens go on from those of the ledger. Raises StreamBusy when a run holds the stream by the warehouse's lease.
        """
        target, of_stream = self._target(pipeline, stream), (pipeline.name, stream.name)
        with self.open_session(target.place) as connection:
            retry_on_conflict(connection, Ledger(connection).ensure)
            newest = retry_on_conflict(
                connection, lambda: lease.give_to_lake(connection, self.dialect.clock, *of_stream)
            )
            if newest >= token:
                token = self.leases.raise_token(*of_stream, token, newest).token
            state = _find_state(connection, pipeline, stream, target)
        self.states.write(pipeline, stream, target, state, token)
        return token

    def _target(self, pipeline: Pipeline, stream: Stream) -> Target:
        return target_of(pipeline, stream, self.dialect)


def _find_state(connection: Any, pipeline: Pipeline, stream: Stream, target: Target) -> StreamState:
    ledger, of_stream = Ledger(connection), (pipeline.name, stream.name)
    # First: a batch that is applied after it makes the state old, and never the batch that is read by it.
    newest = ledger.find_newest_batch(*of_stream)
    state = replace(find_state(connection, pipeline, stream, target), newest_batch=newest)
    if not stream.reference.kind.is_queue or state.position is None:
        return state
    return replace(state, collected=tuple(sorted(ledger.list_collected(*of_stream, _first_name(state.position)))))


def _first_name(position: str) -> str:
    """Return the name from which on the next window of a queue looks for objects."""
    return first_name(datetime.fromisoformat(position) - OVERLAP)
