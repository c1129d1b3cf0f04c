"""How far a stream has come, as an object of the lake: a copy of what the ledger said, never ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson

from millrace.base.types import Column, DataType
from millrace.change_logs.reading import LogEntry
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.change_object import change_object
from millrace.lake.lease import LakeLease
from millrace.lake.store import ChangingObjects, ObjectVersion
from millrace.warehouse.stream_state import StreamState
from millrace.warehouse.target import Target

STATE_VERSION = 5


@dataclass(frozen=True)
class StoredState:
    """The state of a stream as the lake keeps it."""

    state: StreamState
    token: int
    """Token of the newest lease when the ledger was asked."""
    settled: int
    """The first so many loads of the stream had ended when the ledger was asked."""
    age: timedelta
    """For how long the warehouse was not asked, by the clock of the store."""


@dataclass(frozen=True)
class StoredStates:
    """The states of the streams of one warehouse."""

    objects: ChangingObjects
    prefix: str
    """The first part of the keys of their objects."""

    def find(self, pipeline: Pipeline, stream: Stream, target: Target) -> StoredState | None:
        """Return the state; None if there is none, or it is of another declaration or version of the program."""
        found = self.objects.find_version(self._key(pipeline.name, stream.name))
        value = _parse(found)
        if found is None or value.get("declared") != _digest(pipeline, stream, target):
            return None
        age = found.read_at - found.written_at
        return StoredState(_state_of(value["state"]), value["token"], value["settled"], age)

    def write(
        self,
        pipeline: Pipeline,
        stream: Stream,
        target: Target,
        ask: Callable[[], StreamState],
        lease: LakeLease | None = None,
    ) -> StreamState:
        """Write what the ledger says when it is asked now, and return it.

        All loads that ``lease`` tells of have ended. None: nobody knows, so the object goes on saying what it says of
        loads, and no new object is made.
        """
        state = StreamState()

        def make_content(found: ObjectVersion | None) -> Mapping[str, Any] | None:
            nonlocal state
            state, former = ask(), _parse(found)
            if lease is None and not former:
                return None
            return {
                "version": STATE_VERSION,
                "declared": _digest(pipeline, stream, target),
                "token": lease.token if lease else former["token"],
                "settled": lease.loads if lease else former["settled"],
                "state": vars(state)
                | {
                    "columns": _columns_as_json(state.columns),
                    "child_columns": {path: _columns_as_json(found) for path, found in state.child_columns.items()},
                },
            }

        change_object(self.objects, self._key(pipeline.name, stream.name), make_content, target.place)
        return state

    def forget(self, pipeline: str, stream: str) -> None:
        """Forget the state of a stream: the next run asks the warehouse."""
        key, place = self._key(pipeline, stream), f"stream {pipeline}.{stream}"
        change_object(self.objects, key, lambda found: {} if _parse(found) else None, place)

    def _key(self, pipeline: str, stream: str) -> str:
        return f"{self.prefix}/{pipeline}/{stream}/state.json"


def _parse(found: ObjectVersion | None) -> dict[str, Any]:
    """Return the fields of an object; none of one that this version of the program did not write."""
    try:
        value = orjson.loads(found.content) if found else {}
    except ValueError:
        return {}
    return value if value.get("version") == STATE_VERSION else {}


def _digest(pipeline: Pipeline, stream: Stream, target: Target) -> str:
    """Return a digest of what a state depends on besides the warehouse: its target, and the models of the stream."""
    models = [model.name for model in pipeline.models if stream in pipeline.roots.changing(model)]
    described = [
        target.name,
        sorted(target.keys),
        sorted(target.added_columns),
        target.dialect.clock,
        models,
        stream.found_children,
    ]
    return sha256(orjson.dumps(described)).hexdigest()


def _columns_as_json(columns: Iterable[Column]) -> list[dict[str, Any]]:
    return [{"name": column.name, "path": column.path, "type": column.type.as_json()} for column in columns]


def _columns_of(values: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(Column(one["name"], one["path"], DataType.from_json(one["type"])) for one in values)


def _state_of(value: Mapping[str, Any]) -> StreamState:
    columns = {
        "columns": _columns_of(value["columns"]),
        "child_columns": {path: _columns_of(found) for path, found in value["child_columns"].items()},
    }
    moments = {name: value[name] and datetime.fromisoformat(value[name]) for name in ("last_sweep", "last_read")}
    lists: dict[str, Any] = {name: tuple(value[name]) for name in ("lost", "unfilled")}
    lists["collected"] = None if value["collected"] is None else tuple(value["collected"])
    log = value["log"] and LogEntry(**value["log"])
    return StreamState(**{**value, **moments, **lists, **columns, "log": log})
