"""Messages from a real queue into the lake: nothing is lost, and nothing is deleted before it is safe."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect_aws import AwsClientParameters, AwsCredentials

from local.stack import Stack
from millrace.base.errors import ConfigurationError, Unreachable
from millrace.blocks.queue import Queue
from millrace.blocks.sqs import SqsQueue
from millrace.blocks.store import BucketStore
from millrace.queues.consumer import Budget, Collected, Pace, collect
from millrace.queues.objects import BODY, first_name, get_messages, list_names, put_messages, time_of
from millrace.queues.queue import Message
from tests.conftest import unique
from tests.support.engine import bucket_store

PREFIX = "events/events/collected"
QUICK = Pace(lanes=4, object_messages=100, flush_seconds=0.5, visibility_seconds=4, wait_seconds=1)


@pytest.fixture
def queue(stack: Stack, aws_environment: dict[str, str]) -> SqsQueue:
    """An empty one."""
    url = stack.aws.client("sqs").create_queue(QueueName=unique("events"))["QueueUrl"]
    credentials = AwsCredentials(
        aws_access_key_id=aws_environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws_environment["AWS_SECRET_ACCESS_KEY"],
        region_name=aws_environment["AWS_DEFAULT_REGION"],
        aws_client_parameters=AwsClientParameters(endpoint_url=stack.aws.url),
    )
    return SqsQueue(Queue(url=url, credentials=credentials))


@pytest.fixture
def store(stack: Stack, bucket: str) -> BucketStore:
    return bucket_store(stack, bucket)


def bodies(store: BucketStore) -> list[str]:
    """Of everything that was collected."""
    return [body for name in list_names(store, PREFIX) for body in get_messages(store, PREFIX, name)[BODY]]


def run(queue: Any, store: Any, pace: Pace = QUICK, stop: threading.Event | None = None, **budget: Any) -> Collected:
    return collect(queue, store, PREFIX, Budget(**budget), pace, stop or threading.Event(), lambda _: None)


def test_everything_is_collected_in_objects_of_a_useful_size_and_deleted(queue: SqsQueue, store: BucketStore) -> None:
    sent = [f"message {number} é\n" for number in range(505)]
    queue.send(sent)
    collected = run(queue, store)
    assert Counter(bodies(store)) == Counter(sent)
    assert (collected.messages, collected.returning) == (505, 0)
    assert 5 <= collected.objects <= 9
    assert not queue.receive(1, 5), "nothing comes again"


def test_two_consumers_share_the_work(queue: SqsQueue, store: BucketStore) -> None:
    sent = [str(number) for number in range(400)]
    queue.send(sent)
    with ThreadPoolExecutor(2) as pool:
        shares = list(pool.map(lambda _: run(queue, store), range(2)))
    assert Counter(bodies(store)) == Counter(sent)
    assert sum(share.messages for share in shares) == 400


class Broken:
    """A store that takes nothing."""

    def __init__(self, store: BucketStore, error: Exception | None = None) -> None:
        self._store, self._error = store, error
        self.is_stored = False

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def put_bytes(self, data: bytes, key: str) -> int:
        raise Unreachable("no answer", place="S3", remedy="none")


def test_what_could_not_be_stored_is_given_back_at_once(queue: SqsQueue, store: BucketStore) -> None:
    sent = [str(number) for number in range(50)]
    queue.send(sent)
    with pytest.raises(Unreachable):
        run(queue, Broken(store), pace=Pace(lanes=2, object_messages=20, visibility_seconds=600, wait_seconds=1))
    collected = run(queue, store)
    assert (sorted(bodies(store)), collected.messages) == (sorted(sent), 50)


class Watched:
    """A store that looks whether a message was deleted before it was stored."""

    def __init__(self, store: BucketStore, look: Callable[[], None]) -> None:
        self._store, self._look = store, look

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def put_bytes(self, data: bytes, key: str) -> int:
        self._look()
        return self._store.put_bytes(data, key)


def waiting(stack: Stack, queue: SqsQueue) -> int:
    """Messages that the queue holds, in somebody's hand or not."""
    kinds = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    found = stack.aws.client("sqs").get_queue_attributes(QueueUrl=queue._url, AttributeNames=list(kinds))
    return sum(int(found["Attributes"][kind]) for kind in kinds)


