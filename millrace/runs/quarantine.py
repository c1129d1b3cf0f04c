"""Rejected rows in the lake: those of applied batches that are still open, and those of the last refused batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice

import orjson
import polars as pl

from millrace.base.errors import SourceMissing
from millrace.base.rejects import FILE_IS_GONE, NO_LOCATION, no_rejects, read_rejects
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch, refused_prefix
from millrace.lake.manifest import read_manifest
from millrace.lake.store import ObjectStore
from millrace.sources.chunk import Read
from millrace.warehouse.ledger.ledger import OpenRejects
from millrace.warehouse.warehouse import Warehouse

LATEST_BATCHES = 20
"""A row that every window reads was rejected by one of so many."""
BATCHES_AT_ONCE = 8
"""Whose files are fetched side by side: each is small, and the way to the lake is long."""


def open_rejects(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, member: Stream | Model
) -> tuple[list[str], pl.DataFrame]:
    """The batches that have open rejects, and the rejected rows, each once as it was met last: REJECT_SCHEMA with the
    moment of the read (``read_at``) and the file that holds the row (``file``). A row whose file is not in the lake any
    more has the reason FILE_IS_GONE and no coordinates."""
    found = list(_by_batch(warehouse.open_rejects(pipeline, member)))
    with ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix=f"rejects-{member.name}") as pool:
        frames = list(pool.map(lambda one: _rows_of(store, *one), found))
    return [one.batch_id for one, _ in found], _each_once(frames)


def refused_rejects(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, member: Stream | Model
) -> pl.DataFrame:
    """What the batch rejected that was refused last, in the same form; nothing once a run went on."""
    batch = latest_refused(warehouse, store, pipeline, member)
    return _each_once([_read_all(store, batch)] if batch else [])


def latest_refused(
    warehouse: Warehouse, store: ObjectStore, pipeline: Pipeline, member: Stream | Model
) -> Batch | None:
    """The batch that was refused last for its rejects; None once the stream went on from its position, or a later batch
    of the model was applied. One that moves no position, as a backfill's, counts until any other was read and
    applied."""
    keys = list(store.list_keys(f"{refused_prefix(pipeline.name, member.name)}/"))
    if keys and isinstance(member, Model):
        batch, last = read_manifest(store, keys[-1]), warehouse.last_read(pipeline, member)
        return batch if last is None or batch.read_at > last else None
    moved, applied = warehouse.newest_tokens(pipeline, member) if keys else (0, 0)
    for key in reversed(keys):
        batch = read_manifest(store, key)
        if batch.progress.token <= moved:
            return None
        if batch.progress.position is not None or batch.progress.token > applied:
            return batch
    return None


def rejected_before(
    warehouse: Warehouse,
    store: ObjectStore,
    pipeline: Pipeline,
    stream: Stream,
    read: Read,
    coordinates: Collection[str],
    is_everything: bool,
) -> int:
    """How many of these rows count no more: those that the latest batches with open rejects rejected, too, unless
    everything was read; and, once messages came after them, those for which a batch was refused: nobody can change
    what was collected, so it must not stop what comes later."""
    left = set(coordinates)
    if not is_everything:
        for one, _ in islice(_by_batch(warehouse.open_rejects(pipeline, stream)), LATEST_BATCHES):
            if not left:
                break
            left.difference_update(_rows_of(store, one, 0)["coordinates"])
    refused = latest_refused(warehouse, store, pipeline, stream) if read.collected else None
    if refused and set(read.collected) - set(refused.progress.collected):
        left.difference_update(_read_all(store, refused)["coordinates"])
    return len(coordinates) - len(left)


def _by_batch(opened: Sequence[OpenRejects]) -> Iterator[tuple[OpenRejects, int]]:
    """One of each batch, with the number of its rejected rows."""
    for _, ones in groupby(opened, key=lambda one: one.batch_id):
        first, *others = ones
        yield first, first.rows + sum(one.rows for one in others)


def _rows_of(store: ObjectStore, one: OpenRejects, rows: int) -> pl.DataFrame:
    """Those that a batch rejected; so many ``rows`` there are, and what is missing of them is gone."""
    try:
        batch = read_manifest(store, one.manifest)
    except SourceMissing:
        return _gone(store, one.manifest, one, rows)
    found = _read_all(store, batch)
    missing = [key for key in batch.files.rejects if not store.exists(key)] if found.height < rows else []
    return pl.concat([found, *(_gone(store, key, one, rows - found.height) for key in missing[:1])])


def _read_all(store: ObjectStore, batch: Batch) -> pl.DataFrame:
    """The rows of those files of a batch that are there."""
    frames = [no_rejects().with_columns(read_at=pl.lit(batch.read_at), file=pl.lit(""))]
    for key in batch.files.rejects:
        try:
            rows = read_rejects(store.get_bytes(key))
        except SourceMissing:
            continue
        frames.append(rows.with_columns(read_at=pl.lit(batch.read_at), file=pl.lit(store.uri(key))))
    return pl.concat(frames)


def _gone(store: ObjectStore, key: str, one: OpenRejects, rows: int) -> pl.DataFrame:
    """So many rows of which nothing is known but the file that held them."""
    uri = store.uri(key)
    lost = {
        "reason": FILE_IS_GONE,
        "field": "",
        "coordinates": NO_LOCATION,
        "row": orjson.dumps({"file": uri}).decode(),
    }
    frame = pl.DataFrame([lost] * rows, schema=dict(no_rejects().schema))
    return frame.with_columns(read_at=pl.lit(one.read_at), file=pl.lit(uri))


def _each_once(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    rows = pl.concat(frames) if frames else no_rejects().with_columns(read_at=None, file=pl.lit(""))
    is_nowhere = pl.col("coordinates") == NO_LOCATION
    placed = rows.filter(~is_nowhere).unique("coordinates", keep="first", maintain_order=True)
    return pl.concat([placed, rows.filter(is_nowhere)])
