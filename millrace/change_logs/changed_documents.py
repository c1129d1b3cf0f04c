"""The changed keys of a change stream, in memory that grows with the number of documents and not of changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import bson
import polars as pl

from millrace.change_logs.reading import MOST_KEYS
from millrace.sources.mongo_keys import LOGGED_KEY
from millrace.sources.object_ids import DOCUMENT_KEY

WRITES = frozenset({"insert", "update", "replace", "delete"})
END = "invalidate"
"""The event after which a stream tells nothing more: its database was dropped."""
ENDS = frozenset({"dropDatabase", END})
"""Events that concern all collections of a database."""
FIELDS = ("operationType", "ns", "to", "documentKey", "clusterTime", "wallTime")
"""What is asked for of an event: nothing whose size depends on the document."""


def find_commit_time(event: Any) -> datetime:
    """Return when a change was committed: to the millisecond from MongoDB 6.0 on, before that to the second."""
    moment: datetime = event.get("wallTime") or event["clusterTime"].as_datetime()
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class ChangedDocuments:
    """What the events of a change stream say of some collections of a database. ``add`` them in their order."""

    def __init__(self, collections: set[str]) -> None:
        self._keys: dict[str, dict[bytes, datetime]] = {name: {} for name in collections}
        self._gaps: dict[str, str] = {}
        self.newest: datetime | None = None
        """When the newest change of them was committed; None: there is none."""

    def add(self, event: Any) -> None:
        """Add what an event says, which is a raw document of BSON."""
        operation = event["operationType"]
        if operation in WRITES:
            self._add_key(event["ns"]["coll"], event["documentKey"], find_commit_time(event))
            return
        concerned = [namespace.get("coll") for namespace in (event.get("ns"), event.get("to")) if namespace]
        for name in self._keys if operation in ENDS else self._keys.keys() & set(concerned):
            self._gaps.setdefault(name, f"the log tells of the collection: {operation}")

    def find_gap(self, collection: str) -> str:
        """Return why the changed keys of a collection are not all that changed; '': they are."""
        return self._gaps.get(collection, "")

    def of(self, collection: str) -> pl.DataFrame:
        """Return the changed keys of a collection, each once, with ``is_deleted`` and ``committed_at``.

        A document that is not there by its exact ``_id`` is deleted, whatever its last change was: the documents are
        read after the log.
        """
        keys = self._keys[collection]
        return pl.DataFrame(
            {
                LOGGED_KEY: pl.Series(list(keys.keys()), dtype=pl.Binary),
                "is_deleted": pl.repeat(True, len(keys), dtype=pl.Boolean, eager=True),
                "committed_at": pl.Series(list(keys.values()), dtype=pl.Datetime("us", "UTC")),
            }
        )

    def _add_key(self, collection: str, document_key: Any, committed_at: datetime) -> None:
        self.newest = committed_at if self.newest is None else max(self.newest, committed_at)
        # Of a sharded collection the fields of the shard key are there as well.
        key = document_key.raw if len(document_key) == 1 else bson.encode({DOCUMENT_KEY: document_key[DOCUMENT_KEY]})
        keys = self._keys[collection]
        if len(keys) <= MOST_KEYS:
            keys[key] = committed_at
        else:
            self._gaps.setdefault(collection, f"more than {MOST_KEYS:,} documents changed")
