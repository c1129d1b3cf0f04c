"""The producer: messages go to a queue when their moment has come, in batches, several on their way at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from millrace.base.errors import FatalError, Unreachable
from millrace.drivers.botocore_errors import queue_errors
from millrace.seed_data.events.stream import DUPLICATE, VALID, EventMessage

BATCH_MESSAGES, BATCH_BYTES = 10, 256 * 1024
"""More SQS does not take in one request."""
LINGER_SECONDS = 0.1
"""So long a message waits for others at most."""
SENDERS = 8
PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Before what a queue did not take is sent again."""
TOLD_EVERY_SECONDS = 10

Sleep = Callable[[float], bool]
"""Waits so many seconds; true, at once, when the sending is to end."""


@dataclass(frozen=True)
class Sent:
    """What the queue accepted. ``valid`` counts distinct events, ``malformed`` counts messages by kind."""

    messages: int
    valid: int
    duplicates: int
    malformed: dict[str, int]


@dataclass(frozen=True)
class Producer:
    """Sends to the queue at ``url`` by ``client``, a boto3 client with a connection for each of ``SENDERS``."""

    client: Any
    url: str
    sleep: Sleep
    tell: Callable[[int], None] = lambda _count: None
    """A function that is called from time to time with the number of messages that the queue has accepted."""

    def send(self, messages: Iterable[EventMessage]) -> Sent:
        """Send messages until there are no more, or until ``sleep`` ends it; messages of the past are sent at once.

        Raises SourceMissing, ConfigurationError or Unreachable if the queue does not exist, refuses or does not answer,
        and FatalError if it refuses a message. What it accepted before stays there.
        """
        taken: Counter[str] = Counter()
        under_way: set[Future[Counter[str]]] = set()
        told = time.monotonic()
        with ThreadPoolExecutor(SENDERS) as senders:
            for batch in self._on_time(messages):
                under_way.add(senders.submit(self._deliver, batch))
                if len(under_way) == SENDERS:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    taken += _sum(done)
                if time.monotonic() - told >= TOLD_EVERY_SECONDS:
                    told = time.monotonic()
                    self.tell(taken.total())
        return _count_sent(taken + _sum(under_way))

    def _on_time(self, messages: Iterable[EventMessage]) -> Iterator[list[EventMessage]]:
        for batch in batches(messages, time.time):
            if self.sleep(max(0.0, batch[-1].at - time.time())):
                return
            yield batch

    def _deliver(self, batch: list[EventMessage]) -> Counter[str]:
        left = self._send_batch(batch)
        for pause_seconds in PAUSES_SECONDS:
            if left:
                # Not self.sleep: what is under way when the sending is to end is delivered as well.
                time.sleep(pause_seconds)
                left = self._send_batch(left)
        if left:
            raise Unreachable(f"{len(left)} messages were refused again and again", place=self.url, remedy="wait")
        return Counter(message.kind for message in batch)

    def _send_batch(self, batch: list[EventMessage]) -> list[EventMessage]:
        entries = [{"Id": str(number), "MessageBody": message.body} for number, message in enumerate(batch)]
        with queue_errors(self.url):
            failed = self.client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed", [])
        for entry in failed:
            if entry["SenderFault"]:
                raise FatalError(
                    f"SQS takes no such message: {entry['Code']}", place=self.url, remedy="see what SQS means by it"
                )
        return [batch[int(entry["Id"])] for entry in failed]


def batches(messages: Iterable[EventMessage], now: Callable[[], float]) -> Iterator[list[EventMessage]]:
    """Group messages into batches as large as SQS accepts, without delaying the first message of one."""
    batch: list[EventMessage] = []
    room = BATCH_BYTES
    for message in messages:
        size = len(message.body.encode())
        if batch and (len(batch) == BATCH_MESSAGES or size > room or message.at > _latest(batch, now)):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(message)
        room -= size
    if batch:
        yield batch


def _latest(batch: list[EventMessage], now: Callable[[], float]) -> float:
    return max(now(), batch[0].at + LINGER_SECONDS)


def _sum(done: Iterable[Future[Counter[str]]]) -> Counter[str]:
    return sum((future.result() for future in done), Counter())


def _count_sent(taken: Counter[str]) -> Sent:
    malformed = {kind: count for kind, count in sorted(taken.items()) if kind not in {VALID, DUPLICATE}}
    return Sent(taken.total(), taken[VALID], taken[DUPLICATE], malformed)
