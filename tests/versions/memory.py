"""An object store in memory, for histories that are about tables: it costs no request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class MemoryStore:
    """An ``ObjectStore``."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def uri(self, key: str) -> str:
        return f"memory://{key}"

    def put_file(self, path: Path, key: str) -> int:
        return self.put_bytes(path.read_bytes(), key)

    def put_bytes(self, data: bytes, key: str) -> int:
        assert self._objects.setdefault(key, data) == data, f"{key} is written twice"
        return len(data)

    def get_bytes(self, key: str) -> bytes:
        return self._objects[key]

    def get_file(self, key: str, path: Path) -> None:
        path.write_bytes(self._objects[key])

    def exists(self, key: str) -> bool:
        return key in self._objects

    def list_keys(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self._objects if key.startswith(prefix)))
