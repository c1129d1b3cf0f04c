"""A lake in memory that keeps leases and states too."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from millrace.fixtures.memory_store import MemoryLake
from millrace.lake.store import ObjectVersion


class ChangingLake(MemoryLake):
    """An ``ObjectStore`` whose other objects are replaced by compare-and-set."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._changing: dict[str, tuple[int, bytes, datetime]] = {}

    def find_version(self, key: str) -> ObjectVersion | None:
        """Return the object; None if there is none."""
        found = self._changing.get(key)
        if found is None:
            return None
        number, content, written_at = found
        return ObjectVersion(content, str(number), written_at, datetime.now(UTC))

    def replace_version(self, key: str, content: bytes, version: str | None) -> bool:
        """Write an object in the place of this version (None: of no object)."""
        with self._lock:
            found = self._changing.get(key)
            if (str(found[0]) if found else None) != version:
                return False
            self._changing[key] = (found[0] + 1 if found else 1, content, datetime.now(UTC))
            return True
