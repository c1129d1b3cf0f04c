"""Send alerts to every notification block document named ``alerts``, of any type.

A further channel (Slack, an e-mail provider, a second topic's type) is a further document, and no change of code.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import BlockDocument

from millrace.base.errors import MillraceError, Unreachable
from millrace.blocks import names


async def load_channels() -> list[NotificationBlock]:
    """Return the channels, in the order of their types' names. It is no error if there are none."""
    asked = {
        "block_documents": {"name": {"any_": [names.ALERTS]}},
        "block_schemas": {"block_capabilities": {"all_": ["notify"]}},
        "include_secrets": True,
    }
    async with get_client() as client:
        response = await client.request("POST", "/block_documents/filter", json=asked)
        documents = BlockDocument.model_validate_list(response.json())
    blocks = [Block._from_block_document(document) for document in documents]
    channels = [block for block in blocks if isinstance(block, NotificationBlock)]
    return sorted(channels, key=lambda block: block.get_block_type_slug())


async def send(channels: Iterable[NotificationBlock], subject: str, body: str) -> list[MillraceError]:
    """Send to every channel, and return what went wrong, without secrets. A channel that fails stops no other."""
    return [failure for channel in channels if (failure := await _tell(channel, subject, body)) is not None]


async def _tell(channel: NotificationBlock, subject: str, body: str) -> MillraceError | None:
    try:
        with channel.raise_on_failure():
            sending = channel.notify(body, subject)
            if inspect.isawaitable(sending):
                await sending
    # A block of any type may raise anything, and its words may hold the webhook's address, which is a secret.
    except Exception as error:
        if isinstance(error.__cause__, MillraceError):
            return error.__cause__
        return Unreachable(
            f"the alert was not sent ({type(error).__name__})",
            place=f"block {channel.get_block_type_slug()}/{channel._block_document_name}",
            remedy="see that the block is right and its service can be reached from here",
        )
    return None
