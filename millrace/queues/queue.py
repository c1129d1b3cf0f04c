"""What the engine needs of a queue that delivers at least once. blocks/sqs.py implements it on Amazon SQS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received and is not deleted yet."""

    body: str
    """The text of the message as it was sent."""
    receipt: str
    """The text by which the message is deleted."""
    message_id: str
    """The id that the message keeps however often it is delivered."""


class MessageQueue(Protocol):
    """A queue that delivers at least once.

    All methods block and are called from several threads. They raise Unreachable when the service does not answer or
    throttles, and ConfigurationError when it refuses.
    """

    @property
    def place(self) -> str:
        """The name of the queue in messages to people."""
        ...

    def receive(self, visibility_seconds: int, wait_seconds: int) -> list[Message]:
        """Receive some messages; none if no message came within ``wait_seconds``.

        Nobody else is given these messages for ``visibility_seconds``.
        """
        ...

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete messages, and return how many of them will not come again; the others will."""
        ...

    def extend(self, receipts: Sequence[str], visibility_seconds: int) -> None:
        """Keep messages from others for ``visibility_seconds`` from now on; 0 gives them back.

        Messages that are not in hand any more are passed over.
        """
        ...

    def send(self, bodies: Sequence[str]) -> None:
        """Send messages, each once unless this raises."""
        ...
