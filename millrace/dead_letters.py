"""Messages that were rejected, sent on to the queue for dead letters: after their batch was applied, and once.

A mark beside the batch tells that it was done; who dies between sending and marking makes the next run send again.
What does not belong here: why they were rejected (contract/, capture/messages.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
import polars as pl

from millrace.lake.batch import Batch
from millrace.lake.messages import BODY, collected_prefix, get_messages, object_of
from millrace.lake.store import ObjectStore
from millrace.naming import MESSAGE
from millrace.pipeline import Pipeline
from millrace.queue import MessageQueue
from millrace.rejects import read_rejects
from millrace.stream import Stream
from millrace.warehouse.loader import Warehouse

LATEST = timedelta(hours=1)
"""How far a run looks back for what an earlier one left undone."""


def send_dead_letters(
    pipeline: Pipeline, stream: Stream, warehouse: Warehouse, store: ObjectStore, queue: MessageQueue
) -> int:
    """How many were sent. What a replay, or a read of everything, rejects again was sent before, and is not."""
    since, sent = datetime.now(UTC) - LATEST, 0
    latest = {one.manifest for one in warehouse.open_rejects(pipeline, stream) if one.read_at >= since}
    for manifest in sorted(latest):
        batch = Batch.load(store, manifest)
        mark = f"{batch.prefix}/dead-letters.json"
        if not store.exists(mark):
            bodies = list(_bodies(pipeline, stream, warehouse, store, batch))
            queue.send(bodies)
            store.put_bytes(orjson.dumps({"messages": len(bodies)}), mark)
            sent += len(bodies)
    return sent


def _bodies(
    pipeline: Pipeline, stream: Stream, warehouse: Warehouse, store: ObjectStore, batch: Batch
) -> Iterator[str]:
    """Of the messages that this batch was the first to read."""
    rejected = pl.concat([read_rejects(store.get_bytes(key)) for key in batch.rejects])
    places = sorted({orjson.loads(coordinates)[MESSAGE] for coordinates in rejected["coordinates"]})
    objects = sorted(set(map(object_of, places)))
    first_read = warehouse.collected(pipeline, stream, objects[0])
    for name in objects:
        if first_read.get(name) == batch.batch_id:
            messages = get_messages(store, collected_prefix(pipeline.name, stream.name), name)
            yield from messages.filter(pl.col(MESSAGE).is_in(places))[BODY]
