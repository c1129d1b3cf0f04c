"""Blocks for one test, on a server that has those of the test before: only the fields that differ are sent.

`millrace.blocks.bootstrap` leaves the server the same, but takes seconds: Prefect computes the schema of a block's type
again for each of its fields. It has tests of its own in tests/blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument
from pydantic import BaseModel, Secret, SecretStr

from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.environment import make_blocks


async def save_blocks(environment: Mapping[str, str]) -> None:
    """Save what the environment describes; by ``bootstrap`` where a document is not there yet."""
    async with get_client() as client:
        stored = {_address(one): one for one in await client.read_block_documents(include_secrets=True)}
        try:
            found = [(stored[block.get_block_type_slug(), name], block) for name, block in make_blocks(environment)]
        except KeyError:
            await bootstrap(environment)
            return
        for document, block in found:
            await _change(document, block, client)


def _address(document: BlockDocument) -> tuple[str, str]:
    return document.block_type.slug, document.name


async def _change(stored: BlockDocument, wanted: Block, client: PrefectClient) -> None:
    """Its own fields. A block that it holds is another document, to which it goes on to refer."""
    fields = {name: getattr(wanted, name) for name in type(wanted).model_fields}
    plain = {name: _plain(value) for name, value in fields.items() if not isinstance(value, Block)}
    changed = {name: value for name, value in plain.items() if stored.data.get(name) != value}
    if changed:
        held = {name: _reference(one) for name, one in stored.block_document_references.items()}
        await client.update_block_document(stored.id, BlockDocumentUpdate(data=changed | held))


def _reference(held: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": {"block_document_id": str(held["block_document"]["id"])}}


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    return value.get_secret_value() if isinstance(value, SecretStr | Secret) else value
