"""Rejected messages are sent to the queue for dead letters once, after their batch was applied.

A mark beside the batch records that its messages were sent. If a run dies between sending and marking, the next run
sends them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
LOOK_BACK = timedelta(hours=1)
"""How far a run looks back for batches with messages that an earlier run did not send."""


@dataclass(frozen=True)
class DeadLetters:
    """What was sent to the queue for dead letters."""

    sent: int
    """Number of messages that were sent."""
    lost_files: list[str]
    """Addresses of files that are not in the lake any more: their messages cannot be sent."""


def send_dead_letters(
    pipeline: Pipeline, stream: Stream, warehouse: Warehouse, store: ObjectStore, queue: MessageQueue
) -> DeadLetters:
    """Send the messages that the latest batches were the first to read and reject.

    A message that a replay or a read of everything rejects once more was sent before, and is not sent again.
    """
    since, sent, lost = datetime.now(UTC) - LOOK_BACK, 0, list[str]()
    latest = {rejects.manifest for rejects in warehouse.list_open_rejects(pipeline, stream) if rejects.read_at >= since}
    for manifest in sorted(latest):
        if (batch := _get(partial(read_manifest, store, manifest), store.uri(manifest), lost)) is None:
            continue
        mark = f"{batch.files.prefix}/dead-letters.json"
        if not store.exists(mark):
            bodies = list(_read_bodies(pipeline, stream, warehouse, store, batch, lost))
            queue.send(bodies)
            store.put_bytes(orjson.dumps({"messages": len(bodies)}), mark)
            sent += len(bodies)
    return DeadLetters(sent, lost)


def _read_bodies(
    pipeline: Pipeline, stream: Stream, warehouse: Warehouse, store: ObjectStore, batch: Batch, lost: list[str]
) -> Iterator[str]:
    """Yield the bodies of rejected messages that this batch was the first to read."""
    files = [_get(partial(store.get_bytes, key), store.uri(key), lost) for key in batch.files.rejects]
    rejected = pl.concat([no_rejects(), *(read_rejects(file) for file in files if file)])
    addresses = sorted({orjson.loads(location)[MESSAGE_ADDRESS] for location in rejected["coordinates"]})
    objects = sorted(set(map(object_of, addresses)))
    first_read = warehouse.list_collected(pipeline, stream, objects[0]) if objects else {}
    prefix = collected_prefix(pipeline.name, stream.name)
    for name in objects:
        if first_read.get(name) != batch.batch_id:
            continue
        messages = _get(partial(get_messages, store, prefix, name), store.uri(key_of(prefix, name)), lost)
        if messages is not None:
            yield from messages.filter(pl.col(MESSAGE_ADDRESS).is_in(addresses))[BODY]


def _get(get: Callable[[], Content], file: str, lost: list[str]) -> Content | None:
    """Return what ``get`` returns; None when the file is not in the lake, which is then added to ``lost``."""
    try:
        return get()
    except SourceMissing:
        lost.append(file)
        return None
