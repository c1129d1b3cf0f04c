"""The producer: everything arrives once, on time, within what SQS takes; what is refused is sent again, or told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from local.stack import Stack
from millrace.base.errors import FatalError, SourceMissing, Unreachable
from millrace.seed_data.events.sending import BATCH_BYTES, LINGER_SECONDS, Producer, batches
from millrace.seed_data.events.stream import EventMessage, messages
from tests.conftest import unique

LONG_AGO = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Queue:
    """One on the emulator, and what was found in it."""

    client: Any
    url: str

    def producer(self, client: Any = None) -> Producer:
        return Producer(client or self.client, self.url, threading.Event().wait)

    def bodies(self) -> list[str]:
        """All there are; takes them out."""
        found: list[str] = []
        while answer := self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in answer]
            entries = [{"Id": one["MessageId"], "ReceiptHandle": one["ReceiptHandle"]} for one in answer]
            self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return found


@pytest.fixture
def queue(stack: Stack) -> Queue:
    return Queue(stack.aws.client("sqs"), stack.aws.create_queue(unique("events")))


@dataclass
class Between:
    """Stands before the client: leaves out the first entry of a request, as a busy SQS may, so often as ``times``."""

    client: Any
    times: int
    requests: list[list[str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803 (AWS's)
        with self.lock:
            self.requests.append([entry["MessageBody"] for entry in Entries])
            is_busy, self.times = self.times > 0, self.times - 1
        if not is_busy:
            return self.client.send_message_batch(QueueUrl=QueueUrl, Entries=Entries)
        left_out, *taken = Entries
        answer = self.client.send_message_batch(QueueUrl=QueueUrl, Entries=taken) if taken else {}
        failed = {"Id": left_out["Id"], "SenderFault": False, "Code": "InternalError"}
        return {**answer, "Failed": [failed]}


def past(count: int) -> list[EventMessage]:
    return list(islice(messages(1, LONG_AGO, 100, 0.1, 0.2), count))


def message(body: str = "{}", at: float = 0.0) -> EventMessage:
    return EventMessage(body, "", "valid", at)


def test_everything_arrives_and_is_counted(queue: Queue) -> None:
    given = past(503)
    sent = queue.producer().send(given)
    assert Counter(queue.bodies()) == Counter(one.body for one in given)
    kinds = Counter(one.kind for one in given)
    assert (sent.messages, sent.valid, sent.duplicates) == (503, kinds.pop("valid"), kinds.pop("duplicate"))
    assert sent.malformed == kinds
    assert len(kinds) == 8


def test_what_was_not_taken_is_sent_again_and_nothing_else(queue: Queue) -> None:
    given, between = past(95), Between(queue.client, times=13)
    assert queue.producer(between).send(given).messages == 95
    assert Counter(queue.bodies()) == Counter(one.body for one in given)
    assert sum(map(len, between.requests)) == 95 + 13


def test_what_is_never_taken_is_told(queue: Queue) -> None:
    with pytest.raises(Unreachable, match=f"{queue.url}: 1 messages were refused again and again"):
        queue.producer(Between(queue.client, times=1_000)).send(past(3))
    assert len(queue.bodies()) == 2


def test_a_message_that_sqs_does_not_take_is_no_reason_to_try_again(queue: Queue) -> None:
    between = Between(queue.client, times=0)
    with pytest.raises(FatalError, match="SQS takes no such message: InvalidMessageContents"):
        queue.producer(between).send([message(), message("\x00")])
    assert len(between.requests) == 1
    assert queue.bodies() == ["{}"]


def test_a_queue_that_is_not_there_is_told(queue: Queue) -> None:
    gone = Producer(queue.client, f"{queue.url}-gone", threading.Event().wait)
    with pytest.raises(SourceMissing, match="-gone: the queue is not there"):
        gone.send(past(200))


def test_no_message_goes_before_its_moment(queue: Queue) -> None:
    """The moments are those of the queue: the emulator stamps what it takes."""
    begin = datetime.now(UTC)
    given = list(islice(messages(1, begin, 200), 100))
    queue.producer().send(given)
    assert time.time() >= given[-1].at
    due, stamped = {one.body: one.at for one in given}, 0
    while answer := queue.client.receive_message(
        QueueUrl=queue.url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["SentTimestamp"]
    ).get("Messages"):
        for one in answer:
            assert int(one["Attributes"]["SentTimestamp"]) / 1000 > due[one["Body"]] - 0.002
            stamped += 1
    assert stamped == 100


def test_it_ends_when_it_is_told_and_what_it_counted_is_there(queue: Queue) -> None:
    stop, drawn = threading.Event(), 0

    def endless() -> Iterator[EventMessage]:
        nonlocal drawn
        for one in messages(1, datetime.now(UTC), 1_000):
            drawn += 1
            if drawn == 300:
                stop.set()
            yield one

    sent = Producer(queue.client, queue.url, stop.wait).send(endless())
    assert 200 <= sent.messages < 300 <= drawn < 420
    assert len(queue.bodies()) == sent.messages


def test_the_count_is_told_now_and_then(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.seed_data.events.sending.TOLD_EVERY_SECONDS", 0)
    told: list[int] = []
    Producer(queue.client, queue.url, threading.Event().wait, told.append).send(past(300))
    assert told == sorted(told)
    assert 100 < told[-1] <= 300


def sizes(given: list[EventMessage], now: float = 0.0) -> list[int]:
    made = list(batches(given, lambda: now))
    assert [one for batch in made for one in batch] == given
    return [len(batch) for batch in made]


def test_a_batch_holds_ten() -> None:
    assert sizes([message() for _ in range(25)]) == [10, 10, 5]
    assert sizes([]) == []


def test_a_batch_holds_256_kib_counted_in_bytes() -> None:
    assert sizes([message("x" * (BATCH_BYTES // 4))] * 9) == [4, 4, 1]
    assert sizes([message("x" * (BATCH_BYTES // 4 + 1))] * 9) == [3, 3, 3]
    assert sizes([message("é" * (BATCH_BYTES // 4))] * 4) == [2, 2]
    assert sizes([message("x" * BATCH_BYTES)] * 3) == [1, 1, 1]


def test_no_message_waits_long_for_others() -> None:
    at = 1_000.0
    given = [message(at=at + share * LINGER_SECONDS) for share in (0, 0.4, 0.9, 1.1, 1.9, 2.0, 9)]
    assert sizes(given) == [3, 3, 1]
    assert sizes(given, now=at + 9.5 * LINGER_SECONDS) == [7]


def test_ten_of_the_largest_fit_into_a_request() -> None:
    largest = max(len(one.body.encode()) for one in past(5_000))
    assert 10 * largest < BATCH_BYTES
