"""What the engine needs of an object store. blocks/store.py implements it on prefect-aws's S3Bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


class ObjectStore(Protocol):
    """Immutable objects under keys. Writing a key twice with other content raises FatalError.

    All methods raise Unreachable when the service does not answer or throttles, SourceMissing for a key that is
    not there.
    """

    def uri(self, key: str) -> str:
        """Return the address of an object: ``s3://bucket/key``."""
        ...

    def put_file(self, path: Path, key: str) -> int:
        """Store a file. Return its size in bytes."""
        ...

    def put_bytes(self, data: bytes, key: str) -> int:
        """Store bytes. Return their number."""
        ...

    def get_bytes(self, key: str) -> bytes:
        """Return the content of an object."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Write the content of an object into a local file."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether there is an object with this key."""
        ...

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield all keys that begin with ``prefix``, in order, however many there are."""
        ...


@dataclass(frozen=True)
class ObjectVersion:
    """An object as it was read; all times are those of the store's clock."""

    content: bytes
    version: str
    """Tells this version of the object from all others."""
    written_at: datetime
    """When this version was written."""
    read_at: datetime
    """When the store answered."""


class ChangingObjects(Protocol):
    """Objects that are replaced, each time only by whoever read the last version (compare-and-set)."""

    def find_version(self, key: str) -> ObjectVersion | None:
        """Return the object; None if there is none."""
        ...

    def replace_version(self, key: str, content: bytes, version: str | None) -> bool:
        """Write an object in the place of this version (None: of no object). Return False if another one is there.

        No two versions of an object may have the same content. Raises what ``ObjectStore`` raises.
        """
        ...

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield all keys that begin with ``prefix``, in order."""
        ...
