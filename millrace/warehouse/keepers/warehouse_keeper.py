"""Leases in the table ``millrace.leases``, and states as catalog and ledger say them: each question is a statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.base.errors import FatalError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.keepers.keeper import BegunLoads, OpenSession, Tokens
from millrace.warehouse.keepers.lake_copy import LakeCopy
from millrace.warehouse.keepers.landed_batches import LandedBatch
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.pauses import Pause, list_pauses
from millrace.warehouse.ledger.recorded_streams import RecordedStream, list_recorded_streams
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.stream_state import StreamState, find_state


@dataclass(frozen=True)
class WarehouseKeeper:
    """Keeps leases and states in the warehouse."""

    open_session: OpenSession
    dialect: Dialect
    lake: LakeCopy | None = None
    """What the lake kept before, or keeps for runs with the other setting; None: there is no lake."""

    def take(self, pipeline: Pipeline, streams: Sequence[Stream], holder: str) -> dict[str, int]:
        """Take the leases of streams, also of those that the lake kept until now and that are free there.

        All are taken in one session: a login costs the warehouse more than a lease.
        """
        tokens: dict[str, int] = {}
        place = self._describe(pipeline, streams)
        with self.open_session(place) as connection:
            retry_on_conflict(connection, Ledger(connection).ensure)
            try:
                for stream in streams:
                    tokens[stream.name] = self._take(connection, pipeline.name, stream.name, holder)
            except BaseException:
                if tokens:
                    self._extend(connection, pipeline, tokens, 0)
                raise
        return tokens

    def _take(self, connection: Any, pipeline: str, stream: str, holder: str) -> int:
        clock, of_stream = self.dialect.clock, (pipeline, stream)
        try:
            return retry_on_conflict(connection, lambda: lease.take_lease(connection, clock, *of_stream, holder))
        except lease.KeptInLake:
            if self.lake is None:
                raise
        with self.lake.leases.take_out(*of_stream, holder) as token:
            return retry_on_conflict(
                connection, lambda: lease.take_lease(connection, clock, *of_stream, holder, lake_token=token)
            )

    def extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        """Let leases end ``seconds`` from now."""
        with self.open_session(f"leases of pipeline {pipeline.name}") as connection:
            self._extend(connection, pipeline, tokens, seconds)

    def _extend(self, connection: Any, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        retry_on_conflict(
            connection, lambda: lease.extend_leases(connection, self.dialect.clock, pipeline.name, tokens, seconds)
        )

    def _describe(self, pipeline: Pipeline, streams: Sequence[Stream]) -> str:
        if len(streams) == 1:
            return target_of(pipeline, streams[0], self.dialect).place
        return f"{len(streams)} streams of pipeline {pipeline.name}"

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come.

        Raises SchemaConflict when somebody gave a column of its target a type that Millrace does not know.
        """
        target = target_of(pipeline, stream, self.dialect)
        with self.open_session(target.place) as connection:
            return find_state(connection, pipeline, stream, target)

    def find_states(self, pipeline: Pipeline, streams: Sequence[Stream]) -> dict[str, StreamState]:
        """Return how far several streams have come, in one session."""
        with self.open_session(self._describe(pipeline, streams)) as connection:
            return {
                stream.name: find_state(connection, pipeline, stream, target_of(pipeline, stream, self.dialect))
                for stream in streams
            }

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come: the warehouse is asked each time."""
        return self.find_state(pipeline, stream)

    def forget_states(self, pipeline: Pipeline, streams: Collection[str]) -> None:
        """Forget what the lake says: the ledger is asked each time."""
        if self.lake is not None:
            self.lake.forget_states(pipeline, streams)

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline, by stream."""
        with self.open_session(f"pipeline {pipeline.name}") as connection:
            return list_pauses(Ledger(connection), pipeline.name)

    def forget_pauses(self, pipeline: Pipeline) -> None:
        """Forget what the lake says of pauses: runs with the other setting read it."""
        if self.lake is not None:
            self.lake.pauses.forget(pipeline)

    def find_recorded_streams(self, pipeline: Pipeline) -> list[RecordedStream]:
        """Return the streams of wildcards that were recorded."""
        with self.open_session(f"pipeline {pipeline.name}") as connection:
            return list_recorded_streams(Ledger(connection), pipeline.name)

    def forget_recorded_streams(self, pipeline: Pipeline) -> None:
        """Forget what the lake says of streams of wildcards: runs with the other setting read it."""
        if self.lake is not None:
            self.lake.found_streams.forget(pipeline)

    def find_collected(self, pipeline: Pipeline, stream: Stream, since: str) -> Collection[str]:
        """Return the objects with messages of a queue that were applied, from the name ``since`` on."""
        with self.open_session(stream.place) as connection:
            return Ledger(connection).list_collected(pipeline.name, stream.name, since)

    def land(self, pipeline: Pipeline, batch: Batch) -> None:
        """Raise FatalError: batches wait only where the lake keeps the leases."""
        raise FatalError(
            "a batch cannot wait where leases are kept in the warehouse",
            place=f"stream {pipeline.name}.{batch.stream}",
            remedy="report it with the declaration of the pipeline",
        )

    def list_landed(self, pipeline: Pipeline, stream: Stream) -> list[LandedBatch]:  # noqa: ARG002 - none waits
        """Return nothing: no batch waits."""
        return []

    def forget_landed(self, pipeline: Pipeline, stream: Stream) -> None:
        """Do nothing: no batch waits."""

    def forget_outdated(self, pipeline: Pipeline, stream: Stream) -> int:  # noqa: ARG002 - none waits
        """Return 0: no batch waits."""
        return 0

    def begin_load(self, pipeline: Pipeline, tokens: Tokens) -> BegunLoads:  # noqa: ARG002 - nothing is recorded
        """Record nothing: the ledger refuses a batch of a stream that was taken over."""
        return {}

    def end_load(self, connection: Any, pipeline: Pipeline, begun: BegunLoads) -> None:
        """Do nothing: the state is in the ledger."""
