"""The steps of streams that come from queues: collect messages into the lake, send on those that were rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from prefect import get_run_logger, task

from millrace import Pipeline, Queue
from millrace.base.errors import ConfigurationError
from millrace.blocks.load import load_landing, load_source_queue
from millrace.blocks.sqs import SqsQueue
from millrace.declaration.find import find_pipeline
from millrace.queues.consumer import Budget, Collected, Pace, Progress, collect
from millrace.queues.objects import collected_prefix
from millrace.runs.dead_letters import send_dead_letters
from millrace.tasks.connections import open_warehouse
from millrace.tasks.policy import TASK_OPTIONS
from millrace.tasks.progress import log_now_and_then
from millrace.tasks.signals import stop_on_signals

PROGRESS_SECONDS = 10.0
SPARE_CONNECTIONS = 2
"""Beside those of the lanes: to renew, and to end."""


@task(name="collect", task_run_name="collect {stream}", **TASK_OPTIONS)
async def collect_messages(pipeline: str, stream: str, budget: Budget, pace: Pace) -> Collected:
    """Collect until the budget is spent; SIGTERM and Ctrl-C end it early, with everything in hand written first.

    Raises ConfigurationError when the stream is none of a queue.
    """
    declared = find_pipeline(pipeline)
    declared_stream = declared.stream(stream)
    if not isinstance(declared_stream.capture, Queue):
        raise ConfigurationError(
            "it does not come from a queue", place=f"stream {pipeline}.{stream}", remedy="run it (millrace run)"
        )
    queue = SqsQueue(await load_source_queue(declared_stream.reference.connection), pace.lanes + SPARE_CONNECTIONS)
    store, prefix, report = await load_landing(), collected_prefix(declared.name, stream), _report_progress(stream)
    with stop_on_signals() as stop:
        return await asyncio.to_thread(collect, queue, store, prefix, budget, pace, stop, report)


@task(name="dead-letters", task_run_name="dead letters of {stream}", **TASK_OPTIONS)
async def forward_dead_letters(pipeline: str, stream: str, connection: str) -> int:
    """Send what was rejected to the queue of this connection, once; how many messages."""
    declared = find_pipeline(pipeline)
    warehouse, store = await open_warehouse(declared), await load_landing()
    queue = SqsQueue(await load_source_queue(connection))
    declared_stream = declared.stream(stream)
    letters = await asyncio.to_thread(send_dead_letters, declared, declared_stream, warehouse, store, queue)
    for file in letters.lost_files:
        get_run_logger().warning("%s: %s is gone, and the rejected messages in it are not sent on", stream, file)
    if letters.sent:
        get_run_logger().warning("%s: %d rejected messages sent to %s", stream, letters.sent, queue.place)
    return letters.sent


async def forward_all_dead_letters(name: str, pipeline: Pipeline, loaded: Collection[str]) -> None:
    """Send what was rejected of the streams that were loaded to the queues that they declare for it.

    ``loaded`` may contain models. ``name`` is how a request names the pipeline, by name or by path.
    """
    for stream in pipeline.streams:
        if stream.name in loaded and isinstance(stream.capture, Queue) and stream.capture.dead_letters:
            await forward_dead_letters(name, stream.name, stream.capture.dead_letters)


def _report_progress(stream: str) -> Progress:
    log = log_now_and_then(PROGRESS_SECONDS)
    return lambda collected: log("%s: %s messages in %d objects", stream, f"{collected.messages:,}", collected.objects)
