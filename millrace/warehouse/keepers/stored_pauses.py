"""The pauses of a pipeline as an object of the lake: a copy of what the ledger said."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

import orjson

from millrace.base.errors import Conflict
from millrace.declaration.pipeline import Pipeline
from millrace.lake.store import ChangingObjects
from millrace.warehouse.ledger.pauses import Pause

ATTEMPTS = 20


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
        return {
            one["stream"]: Pause(one["stream"], datetime.fromisoformat(one["since"]), one["by"], one["reason"])
            for one in pauses
        }

    def write(self, pipeline: Pipeline, pauses: dict[str, Pause]) -> None:
        """Write the pauses that the ledger says. Raises Conflict if others write all the time."""
        key = self._key(pipeline)
        # No two versions of an object may have the same content.
        content = orjson.dumps({"pauses": list(pauses.values()), "write": secrets.token_hex(8)})
        for _ in range(ATTEMPTS):
            found = self.objects.find_version(key)
            if self.objects.replace_version(key, content, found.version if found else None):
                return
        raise Conflict(
            "the object with its pauses changes all the time",
            place=f"pipeline {pipeline.name}",
            remedy="type the command again",
        )

    def _key(self, pipeline: Pipeline) -> str:
        return f"{self.prefix}/{pipeline.name}/pauses.json"
