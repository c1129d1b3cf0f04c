"""What the engine needs of an object store. blocks/store.py implements it on prefect-aws's S3Bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class ObjectStore(Protocol):
    """Immutable objects under keys. Writing a key twice with other content raises FatalError.

    All methods raise Unreachable when the service does not answer or throttles, SourceMissing for a key that is
    not there.
    """

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        ...

    def put_file(self, path: Path, key: str) -> int:
        """Store a file; returns its size in bytes."""
        ...

    def put_bytes(self, data: bytes, key: str) -> int:
        """Store bytes; returns their number."""
        ...

    def get_bytes(self, key: str) -> bytes:
        """The whole object."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """The object into a local file."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the key is there."""
        ...

    def list_keys(self, prefix: str) -> Iterator[str]:
        """All keys under a prefix, in order, however many."""
        ...
