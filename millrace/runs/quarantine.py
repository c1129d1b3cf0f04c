"""Rejected rows in the lake: those of applied batches that are still open, and those of the last refused batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby, islice

import orjson
import polars as pl

from millrace.base.errors import SourceMissing
from millrace.base.rejects import FILE_IS_GONE, NO_LOCATION, identify_rejects, no_rejects, read_rejects
from millrace.contract.masking import hide_in_stored_rejects
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch, refused_prefix
from millrace.lake.manifest import read_manifest
from millrace.lake.store import ObjectStore
from millrace.sources.chunk import ReadFacts
from millrace.warehouse.ledger.entries import OpenRejects
from millrace.warehouse.warehouse import Warehouse

LATEST_BATCHES = 20
"""How many of the latest batches with open rejects are searched for a row that every window reads."""
_IDENTITY = "identity"
BATCHES_AT_ONCE = 8
"""How many batches have their files fetched side by side: each file is small, and the way to the lake is long."""


def read_open_rejects(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, member: Stream | Model
) -> tuple[list[str], pl.DataFrame]:
    """Return the ids of the batches that have open rejects, and the rejected rows, each once as it was met last.

    The rows have the columns of REJECT_SCHEMA, the moment of the read (``read_at``) and the file that holds the row
    (``file``). A row has the reason FILE_IS_GONE and no row location if its file is not in the lake any more.
    """
    found = list(_group_by_batch(warehouse.list_open_rejects(pipeline, member)))
    with ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix=f"rejects-{member.name}") as pool:
        frames = list(pool.map(lambda open_rejects: _read_batch(store, *open_rejects), found))
    return [open_rejects.batch_id for open_rejects, _ in found], _keep_each_once(_hide(frames, member))


def read_refused_rejects(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, member: Stream | Model
) -> pl.DataFrame:
    """Return the rows that were rejected by the batch that was refused last, in the form of ``read_open_rejects``.

    There are none once the stream or model went on (``find_refused_batch``).
    """
    batch = find_refused_batch(warehouse, store, pipeline, member)
    return _keep_each_once(_hide([_read_files(store, batch)] if batch else [], member))


def find_refused_batch(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, member: Stream | Model
) -> Batch | None:
    """Return the batch that was refused last for its rejects; None once the stream or model went on.

    A stream went on when it advanced from its position, a model when a later batch was applied. A refused batch that
    advances no position, such as that of a backfill, counts until any other batch was read and applied.
    """
    keys = list(store.list_keys(f"{refused_prefix(pipeline.name, member.name)}/"))
    if keys and isinstance(member, Model):
        batch, last = read_manifest(store, keys[-1]), warehouse.find_last_read(pipeline, member)
        return batch if last is None or batch.read_at > last else None
    advanced, applied = warehouse.find_newest_tokens(pipeline, member) if keys else (0, 0)
    for key in reversed(keys):
        batch = read_manifest(store, key)
        if batch.progress.token <= advanced:
            return None
        if batch.progress.position is not None or batch.progress.token > applied:
            return batch
    return None


def count_rejected_before(
    warehouse: Warehouse,
    store: ObjectStore,
    pipeline: Pipeline,
    stream: Stream,
    read: ReadFacts,
    identities: Collection[str],
    is_everything: bool,
) -> int:
    """Return how many of these rows do not count, because they were rejected before.

    These are rows that the latest batches with open rejects rejected too, unless everything was read; and messages for
    which a batch was refused, once other messages came after them: nobody can change what was collected, so it must
    not stop what comes later.
    """
    unseen = set(identities)
    if not is_everything:
        for open_rejects, _ in islice(_group_by_batch(warehouse.list_open_rejects(pipeline, stream)), LATEST_BATCHES):
            if not unseen:
                break
            unseen.difference_update(
                identify_rejects(hide_in_stored_rejects(_read_batch(store, open_rejects, 0), stream))
            )
    refused = find_refused_batch(warehouse, store, pipeline, stream) if read.collected else None
    if refused and set(read.collected) - set(refused.progress.collected):
        unseen.difference_update(identify_rejects(_read_files(store, refused)))
    return len(identities) - len(unseen)


def _hide(frames: Sequence[pl.DataFrame], member: Stream | Model) -> list[pl.DataFrame]:
    """Return rejects without the values that the stream masks now, whatever it masked when they were read."""
    return [hide_in_stored_rejects(frame, member) if isinstance(member, Stream) else frame for frame in frames]


def _group_by_batch(opened: Sequence[OpenRejects]) -> Iterator[tuple[OpenRejects, int]]:
    """Yield one entry of each batch, with the number of rows that the batch rejected."""
    for _, ones in groupby(opened, key=lambda rejects: rejects.batch_id):
        first, *others = ones
        yield first, first.rows + sum(rejects.rows for rejects in others)


def _read_batch(store: ObjectStore, rejects: OpenRejects, rows: int) -> pl.DataFrame:
    """Return the rows that a batch rejected. It rejected ``rows``; those that are not found are lost."""
    try:
        batch = read_manifest(store, rejects.manifest)
    except SourceMissing:
        return _lost_rows(store, rejects.manifest, rejects, rows)
    found = _read_files(store, batch)
    missing = [key for key in batch.files.rejects if not store.exists(key)] if found.height < rows else []
    return pl.concat([found, *(_lost_rows(store, key, rejects, rows - found.height) for key in missing[:1])])


def _read_files(store: ObjectStore, batch: Batch) -> pl.DataFrame:
    """Return the rejected rows of a batch, as far as their files are in the lake."""
    frames = [no_rejects().with_columns(read_at=pl.lit(batch.read_at), file=pl.lit(""))]
    for key in batch.files.rejects:
        try:
            rows = read_rejects(store.get_bytes(key))
        except SourceMissing:
            continue
        frames.append(rows.with_columns(read_at=pl.lit(batch.read_at), file=pl.lit(store.uri(key))))
    return pl.concat(frames)


def _lost_rows(store: ObjectStore, key: str, rejects: OpenRejects, rows: int) -> pl.DataFrame:
    """Return so many rejects with the reason FILE_IS_GONE: nothing is known of them but the file that held them."""
    uri = store.uri(key)
    lost = {
        "reason": FILE_IS_GONE,
        "field": "",
        "coordinates": NO_LOCATION,
        "row": orjson.dumps({"file": uri}).decode(),
    }
    frame = pl.DataFrame([lost] * rows, schema=dict(no_rejects().schema))
    return frame.with_columns(read_at=pl.lit(rejects.read_at), file=pl.lit(uri))


def _keep_each_once(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all frames, one of each batch, as they are in the first frame that has them."""
    if not frames:
        return no_rejects().with_columns(read_at=None, file=pl.lit(""))
    identities = pl.Series(_IDENTITY, chain.from_iterable(map(identify_rejects, frames)), dtype=pl.String)
    rows = pl.concat(frames).with_columns(identities)
    return rows.unique(_IDENTITY, keep="first", maintain_order=True).drop(_IDENTITY)