def test_nothing_is_deleted_before_its_object_is_durable(stack: Stack, queue: SqsQueue, store: BucketStore) -> None:
    queue.send([str(number) for number in range(60)])
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((waiting(stack, queue), len(bodies(store))))

    run(queue, Watched(store, look), pace=Pace(lanes=1, object_messages=20, wait_seconds=1))
    assert seen == [(60, 0), (40, 20), (20, 40)]
    assert waiting(stack, queue) == 0


def test_messages_stay_ours_while_they_wait(queue: SqsQueue, store: BucketStore) -> None:
    """Twice as long as their visibility lasts."""
    queue.send(["slow"])
    stop, others = threading.Event(), list[Message]()
    pace = Pace(lanes=1, flush_seconds=60, visibility_seconds=2, wait_seconds=1)
    with ThreadPoolExecutor(1) as pool:
        consumer = pool.submit(run, queue, store, pace, stop, until_empty=False)
        time.sleep(1)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            others += queue.receive(1, 1)
        stop.set()
        collected = consumer.result()
    assert not others
    assert (collected.messages, bodies(store)) == (1, ["slow"])


def test_a_message_that_its_consumer_lost_comes_to_another(queue: SqsQueue, store: BucketStore) -> None:
    queue.send(["lost"])
    assert queue.receive(2, 1), "taken by one that dies"
    collected = run(queue, store, pace=Pace(lanes=1, wait_seconds=5))
    assert (collected.messages, bodies(store)) == (1, ["lost"])


def test_stop_writes_what_is_in_hand(queue: SqsQueue, store: BucketStore) -> None:
    queue.send([str(number) for number in range(30)])
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    collected = run(queue, store, Pace(lanes=2, flush_seconds=600, wait_seconds=1), stop, until_empty=False)
    assert (collected.messages, len(bodies(store))) == (30, 30)


@pytest.mark.parametrize("budget", [{"messages": 100}, {"seconds": 2.0}])
def test_a_budget_ends_it(queue: SqsQueue, store: BucketStore, budget: dict[str, Any]) -> None:
    sent = [str(number) for number in range(300)]
    queue.send(sent)
    collected = run(queue, store, Pace(lanes=2, object_messages=50, wait_seconds=1), until_empty=False, **budget)
    assert collected.messages == len(bodies(store))
    assert 100 <= collected.messages < 140 if "messages" in budget else collected.messages == 300
    rest = run(queue, store)
    assert collected.messages + rest.messages == 300


def test_messages_wait_for_their_object_no_longer_than_they_may(queue: SqsQueue, store: BucketStore) -> None:
    """Though a long poll would last much longer."""
    queue.send(["first"])
    stop = threading.Event()
    pace = Pace(lanes=1, flush_seconds=1, visibility_seconds=60, wait_seconds=20)
    with ThreadPoolExecutor(1) as pool:
        consumer = pool.submit(run, queue, store, pace, stop, until_empty=False)
        deadline = time.monotonic() + 10
        while not bodies(store) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert bodies(store) == ["first"]
        stop.set()
        queue.send(["last"])
        assert consumer.result().messages == 2


def test_a_queue_that_is_not_there(stack: Stack, queue: SqsQueue, store: BucketStore) -> None:
    stack.aws.client("sqs").delete_queue(QueueUrl=queue._url)
    with pytest.raises(ConfigurationError, match="queue"):
        run(queue, store)


def test_objects_are_found_by_time_across_days_and_pages(store: BucketStore) -> None:
    start = datetime(2026, 2, 27, 23, 59, 50, tzinfo=UTC)
    put = [
        put_messages(store, PREFIX, [("", str(second))], start + timedelta(hours=7 * second)) for second in range(12)
    ]
    assert list(list_names(store, PREFIX)) == put
    assert list(list_names(store, PREFIX, time_of(put[3]), time_of(put[9]))) == put[3:9]
    assert list(list_names(store, PREFIX, time_of(put[5]))) == put[5:]
    assert first_name(time_of(put[4])) < put[4] < first_name(time_of(put[4]) + timedelta(microseconds=1))
