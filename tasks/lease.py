"""The lease of a stream around a task: its holder is the whole flow run, so that a retry of it may take it again.

What does not belong here: what a lease is (millrace/warehouse/lease.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from prefect.runtime import flow_run

from millrace import Pipeline, Stream
from millrace.errors import MillraceError
from millrace.warehouse.loader import Warehouse
from millrace.worker import Worker


@dataclass
class Lease:
    """A lease in hand; it is given back at the end unless it is handed on to the task that comes next."""

    token: int
    is_handed_on: bool = False

    def hand_on(self) -> None:
        """Keep it for the load of the batch that carries its token."""
        self.is_handed_on = True


@asynccontextmanager
async def leased(warehouse: Warehouse, pipeline: Pipeline, stream: Stream, token: int = 0) -> AsyncIterator[Lease]:
    """Within it the stream is this flow run's, from the task before (``token``) or newly taken. Raises StreamBusy."""
    holder = f"flow run {flow_run.root_flow_run_id}"
    with Worker(f"lease-{stream.name}") as worker:
        async with worker.within(warehouse.lease(pipeline, stream, holder, token)) as own:
            lease = Lease(own)
            try:
                yield lease
            finally:
                if not lease.is_handed_on:
                    # Else it ends by itself, two minutes later; that must not hide why the task failed.
                    with suppress(MillraceError):
                        await worker.run(lambda: warehouse.release(pipeline, stream, own))
