"""A landing zone on disk, for tests of what is written there rather than how."""

from __future__ import annotations

from pathlib import Path


class DirectoryStore:
    """An object store in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put_file(self, path: Path, key: str) -> int:
        target = self.directory / key
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.write_bytes(path.read_bytes())

    def get_bytes(self, key: str) -> bytes:
        return (self.directory / key).read_bytes()
