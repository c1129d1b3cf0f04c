"""The pauses of a pipeline as an object of the lake: a copy of what the ledger said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from millrace.declaration.pipeline import Pipeline
from millrace.lake.change_object import change_object
from millrace.lake.lease import LEASES
from millrace.lake.store import ChangingObjects, ObjectVersion
from millrace.warehouse.ledger.pauses import Pause

NAME = "pauses.json"
UNKNOWN: Mapping[str, Any] = {"pauses": None}
"""The fields of an object that says nothing: the ledger is asked."""


@dataclass(frozen=True)
class StoredPauses:
    """The pauses of the streams of one warehouse."""

    objects: ChangingObjects
    prefix: str
    """The first part of the keys of their objects."""

    def find(self, pipeline: Pipeline) -> dict[str, Pause] | None:
        """Return the pauses by stream; None if the lake does not know them, or was told too long ago."""
        found = self.objects.find_version(self._key(pipeline))
        if found is None or found.read_at - found.written_at >= pipeline.visit_every:
            return None
        pauses = orjson.loads(found.content)["pauses"]
        return None if pauses is None else {pause.stream: pause for pause in map(_parse, pauses)}

    def write(self, pipeline: Pipeline, ask: Callable[[], dict[str, Pause]]) -> dict[str, Pause]:
        """Write what the ledger says when it is asked now, and return it."""
        pauses: dict[str, Pause] = {}

        def make_content(_: ObjectVersion | None) -> Mapping[str, Any]:
            nonlocal pauses
            pauses = ask()
            return {"pauses": list(pauses.values())}

        # First: whoever changes a pause after the ledger was asked finds an object to forget, and this asks again.
        change_object(self.objects, self._key(pipeline), lambda found: None if found else UNKNOWN, _place(pipeline))
        change_object(self.objects, self._key(pipeline), make_content, _place(pipeline))
        return pauses

    def forget(self, pipeline: Pipeline) -> None:
        """Forget the pauses of a pipeline in the copies of all warehouses: the next run of each asks its ledger.

        Of all, because one warehouse may have several copies: runs may know it by several names of its host.
        """
        for key in list(self.objects.list_keys(f"{LEASES}/")):
            if key.endswith(f"/{pipeline.name}/{NAME}"):
                change_object(self.objects, key, lambda _: UNKNOWN, _place(pipeline))

    def _key(self, pipeline: Pipeline) -> str:
        return f"{self.prefix}/{pipeline.name}/{NAME}"


def _parse(value: Mapping[str, Any]) -> Pause:
    return Pause(value["stream"], datetime.fromisoformat(value["since"]), value["by"], value["reason"])


def _place(pipeline: Pipeline) -> str:
    return f"pipeline {pipeline.name}"
