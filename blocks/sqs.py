"""Amazon SQS as the engine's message queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typing_extensions import override

from millrace.base.errors import Unreachable
from millrace.blocks.queue import Queue
from millrace.drivers.botocore_errors import queue_errors
from millrace.queues.queue import Message, MessageQueue

REQUEST_MESSAGES = 10
"""How many messages one request takes at most."""
REQUEST_BYTES = 1024 * 1024


class SqsQueue(MessageQueue):
    """The queue of a Queue block, for as many threads at once as there are ``connections``."""

    def __init__(self, block: Queue, connections: int = 10) -> None:
        self._url, self._client = block.url, block.client(connections)

    @property
    @override
    def place(self) -> str:
        return f"sqs {self._url.rpartition('/')[2]}"

    @override
    def receive(self, visibility_seconds: int, wait_seconds: int) -> list[Message]:
        with queue_errors(self.place):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=REQUEST_MESSAGES,
                VisibilityTimeout=visibility_seconds,
                WaitTimeSeconds=wait_seconds,
            )
        return [
            Message(message["Body"], message["ReceiptHandle"], message["MessageId"])
            for message in answer.get("Messages", [])
        ]

    @override
    def delete(self, receipts: Sequence[str]) -> int:
        entries = [{"ReceiptHandle": receipt} for receipt in receipts]
        return sum(len(answer.get("Successful", [])) for _, answer in self._request("delete_message_batch", entries))

    @override
    def extend(self, receipts: Sequence[str], visibility_seconds: int) -> None:
        entries = [{"ReceiptHandle": receipt, "VisibilityTimeout": visibility_seconds} for receipt in receipts]
        for _ in self._request("change_message_visibility_batch", entries):
            pass

    @override
    def send(self, bodies: Sequence[str]) -> None:
        entries = [{"MessageBody": body} for body in bodies]
        for sent, answer in self._request("send_message_batch", entries):
            if failed := answer.get("Failed"):
                raise Unreachable(
                    f"{len(failed)} of {len(sent)} messages were not taken ({failed[0].get('Code')})",
                    place=self.place,
                    remedy="run again later",
                )

    def _request(
        self, operation: str, entries: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[Sequence[dict[str, Any]], dict[str, Any]]]:
        for block in _blocks(entries):
            numbered = [{"Id": str(index), **entry} for index, entry in enumerate(block)]
            with queue_errors(self.place):
                answer = getattr(self._client, operation)(QueueUrl=self._url, Entries=numbered)
            yield block, answer


def _blocks(entries: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the entries in blocks that one request takes."""
    block: list[dict[str, Any]] = []
    size_bytes = 0
    for entry in entries:
        entry_bytes = len(entry.get("MessageBody", "").encode())
        if block and (len(block) == REQUEST_MESSAGES or size_bytes + entry_bytes > REQUEST_BYTES):
            yield block
            block, size_bytes = [], 0
        block.append(entry)
        size_bytes += entry_bytes
    if block:
        yield block
