"""``python -m bench.events``: a consumer beside a bare loop that receives and deletes; a day of events loaded.

The queue is the emulator's, and it slows down with every message that it holds: so consumer and bare loop empty it in
turn, from the same number of messages.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice

from prefect_aws import AwsClientParameters, AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr

from local.stack import LANDING_BUCKET, WAREHOUSE_IAM_ROLE, Stack
from millrace.blocks.queue import Queue
from millrace.blocks.sql import opener, warehouse_connector
from millrace.blocks.sqs import SqsQueue
from millrace.blocks.store import BucketStore
from millrace.pipelines.events import pipeline
from millrace.queues.consumer import Budget, Pace, collect
from millrace.queues.objects import collected_prefix, put_messages
from millrace.queues.source import CollectedSource
from millrace.runs.choose import ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import BatchDestination
from millrace.seed_data.events.stream import messages
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from millrace.warehouse.warehouse import Warehouse

LANES, WAIT_SECONDS, OBJECT_MESSAGES = 8, 1, 500
PACE = Pace(lanes=LANES, object_messages=OBJECT_MESSAGES, wait_seconds=WAIT_SECONDS)
SEED, EVENTS_A_SECOND = 1, 10
DAY_OBJECT_MESSAGES = 300
"""As a consumer writes them who flushes every 30 seconds."""
PREFIX = collected_prefix("events", "events")


def credentials_of(stack: Stack) -> AwsCredentials:
    """Return the credentials of the emulator."""
    environment = stack.aws.environment()
    return AwsCredentials(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SecretStr(environment["AWS_SECRET_ACCESS_KEY"]),
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_client_parameters=AwsClientParameters(endpoint_url=stack.aws.url),
    )


def bare(queue: SqsQueue) -> None:
    """Receive and delete, in as many lanes as the consumer, until the queue is empty."""

    def lane(_: int) -> None:
        while received := queue.receive(PACE.visibility_seconds, WAIT_SECONDS):
            queue.delete([message.receipt for message in received])

    with ThreadPoolExecutor(LANES) as lanes:
        list(lanes.map(lane, range(LANES)))


def compare_rates(queue: SqsQueue, store: BucketStore, count: int, rounds: int) -> None:
    """Print both rates, of each round and their medians."""
    start = datetime.now(UTC)
    bodies = [message.body for message in islice(messages(SEED, start, EVENTS_A_SECOND), count)]
    rates: dict[str, list[float]] = {"bare loop": [], "consumer": []}
    for _ in range(rounds):
        for name, work in (
            ("bare loop", lambda: bare(queue)),
            ("consumer", lambda: collect(queue, store, PREFIX, Budget(), PACE, threading.Event(), lambda _: None)),
        ):
            fill(queue, bodies)
            rates[name].append(count / (seconds_of(work) - WAIT_SECONDS))
    for name, found in rates.items():
        print(
            f"{name:10} median {statistics.median(found):6.0f} messages/s  ({', '.join(f'{one:.0f}' for one in found)})"
        )
    ratio = statistics.median(rates["consumer"]) / statistics.median(rates["bare loop"])
    print(f"consumer / bare loop: {ratio:.2f}; peak memory of this process {peak_megabytes():.0f} MB")


def fill(queue: SqsQueue, bodies: Sequence[str]) -> None:
    """Send all of them."""
    with ThreadPoolExecutor(LANES) as lanes:
        list(lanes.map(queue.send, [bodies[first : first + 500] for first in range(0, len(bodies), 500)]))


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def peak_megabytes() -> float:
    """Return the greatest memory that this process has used until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_a_day(stack: Stack, store: BucketStore, count: int) -> None:
    """Events that lie in the lake, as consumers collected them, to the warehouse as a run does it."""
    start = datetime.now(UTC) - timedelta(days=1)
    stream = messages(SEED, start, EVENTS_A_SECOND, duplicates=0.01, malformed=0.005)
    for number in range(0, count, DAY_OBJECT_MESSAGES):
        block = [(f"{number + place}", one.body) for place, one in enumerate(islice(stream, DAY_OBJECT_MESSAGES))]
        put_messages(store, PREFIX, block, start + timedelta(seconds=number / EVENTS_A_SECOND))
    before = peak_megabytes()
    connector = warehouse_connector(stack.warehouse.url, place="bench")
    warehouse, own = Warehouse(opener(connector), REDSHIFT_DIALECT, WAREHOUSE_IAM_ROLE), pipeline.streams[0]
    begun = time.monotonic()
    with warehouse.lease(pipeline, own, "bench") as token:
        landing = BatchDestination(pipeline.name, store, REDSHIFT_DIALECT.limits, token=token)
        source = CollectedSource(store, pipeline, warehouse.find_collected)
        batch = asyncio.run(read(StreamContext(source, landing, warehouse, pipeline, own), ReadRequest()))
        decoded = time.monotonic()
        [result] = warehouse.load(pipeline, [batch] if batch else [], store)
    ended = time.monotonic()
    print(
        f"{result.read:,} events of {count // DAY_OBJECT_MESSAGES:,} objects in {ended - begun:.1f} s: read, checked "
        f"and hashed in {decoded - begun:.1f} s, loaded in {ended - decoded:.1f} s; {result.inserted:,} inserted, "
        f"{result.unchanged:,} came twice, {result.rejected:,} rejected; peak memory {before:.0f} MB before, "
        f"{peak_megabytes():.0f} MB after"
    )


def main() -> None:
    """Both measurements, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000, help="in the queue, of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=864_000, help="of the day; 0: leave it out")
    asked = parser.parse_args()
    with Stack(prefect=False) as stack:
        credentials = credentials_of(stack)
        store = BucketStore(S3Bucket(bucket_name=LANDING_BUCKET, credentials=credentials))
        if asked.rounds:
            url = stack.aws.create_queue("bench")
            compare_rates(
                SqsQueue(Queue(url=url, credentials=credentials), LANES + 2), store, asked.messages, asked.rounds
            )
        if asked.events:
            store = BucketStore(S3Bucket(bucket_name=stack.aws.create_bucket("bench-day"), credentials=credentials))
            load_a_day(stack, store, asked.events)


if __name__ == "__main__":
    main()
