"""The engine's objects made from blocks, for tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millrace.base.errors import ConfigurationError
from millrace.blocks.databases import DATABASES
from millrace.blocks.leases import choose_keeper, choose_place
from millrace.blocks.load import load_database, load_landing, load_mask_keys, load_processed, load_warehouse
from millrace.blocks.sql import driver_of, opener_naming
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.reading import SourceLog
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.source_kinds import SourceReference
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import database_errors
from millrace.queues.source import CollectedSource
from millrace.runs.destination import BatchDestination, ReportRows
from millrace.sources.chunk import Source
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.warehouse import Warehouse


@asynccontextmanager
async def open_source(pipeline: Pipeline, stream: Stream, warehouse: Warehouse) -> AsyncIterator[Source]:
    """Open the source of a stream, and close it at the end.

    The source of a queue is what was collected, less what ``warehouse`` has already. An error of the connection names
    the source, so that it is reported once for all of its streams.
    """
    reference = stream.reference
    if reference.kind.is_queue:
        yield CollectedSource(await load_landing(), pipeline, warehouse.find_collected)
        return
    block = await load_database(reference)
    async with DATABASES[reference.kind].open(block, reference.server) as source:
        yield source


def open_log(pipeline: Pipeline, reference: SourceReference, source: Source, ledger: str) -> SourceLog:
    """Return the change log of a source, kept for this pipeline and the warehouse of this ledger."""
    make_log = DATABASES[reference.kind].make_log
    if make_log is None:
        raise ConfigurationError("it has no change log", place=reference.server, remedy="declare another capture")
    return make_log(source, LogReader(pipeline.name, ledger, reference.connection, reference.server))


async def open_landing(
    pipeline: Pipeline, warehouse: Warehouse, progress: ReportRows | None = None
) -> BatchDestination:
    """Where the batches of a pipeline go."""
    processed = await load_processed() if pipeline.is_transformed else None
    limits = warehouse.dialect.limits
    return BatchDestination(
        pipeline.name,
        await load_landing(),
        limits,
        progress,
        form=pipeline.landing,
        processed=processed,
        dated=pipeline.dated,
        cli_name=pipeline.cli_name,
        mask_keys=await load_mask_keys(pipeline),
    )


async def open_warehouse(pipeline: Pipeline) -> Warehouse:
    """Return the warehouse of a pipeline; it connects at its first use.

    An error of the connection names the warehouse, not the stream that happened to be first.
    """
    block = await load_warehouse(pipeline.warehouse)
    dialect, url = dialect_for(driver_of(block.connector)), block.connector.connection_info.create_url()
    place = f"warehouse (block {block.get_block_type_slug()}/{block._block_document_name})"
    make_keeper = choose_keeper(choose_place(block.leases, url, place), url, await load_landing())
    return Warehouse(opener_naming(block.connector, database_errors, place), dialect, block.iam_role, make_keeper)
