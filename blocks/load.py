"""Load blocks by their documents' names. Flows do this first."""

from __future__ import annotations

import os
from typing import TypeVar

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect_aws.s3 import S3Bucket
from prefect_sqlalchemy import SqlAlchemyConnector

from millrace.base.errors import ConfigurationError
from millrace.blocks import names
from millrace.blocks.databases import DATABASES
from millrace.blocks.environment import resolve
from millrace.blocks.mongo import MongoDB
from millrace.blocks.queue import Queue
from millrace.blocks.sql import Warehouse
from millrace.blocks.store import BucketStore
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.source_kinds import SourceReference

AnyBlock = TypeVar("AnyBlock", bound=Block)


async def load_database(reference: SourceReference) -> Block:
    """Load the block of the database that a stream is read from. Raises ConfigurationError if it is missing."""
    return await load(
        DATABASES[reference.kind].block.block_type, names.source_name(reference.kind.name, reference.connection)
    )


async def load_source_postgres(connection: str = "") -> SqlAlchemyConnector:
    """Load the block of the source Postgres of this connection. Raises ConfigurationError if it is missing."""
    return await load(SqlAlchemyConnector, names.source_name("postgres", connection))


async def load_source_mysql(connection: str = "") -> SqlAlchemyConnector:
    """Load the block of the source MySQL of this connection. Raises ConfigurationError if it is missing."""
    return await load(SqlAlchemyConnector, names.source_name("mysql", connection))


async def load_source_mongo(connection: str = "") -> MongoDB:
    """Load the block of the source MongoDB of this connection. Raises ConfigurationError if it is missing."""
    return await load(MongoDB, names.source_name("mongo", connection))


async def load_source_queue(connection: str = "") -> Queue:
    """Load the block of the source queue of this connection. Raises ConfigurationError if it is missing.

    Its dead-letter queue has the connection ``names.dead_letter(connection)``.
    """
    return await load(Queue, names.source_name("sqs", connection))


async def load_warehouse(connection: str = "") -> Warehouse:
    """Load the block of the warehouse of this connection; '' is the common one.

    Raises ConfigurationError if it is missing.
    """
    return await load(Warehouse, names.warehouse_name(connection))


async def load_landing() -> BucketStore:
    """Load the landing zone of the lake, where batches are. Raises ConfigurationError if its block is missing."""
    return BucketStore(await load(S3Bucket, names.LANDING))


async def load_processed() -> BucketStore:
    """Load the processed zone of the lake. Raises ConfigurationError if its block is missing."""
    return BucketStore(await load(S3Bucket, names.PROCESSED))


async def load_mask_keys(pipeline: Pipeline) -> dict[str, str]:
    """Load the keys by which a pipeline hashes values, by name. Raises ConfigurationError if a block is missing."""
    return {key: str((await load(Secret, names.mask_key_name(key))).get()) for key in names.mask_keys_of(pipeline)}


_DEPLOYED = "; of a deployed environment, give its secret a value and run `python -m infra.deploy up` (docs/runbook.md)"


async def load(block_type: type[AnyBlock], name: str) -> AnyBlock:
    """Load a block by its type and name. Raises ConfigurationError if it is missing or wrong."""
    found = await _find(block_type, name)
    if found is None:
        raise _wrong(block_type, name, "is not there", f"set {names.variable_name(name)}, and ")
    return found


async def _find(block_type: type[AnyBlock], name: str) -> AnyBlock | None:
    try:
        return resolve(await block_type.aload(name), os.environ)
    except (ValueError, RuntimeError) as error:
        if "Unable to find" in str(error):
            return None
        if isinstance(error, RuntimeError) and "failed validation" not in str(error):
            raise
        raise _wrong(block_type, name, "does not fit its type") from None


def _wrong(block_type: type[Block], name: str, problem: str, first: str = "") -> ConfigurationError:
    place = f"block {block_type.get_block_type_slug()}/{name}"
    return ConfigurationError(
        problem, place=place, remedy=f"{first}run `python -m millrace.blocks.bootstrap`{_DEPLOYED}"
    )
