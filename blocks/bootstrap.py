"""``python -m millrace.blocks.bootstrap``: register block types and save the documents that the environment describes.

It can be repeated: documents that are equal already are left alone. It prints names, never values.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect_aws import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import BaseModel, SecretStr
from pydantic import Secret as PydanticSecret

from millrace.base.errors import MillraceError
from millrace.blocks.api import api_errors
from millrace.blocks.databases import DATABASES
from millrace.blocks.environment import make_blocks
from millrace.blocks.queue import Queue
from millrace.blocks.sns import SnsNotification
from millrace.blocks.sql import Warehouse

BLOCK_TYPES: tuple[type[Block], ...] = (
    *dict.fromkeys(database.block.block_type for database in DATABASES.values()),
    Warehouse,
    AwsCredentials,
    S3Bucket,
    Queue,
    SnsNotification,
)


async def bootstrap(environment: Mapping[str, str], *, dry_run: bool = False) -> list[str]:
    """Register the types, and save the documents that are new or changed.

    Return a line for each document, with what was done to it. With ``dry_run`` nothing is saved, and the lines tell
    what would be done.

    Raises ConfigurationError, before anything is saved, if the environment is incomplete or wrong, and what
    ``api_errors`` makes of the errors of Prefect's API.
    """
    described = list(make_blocks(environment))
    # One client for all of it: Prefect would make one for each block, and again for each type within it.
    with api_errors():
        async with get_client() as client:
            for block_type in () if dry_run else BLOCK_TYPES:
                await block_type.aregister_type_and_schema(client=client)
            return [
                f"{await save(name, block, client, dry_run=dry_run)} {block.get_block_type_slug()}/{name}"
                for name, block in described
            ]


async def remove(environment: Mapping[str, str]) -> list[str]:
    """Delete the documents that the environment describes, and return a line for each.

    Documents that hold others are deleted first.
    """
    lines = []
    async with get_client() as client:
        for name, block in reversed(list(make_blocks(environment))):
            if await _load_stored(name, type(block), client) is not None:
                await type(block).adelete(name, client=client)
                lines.append(f"removed {block.get_block_type_slug()}/{name}")
    return lines


async def save(name: str, block: Block, client: PrefectClient, *, dry_run: bool = False) -> str:
    """Save a document that is new or changed. Return what was done or, with ``dry_run``, would be done."""
    stored = await _load_stored(name, type(block), client)
    if stored is not None and _content(stored) == _content(block):
        # So that a block which holds this one refers to its document.
        block._block_document_id, block._block_document_name = stored._block_document_id, name
        return "unchanged"
    if not dry_run:
        await block.asave(name, overwrite=True, client=client)
    return "created" if stored is None else "updated"


async def _load_stored(name: str, block_type: type[Block], client: PrefectClient) -> Block | None:
    try:
        return await block_type.aload(name, client=client)
    except ValueError:
        return None


def _content(value: object) -> object:
    """Return the fields alone, without what identifies the document.

    To dump a block instead would make Prefect build its schema.
    """
    if isinstance(value, SecretStr | PydanticSecret):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _content(getattr(value, name)) for name in type(value).model_fields}
    return value


def main() -> int:
    """Save the documents. Return the exit code: 0, or 1 with the reason on standard error."""
    try:
        lines = asyncio.run(bootstrap(os.environ))
    except MillraceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
