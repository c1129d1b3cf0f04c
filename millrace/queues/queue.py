"""What the engine needs of a queue that delivers at least once. blocks/sqs.py implements it on Amazon SQS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """A message in hand: its ``body`` as it was sent, the ``receipt`` by which it is deleted, and the ``identity`` that
    it keeps however often it is delivered."""

    body: str
    receipt: str
    identity: str


class MessageQueue(Protocol):
    """All methods block, are called from several threads, and raise Unreachable when the service does not answer or
    throttles, ConfigurationError when it refuses."""

    @property
    def place(self) -> str:
        """For messages to people."""
        ...

    def receive(self, visibility_seconds: int, wait_seconds: int) -> list[Message]:
        """Some messages, which nobody else is given for ``visibility_seconds``; none after ``wait_seconds`` without."""
        ...

    def delete(self, receipts: Sequence[str]) -> int:
        """How many of these messages will not come again; the others will."""
        ...

    def extend(self, receipts: Sequence[str], visibility_seconds: int) -> None:
        """Keep messages that long from now on; 0 gives them back. What is not in hand any more is passed over."""
        ...

    def send(self, bodies: Sequence[str]) -> None:
        """Send messages, each once unless this raises."""
        ...
