"""Batches that were landed to be loaded later, together with those that come after them (``Pipeline.load_every``).

Each batch names the one before it, so what waits is a chain that goes on from the newest applied batch. A batch that
does not belong to the chain any more is read again from the position of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from millrace.base.types import Column, DataType, add_columns
from millrace.declaration.row_shape import digest_row_shape
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.change_object import change_object
from millrace.lake.store import ChangingObjects, ObjectVersion
from millrace.warehouse.stream_state import StreamState


@dataclass(frozen=True)
class LandedBatch:
    """A batch that waits in the lake for its load."""

    batch_id: str
    predecessor: str
    """Id of the batch before it."""
    manifest: str
    """Key of its manifest in the landing zone."""
    position: str
    """Where the next window begins."""
    landed_at: datetime
    """Beginning of its read, by the clock of the runner."""
    read_at: datetime
    """Moment of its read, by the clock of the source."""
    row_shape: str
    """Digest of what the declaration of the stream made of its rows (declaration/row_shape.py)."""
    columns: tuple[dict[str, Any], ...] = ()
    """Its columns, as JSON."""
    collected: tuple[str, ...] = ()
    """The objects with messages that it holds."""


@dataclass(frozen=True)
class LandedBatches:
    """The batches that wait, by stream, for one warehouse."""

    objects: ChangingObjects
    prefix: str
    """The first part of the keys of their objects."""

    def find(self, pipeline: str, stream: Stream, newest: str | None) -> list[LandedBatch]:
        """Return the batches that go on from the batch ``newest``, in the order in which they were read.

        Batches that were read by another declaration of the stream are left out, and those after them.
        """
        return _follow(self._read(pipeline, stream), stream, newest)

    def add(self, stream: Stream, batch: Batch, newest: str | None) -> None:
        """Add a batch behind those that go on from the batch ``newest``, and forget the others."""
        self._change(batch.pipeline, stream, newest, [_describe(batch, stream)])

    def forget_applied(self, pipeline: str, stream: Stream, newest: str | None) -> None:
        """Forget the batches that do not go on from the batch ``newest``."""
        self._change(pipeline, stream, newest, [])

    def forget_outdated(self, pipeline: str, stream: Stream) -> int:
        """Forget all batches if one was read by another declaration of the stream; return how many there were."""
        landed = self._read(pipeline, stream)
        if all(one.row_shape == digest_row_shape(stream) for one in landed):
            return 0
        self.forget(pipeline, stream.name)
        return len(landed)

    def forget(self, pipeline: str, stream: str) -> None:
        """Forget all batches of a stream."""
        change_object(
            self.objects,
            self._key(pipeline, stream),
            lambda found: {"landed": []} if _parse(found) else None,
            f"stream {pipeline}.{stream}",
        )

    def _read(self, pipeline: str, stream: Stream) -> list[LandedBatch]:
        return _parse(self.objects.find_version(self._key(pipeline, stream.name)))

    def _change(self, pipeline: str, stream: Stream, newest: str | None, added: list[LandedBatch]) -> None:
        def make_content(found: ObjectVersion | None) -> Mapping[str, Any] | None:
            former = _parse(found)
            wanted = _follow([*former, *added], stream, newest)
            return None if wanted == former else {"landed": [asdict(one) for one in wanted]}

        key, place = self._key(pipeline, stream.name), f"stream {pipeline}.{stream.name}"
        change_object(self.objects, key, make_content, place)

    def _key(self, pipeline: str, stream: str) -> str:
        return f"{self.prefix}/{pipeline}/{stream}/landed.json"


def go_on(state: StreamState, landed: Sequence[LandedBatch]) -> StreamState:
    """Return the state of a stream once the batches that wait are loaded."""
    if not landed:
        return state
    columns = {column.name: column for column in state.columns}
    collected = list(state.collected or ())
    for one in landed:
        columns = add_columns(columns, map(_column_of, one.columns))
        collected += one.collected
    return replace(
        state,
        position=landed[-1].position,
        newest_batch=landed[-1].batch_id,
        last_read=landed[-1].read_at,
        columns=tuple(columns.values()),
        collected=None if state.collected is None else tuple(sorted(collected)),
    )


def _follow(landed: Sequence[LandedBatch], stream: Stream, newest: str | None) -> list[LandedBatch]:
    row_shape, chain = digest_row_shape(stream), list[LandedBatch]()
    for one in landed:
        if one.row_shape == row_shape and one.predecessor == (chain[-1].batch_id if chain else newest):
            chain.append(one)
    return chain


def _describe(batch: Batch, stream: Stream) -> LandedBatch:
    progress = batch.progress
    columns = ({"name": one.name, "path": one.path, "type": one.type.as_json()} for one in batch.columns)
    return LandedBatch(
        batch.batch_id,
        progress.predecessor or "",
        batch.manifest_key,
        progress.position or "",
        batch.begun_at,
        batch.read_at,
        digest_row_shape(stream),
        tuple(columns),
        progress.collected,
    )


def _parse(found: ObjectVersion | None) -> list[LandedBatch]:
    return [_parse_batch(one) for one in (orjson.loads(found.content)["landed"] if found else [])]


def _parse_batch(value: Mapping[str, Any]) -> LandedBatch:
    # A program of before recorded neither the moment of the read nor the declaration: such a batch is read again.
    moments = {name: datetime.fromisoformat(value.get(name, value["landed_at"])) for name in ("landed_at", "read_at")}
    lists = {name: tuple(value[name]) for name in ("columns", "collected")}
    return LandedBatch(**{"row_shape": "", **value, **moments, **lists})


def _column_of(value: dict[str, Any]) -> Column:
    return Column(value["name"], value["path"], DataType.from_json(value["type"]))
