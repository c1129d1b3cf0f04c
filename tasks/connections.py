"""The engine's objects made from blocks, for tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, closing
from typing import Any, assert_never

from millrace.blocks.load import (
    load_landing,
    load_processed,
    load_source_mongo,
    load_source_mysql,
    load_source_postgres,
    load_warehouse,
)
from millrace.blocks.sql import driver_of, opener
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import SourceReference, Stream
from millrace.drivers.mongo_client import check
from millrace.drivers.psycopg_errors import database_errors
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.queues.source import CollectedSource
from millrace.runs.destination import BatchDestination, Progress
from millrace.sources.chunk import Source
from millrace.sources.mongo import MongoSource
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.warehouse import Warehouse


@asynccontextmanager
async def open_source(pipeline: Pipeline, stream: Stream, warehouse: Warehouse) -> AsyncIterator[Source]:
    """The source that a stream names; closed at the end. Of a queue it is what was collected, less what ``warehouse``
    has already. That it cannot be reached is said of the source, once for all of its streams."""
    reference = stream.reference
    match reference.kind:
        case "sqs":
            yield CollectedSource(await load_landing(), pipeline, warehouse.collected)
        case "postgres":
            connect = opener(await load_source_postgres(reference.connection))
            yield PostgresSource(_named(connect, database_errors, _source(reference)))
        case "mysql":
            connect = opener(await load_source_mysql(reference.connection))
            yield MySQLSource(_named(connect, mysql_errors, _source(reference)))
        case "mongo":
            with closing((await load_source_mongo(reference.connection)).get_client()) as client:
                await check(client, _source(reference))
                yield MongoSource(client)
        case _:
            assert_never(reference.kind)


async def open_landing(pipeline: Pipeline, warehouse: Warehouse, progress: Progress | None = None) -> BatchDestination:
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
    )


async def open_warehouse(pipeline: Pipeline) -> Warehouse:
    """The warehouse that the pipeline names. Connects at its first use; that it cannot be reached is said of the
    warehouse, not of the stream whose turn it was."""
    block = await load_warehouse(pipeline.warehouse)
    dialect = dialect_for(driver_of(block.connector))
    place = f"warehouse (block {block.get_block_type_slug()}/{block._block_document_name})"
    return Warehouse(_named(opener(block.connector), database_errors, place), dialect, block.iam_role)


def _source(reference: SourceReference) -> str:
    connection = f"/{reference.connection}" if reference.connection else ""
    return f"source {reference.kind}{connection}"


def _named(
    connect: Callable[[], Any], errors: Callable[[str], AbstractContextManager[None]], place: str
) -> Callable[[], Any]:
    """The same, whose failures name ``place``."""

    def named() -> Any:
        with errors(place):
            return connect()

    return named
