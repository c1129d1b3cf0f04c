"""A lake of which a person deleted an object."""

from __future__ import annotations

from typing import Any

from millrace.base.errors import SourceMissing
from millrace.lake.store import ObjectStore
from tests.support.engine import Engine


def replace_without(engine: Engine, lost: str) -> ObjectStore:
    """The lake of the engine, of which a person deleted an object."""
    engine.store = WithoutObject(engine.store, lost)
    return engine.store


class WithoutObject:
    """A store in which one object is not there any more."""

    def __init__(self, store: ObjectStore, lost: str) -> None:
        self._store, self._lost = store, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exists(self, key: str) -> bool:
        return key != self._lost and self._store.exists(key)

    def get_bytes(self, key: str) -> bytes:
        if key == self._lost:
            raise SourceMissing("there is no such object", place=self._store.uri(key))
        return self._store.get_bytes(key)
