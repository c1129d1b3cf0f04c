"""Messages that were rejected, sent on to the queue for dead letters: after their batch was applied, and once.

A mark beside the batch tells that it was done; who dies between sending and marking makes the next run send again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import orjson
import polars as pl

from millrace.base.errors import SourceMissing
from millrace.base.naming import MESSAGE_ADDRESS
from millrace.base.rejects import no_rejects, read_rejects
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.manifest import read_manifest
from millrace.lake.store import ObjectStore
from millrace.queues.objects import BODY, collected_prefix, get_messages, key_of, object_of
from millrace.queues.queue import MessageQueue
from millrace.warehouse.warehouse import Warehouse

Content = TypeVar("Content")
LATEST = timedelta(hours=1)
"""How far a run looks back for what an earlier one left undone."""


def send_dead_letters(
    pipeline: Pipeline, stream: Stream, warehouse: Warehouse, store: ObjectStore, queue: MessageQueue
) -> tuple[int, list[str]]:
    """How many were sent, and the files that are gone, with which messages were lost. What a replay, or a read of
    everything, rejects again was sent before, and is not."""
    since, sent, gone = datetime.now(UTC) - LATEST, 0, list[str]()
    latest = {one.manifest for one in warehouse.open_rejects(pipeline, stream) if one.read_at >= since}
    for manifest in sorted(latest):
        if (batch := _found(partial(read_manifest, store, manifest), store.uri(manifest), gone)) is None:
            continue
        mark = f"{batch.files.prefix}/dead-letters.json"
        if not store.exists(mark):
            bodies = list(_bodies(pipeline, stream, warehouse, store, batch, gone))
            queue.send(bodies)
            store.put_bytes(orjson.dumps({"messages": len(bodies)}), mark)
            sent += len(bodies)
    return sent, gone


def _bodies(
    pipeline: Pipeline, stream: Stream, warehouse: Warehouse, store: ObjectStore, batch: Batch, gone: list[str]
) -> Iterator[str]:
    """Of the messages that this batch was the first to read."""
    files = [_found(partial(store.get_bytes, key), store.uri(key), gone) for key in batch.files.rejects]
    rejected = pl.concat([no_rejects(), *(read_rejects(one) for one in files if one)])
    places = sorted({orjson.loads(coordinates)[MESSAGE_ADDRESS] for coordinates in rejected["coordinates"]})
    objects = sorted(set(map(object_of, places)))
    first_read = warehouse.collected(pipeline, stream, objects[0]) if objects else {}
    prefix = collected_prefix(pipeline.name, stream.name)
    for name in objects:
        if first_read.get(name) != batch.batch_id:
            continue
        messages = _found(partial(get_messages, store, prefix, name), store.uri(key_of(prefix, name)), gone)
        if messages is not None:
            yield from messages.filter(pl.col(MESSAGE_ADDRESS).is_in(places))[BODY]


def _found(get: Callable[[], Content], file: str, gone: list[str]) -> Content | None:
    """What is in a file; None when it is not there, and then it is among those that are ``gone``."""
    try:
        return get()
    except SourceMissing:
        gone.append(file)
        return None
