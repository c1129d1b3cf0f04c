"""Leases in the table ``millrace.leases``, and states as catalog and ledger say them: each question is a statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.base.errors import FatalError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLeases
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.keepers.keeper import OpenSession, Tokens
from millrace.warehouse.keepers.landed_batches import LandedBatch
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.pauses import Pause, list_pauses
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.stream_state import StreamState, find_state


@dataclass(frozen=True)
class WarehouseKeeper:
    """Keeps leases and states in the warehouse."""

    open_session: OpenSession
    dialect: Dialect
    lake: LakeLeases | None = None
    """The leases that the lake kept before, if there is a lake."""

    def take(self, pipeline: Pipeline, stream: Stream, holder: str) -> int:
        """Take the lease of a stream, also of one that the lake kept until now and that is free there."""
        of_stream, clock = (pipeline.name, stream.name), self.dialect.clock
        with self.open_session(target_of(pipeline, stream, self.dialect).place) as connection:
            retry_on_conflict(connection, Ledger(connection).ensure)
            try:
                return retry_on_conflict(connection, lambda: lease.take_lease(connection, clock, *of_stream, holder))
            except lease.KeptInLake:
                if self.lake is None:
                    raise
            with self.lake.take_out(*of_stream, holder) as token:
                return retry_on_conflict(
                    connection, lambda: lease.take_lease(connection, clock, *of_stream, holder, lake_token=token)
                )

    def extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        """Let leases end ``seconds`` from now."""
        with self.open_session(f"leases of pipeline {pipeline.name}") as connection:
            retry_on_conflict(
                connection, lambda: lease.extend_leases(connection, self.dialect.clock, pipeline.name, tokens, seconds)
            )

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come.

        Raises SchemaConflict when somebody gave a column of its target a type that Millrace does not know.
        """
        target = target_of(pipeline, stream, self.dialect)
        with self.open_session(target.place) as connection:
            return find_state(connection, pipeline, stream, target)

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come: the warehouse is asked each time."""
        return self.find_state(pipeline, stream)

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline, by stream."""
        with self.open_session(f"pipeline {pipeline.name}") as connection:
            return list_pauses(Ledger(connection), pipeline.name)

    def refresh_pauses(self, pipeline: Pipeline) -> None:
        """Do nothing: the ledger is asked each time."""

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

    def begin_change(self, pipeline: Pipeline, tokens: Tokens) -> None:
        """Do nothing: the ledger refuses a batch of a stream that was taken over."""

    def end_change(self, connection: Any, pipeline: Pipeline, tokens: Tokens) -> None:
        """Do nothing: the state is in the ledger."""
