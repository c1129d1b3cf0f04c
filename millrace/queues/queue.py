"""What the engine needs of a queue that delivers at least once. blocks/sqs.py implements it on Amazon SQS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """A message in hand."""

    body: str
    """The message as it was sent."""
    receipt: str
    """The word by which it is deleted."""
    identity: str
    """The id that it keeps however often it is delivered."""


class MessageQueue(Protocol):
    """A queue that delivers at least once. All methods block and are called from several threads. They raise
    Unreachable when the service does not answer or throttles, and ConfigurationError when it refuses."""

    @property
    def place(self) -> str:
        """The name of the queue, for messages to people."""
        ...

    def receive(self, visibility_seconds: int, wait_seconds: int) -> list[Message]:
        """Receive some messages, which nobody else is given for ``visibility_seconds``; none if none came within
        ``wait_seconds``."""
        ...

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete messages, and return how many of them will not come again; the others will."""
        ...

    def extend(self, receipts: Sequence[str], visibility_seconds: int) -> None:
        """Keep messages from others for that long from now on; 0 gives them back. Messages that are not in hand any
        more are passed over."""
        ...

    def send(self, bodies: Sequence[str]) -> None:
        """Send messages, each once unless this raises."""
        ...
