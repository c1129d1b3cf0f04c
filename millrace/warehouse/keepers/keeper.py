"""What the warehouse asks of whoever keeps the leases of streams and how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLease
from millrace.warehouse.keepers.landed_batches import LandedBatch
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.ledger.recorded_streams import RecordedStream
from millrace.warehouse.stream_state import StreamState

KeptIn = Literal["warehouse", "lake"]
"""Where leases and states are kept."""
OpenSession = Callable[[str], AbstractContextManager[Any]]
"""Opens a session with the warehouse; its errors name the place that it is given."""
Tokens = Mapping[str, int | None]
"""The leases under which a ledger is changed, by stream; None: a batch that was not read under a lease of the lake."""
BegunLoads = Mapping[str, LakeLease]
"""Loads that began, by stream: the lease in the lake as it was then. Without those that the lake does not record."""


class Keeper(Protocol):
    """Keeps the leases of streams and how far they have come."""

    def take(self, pipeline: Pipeline, streams: Sequence[Stream], holder: str) -> dict[str, int]:
        """Take the leases of streams for ``holder``, all or none, and return their tokens. Raises StreamBusy."""
        ...

    def extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        """Let leases end ``seconds`` from now; with 0 they are given back. ``tokens`` are the leases by stream.

        A lease that another run has taken since is left alone.
        """
        ...

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come."""
        ...

    def find_states(self, pipeline: Pipeline, streams: Sequence[Stream]) -> dict[str, StreamState]:
        """Return how far several streams have come."""
        ...

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come by what the warehouse says now."""
        ...

    def forget_states(self, pipeline: Pipeline, streams: Collection[str]) -> None:
        """Let the next run of each stream ask the warehouse how far it has come. No batch of them waits any more."""
        ...

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline, by stream."""
        ...

    def forget_pauses(self, pipeline: Pipeline) -> None:
        """Be told that a pause was recorded in the ledger, or removed from it: the next run asks the ledger."""
        ...

    def find_recorded_streams(self, pipeline: Pipeline) -> list[RecordedStream]:
        """Return the streams that the wildcards of a pipeline stood for at the last run."""
        ...

    def forget_recorded_streams(self, pipeline: Pipeline) -> None:
        """Be told that streams of wildcards were recorded in the ledger: the next run asks the ledger."""
        ...

    def find_collected(self, pipeline: Pipeline, stream: Stream, since: str) -> Collection[str]:
        """Return the objects with messages of a queue that were applied, from the name ``since`` on."""
        ...

    def land(self, pipeline: Pipeline, batch: Batch) -> None:
        """Let a batch wait in the lake for its load. The next read goes on from it."""
        ...

    def list_landed(self, pipeline: Pipeline, stream: Stream) -> list[LandedBatch]:
        """Return the batches that wait for their load, in the order in which they were read."""
        ...

    def forget_landed(self, pipeline: Pipeline, stream: Stream) -> None:
        """Let no batch of a stream wait any more."""
        ...

    def forget_outdated(self, pipeline: Pipeline, stream: Stream) -> int:
        """Let no batch wait if one was read by another declaration of the stream; return how many waited."""
        ...

    def begin_load(self, pipeline: Pipeline, tokens: Tokens) -> BegunLoads:
        """Be told that the ledger of streams may change from now on, under these leases.

        Raises Superseded if another run took a stream over.
        """
        ...

    def end_load(self, connection: Any, pipeline: Pipeline, begun: BegunLoads) -> None:
        """Be told that the change was committed."""
        ...
