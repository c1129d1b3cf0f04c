"""Batches that were landed to be loaded later, together with those that come after them (``Pipeline.load_every``).

Each batch names the one before it, so what waits is a chain that goes on from the newest applied batch. A batch that
does not belong to the chain any more is read again from the position of the ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from millrace.base.errors import Conflict
from millrace.base.types import Column, DataType
from millrace.lake.batch import Batch
from millrace.lake.store import ChangingObjects
from millrace.warehouse.stream_state import StreamState

ATTEMPTS = 20


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

    def find(self, pipeline: str, stream: str, newest: str | None) -> list[LandedBatch]:
        """Return the batches that go on from the batch ``newest``, in the order in which they were read."""
        found = self.objects.find_version(self._key(pipeline, stream))
        return _follow(_parse(found.content) if found else [], newest)

    def add(self, batch: Batch, newest: str | None) -> None:
        """Add a batch behind those that go on from the batch ``newest``, and forget the others."""
        self._change(batch.pipeline, batch.stream, newest, [_describe(batch)])

    def forget_applied(self, pipeline: str, stream: str, newest: str | None) -> None:
        """Forget the batches that do not go on from the batch ``newest``."""
        self._change(pipeline, stream, newest, [])

    def _change(self, pipeline: str, stream: str, newest: str | None, added: list[LandedBatch]) -> None:
        key = self._key(pipeline, stream)
        for _ in range(ATTEMPTS):
            found = self.objects.find_version(key)
            former = _parse(found.content) if found else []
            wanted = _follow([*former, *added], newest)
            if wanted == former:
                return
            # No two versions of an object may have the same content.
            value = {"landed": [asdict(one) for one in wanted], "write": secrets.token_hex(8)}
            if self.objects.replace_version(key, orjson.dumps(value), found.version if found else None):
                return
        raise Conflict(
            "the list of its landed batches changes all the time",
            place=f"stream {pipeline}.{stream}",
            remedy="run again",
        )

    def _key(self, pipeline: str, stream: str) -> str:
        return f"{self.prefix}/{pipeline}/{stream}/landed.json"


def go_on(state: StreamState, landed: Sequence[LandedBatch]) -> StreamState:
    """Return the state of a stream once the batches that wait are loaded."""
    if not landed:
        return state
    columns = {column.name: column for column in state.columns}
    collected = list(state.collected or ())
    for one in landed:
        columns = {column["name"]: _column_of(column) for column in one.columns} | columns
        collected += one.collected
    return replace(
        state,
        position=landed[-1].position,
        newest_batch=landed[-1].batch_id,
        columns=tuple(columns.values()),
        collected=None if state.collected is None else tuple(sorted(collected)),
    )


def _follow(landed: Sequence[LandedBatch], newest: str | None) -> list[LandedBatch]:
    chain: list[LandedBatch] = []
    for one in landed:
        if one.predecessor == (chain[-1].batch_id if chain else newest):
            chain.append(one)
    return chain


def _describe(batch: Batch) -> LandedBatch:
    progress = batch.progress
    columns = ({"name": one.name, "path": one.path, "type": one.type.as_json()} for one in batch.columns)
    return LandedBatch(
        batch.batch_id,
        progress.predecessor or "",
        batch.manifest_key,
        progress.position or "",
        batch.begun_at,
        tuple(columns),
        progress.collected,
    )


def _parse(content: bytes) -> list[LandedBatch]:
    return [
        LandedBatch(
            **{
                **one,
                "landed_at": datetime.fromisoformat(one["landed_at"]),
                "columns": tuple(one["columns"]),
                "collected": tuple(one["collected"]),
            }
        )
        for one in orjson.loads(content)["landed"]
    ]


def _column_of(value: dict[str, Any]) -> Column:
    return Column(value["name"], value["path"], DataType.from_json(value["type"]))
