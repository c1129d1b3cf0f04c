"""The lease of a stream around a task: its holder is the whole flow run, so that a retry of it may take it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache

from prefect.runtime import flow_run

from millrace import Pipeline, Stream
from millrace.base.errors import MillraceError
from millrace.blocks.load import load_landing
from millrace.drivers.worker import Worker
from millrace.lake.batch import Batch
from millrace.lake.manifest import read_manifest
from millrace.tasks.connections import open_warehouse
from millrace.warehouse.warehouse import Warehouse


@dataclass
class Lease:
    """A lease in hand; it is given back at the end unless it is handed on to the next task."""

    token: int
    is_handed_on: bool = False

    def hand_on(self) -> None:
        """Keep the lease for the load of the batch that carries its token."""
        self.is_handed_on = True


@asynccontextmanager
async def lease_stream(warehouse: Warehouse, pipeline: Pipeline, stream: Stream) -> AsyncIterator[Lease]:
    """Hold the lease of the stream for this flow run within the context. Raises StreamBusy."""
    async with lease_streams(warehouse, pipeline, [stream]) as leases:
        yield leases[stream.name]


@asynccontextmanager
async def lease_streams(
    warehouse: Warehouse, pipeline: Pipeline, streams: Sequence[Stream]
) -> AsyncIterator[dict[str, Lease]]:
    """Hold the leases of the streams, by name, for this flow run within the context.

    Raises StreamBusy when another run holds one of them; then none is held.
    """
    holder = f"flow run {_find_root(flow_run.id)}"
    with Worker(f"lease-{streams[0].name}") as worker:
        async with worker.within(warehouse.lease_all(pipeline, streams, holder)) as tokens:
            leases = {name: Lease(token) for name, token in tokens.items()}
            try:
                yield leases
            finally:
                if left := {name: lease.token for name, lease in leases.items() if not lease.is_handed_on}:
                    await _release(worker, warehouse, pipeline, left)


@lru_cache(maxsize=16)
def _find_root(_flow_run_id: str | None) -> str | None:
    """Return the id of the run that started the current flow run, or started the run that started it, and so on.

    Prefect's API is asked once for each flow run, and not once for each stream: by up to four clients (15 ms each).
    """
    root: str | None = flow_run.root_flow_run_id
    return root


@asynccontextmanager
async def renew_then_release(warehouse: Warehouse, pipeline: Pipeline, batches: Sequence[Batch]) -> AsyncIterator[None]:
    """Renew the leases that the batches were read under within the context, and release them at its end."""
    async with renew_leases(warehouse, pipeline, batches) as worker:
        try:
            yield
        finally:
            await _release(worker, warehouse, pipeline, _tokens(batches))


@asynccontextmanager
async def renew_leases(warehouse: Warehouse, pipeline: Pipeline, batches: Sequence[Batch]) -> AsyncIterator[Worker]:
    """Renew the leases that the batches were read under within the context, and leave them to the next task."""
    with Worker(f"lease-{pipeline.name}") as worker:
        async with worker.within(warehouse.hold(pipeline, _tokens(batches))):
            yield worker


def _tokens(batches: Sequence[Batch]) -> dict[str, int]:
    return {batch.stream: batch.progress.token for batch in batches if batch.progress.token}


async def give_back(pipeline: Pipeline, manifests: Sequence[str]) -> None:
    """Give back the leases of landed batches that are not going to be loaded."""
    # Else they end by themselves, two minutes later; that must not hide why nothing is loaded.
    with suppress(MillraceError):
        store, warehouse = await load_landing(), await open_warehouse(pipeline)
        batches = await asyncio.to_thread(lambda: [read_manifest(store, manifest) for manifest in manifests])
        async with renew_then_release(warehouse, pipeline, batches):
            pass


async def _release(worker: Worker, warehouse: Warehouse, pipeline: Pipeline, tokens: Mapping[str, int]) -> None:
    # Else they end by themselves, two minutes later; that must not hide why the task failed.
    with suppress(MillraceError):
        await worker.run(lambda: warehouse.release(pipeline, tokens))
