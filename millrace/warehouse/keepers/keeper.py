"""What the warehouse asks of whoever keeps the leases of streams and how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.warehouse.keepers.landed_batches import LandedBatch
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.stream_state import StreamState

KeptIn = Literal["warehouse", "lake"]
"""Where leases and states are kept."""
OpenSession = Callable[[str], AbstractContextManager[Any]]
"""Opens a session with the warehouse; its errors name the place that it is given."""
Tokens = Mapping[str, int | None]
"""The leases under which a ledger is changed, by stream; None: a batch that was not read under a lease of the lake."""


class Keeper(Protocol):
    """Keeps the leases of streams and how far they have come."""

    def take(self, pipeline: Pipeline, stream: Stream, holder: str) -> int:
        """Take the lease of a stream for ``holder``, and return its token. Raises StreamBusy."""
        ...

    def extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int) -> None:
        """Let leases end ``seconds`` from now; with 0 they are given back. ``tokens`` are the leases by stream.

        A lease that another run has taken since is left alone.
        """
        ...

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come."""
        ...

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come by what the warehouse says now."""
        ...

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline, by stream."""
        ...

    def refresh_pauses(self, pipeline: Pipeline) -> None:
        """Be told that a pause was recorded in the ledger, or removed from it."""
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

    def begin_change(self, pipeline: Pipeline, tokens: Tokens) -> None:
        """Be told that the ledger of streams may change from now on, under these leases.

        Raises Superseded if another run took a stream over.
        """
        ...

    def end_change(self, connection: Any, pipeline: Pipeline, tokens: Tokens) -> None:
        """Be told that the change was committed."""
        ...
