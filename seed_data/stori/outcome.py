"""What an import did, and where the records that it refused are kept. The same for both files of `stori`.

What does not belong here: reading, judging and writing of records.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from millrace.lake.store import ObjectStore


@dataclass(frozen=True)
class Outcome:
    """Records of one file, counted: ``read`` is the sum of the four others.

    ``rejects_key`` is the object in the landing zone that holds the rejected records with their reasons, as
    NDJSON; empty when none was rejected.
    """

    file: str
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    rejects_key: str = ""

    @property
    def read(self) -> int:
        """Records found in the file."""
        return self.imported + self.updated + self.unchanged + self.rejected


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content, which is what a file is known by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_rejects(rejects: Path, store: ObjectStore, name: str, source_sha256: str) -> str:
    """Put an NDJSON file of rejected records into the landing zone, when it holds any; returns its key.

    The key comes from the contents, so an import that is repeated writes the same object again.
    """
    if not rejects.exists() or rejects.stat().st_size == 0:
        return ""
    key = f"rejects/stori/{name}/{source_sha256}/{sha256_of(rejects)[:16]}.ndjson"
    store.put_file(rejects, key)
    return key
