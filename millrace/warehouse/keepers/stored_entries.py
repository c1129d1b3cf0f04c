"""Entries of the ledger, such as the pauses of a pipeline, as an object of the lake: a copy of what the ledger said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import orjson

from millrace.declaration.pipeline import Pipeline
from millrace.lake.change_object import change_object
from millrace.lake.lease import LEASES
from millrace.lake.store import ChangingObjects, ObjectVersion
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.ledger.recorded_streams import RecordedStream

Entry = TypeVar("Entry", Pause, RecordedStream)


@dataclass(frozen=True)
class StoredEntries(Generic[Entry]):
    """Entries of one kind, for the pipelines of one warehouse."""

    objects: ChangingObjects
    prefix: str
    """The first part of the keys of their objects."""
    kind: str
    """The name of the kind: ``pauses``."""
    parse: Callable[[Mapping[str, Any]], Entry]
    """Returns an entry for its fields."""

    def find(self, pipeline: Pipeline) -> list[Entry] | None:
        """Return the entries; None if the lake does not know them, or was told too long ago."""
        found = self.objects.find_version(self._key(pipeline))
        if found is None or found.read_at - found.written_at >= pipeline.visit_every:
            return None
        entries = orjson.loads(found.content)[self.kind]
        return None if entries is None else [self.parse(fields) for fields in entries]

    def write(self, pipeline: Pipeline, ask: Callable[[], list[Entry]]) -> list[Entry]:
        """Write what the ledger says when it is asked now, and return it."""
        entries: list[Entry] = []

        def make_content(_: ObjectVersion | None) -> Mapping[str, Any]:
            nonlocal entries
            entries = ask()
            return {self.kind: entries}

        # First: whoever changes an entry after the ledger was asked finds an object to forget, and this asks again.
        unknown = {self.kind: None}
        change_object(self.objects, self._key(pipeline), lambda found: None if found else unknown, _place(pipeline))
        change_object(self.objects, self._key(pipeline), make_content, _place(pipeline))
        return entries

    def forget(self, pipeline: Pipeline) -> None:
        """Forget the entries of a pipeline in the copies of all warehouses: the next run of each asks its ledger.

        Of all, because one warehouse may have several copies: runs may know it by several names of its host.
        """
        for key in list(self.objects.list_keys(f"{LEASES}/")):
            if key.endswith(f"/{pipeline.name}/{self._name}"):
                change_object(self.objects, key, lambda _: {self.kind: None}, _place(pipeline))

    @property
    def _name(self) -> str:
        return f"{self.kind}.json"

    def _key(self, pipeline: Pipeline) -> str:
        return f"{self.prefix}/{pipeline.name}/{self._name}"


def store_pauses(objects: ChangingObjects, prefix: str) -> StoredEntries[Pause]:
    """Return the pauses of streams, as the lake keeps them."""
    return StoredEntries(objects, prefix, "pauses", _parse_pause)


def store_recorded_streams(objects: ChangingObjects, prefix: str) -> StoredEntries[RecordedStream]:
    """Return the recorded streams of wildcards, as the lake keeps them."""
    return StoredEntries(objects, prefix, "found_streams", lambda fields: RecordedStream(**fields))


def _parse_pause(fields: Mapping[str, Any]) -> Pause:
    return Pause(fields["stream"], datetime.fromisoformat(fields["since"]), fields["by"], fields["reason"])


def _place(pipeline: Pipeline) -> str:
    return f"pipeline {pipeline.name}"
