"""The result of an import, and the object with its rejected records, for both files of `stori`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from millrace.lake.store import ObjectStore


@dataclass(frozen=True)
class Reason:
    """Why ``records`` of a file were rejected.

    ``first`` is the place of one of them: its line in a CSV file, its number among the records of a JSON document, both
    counted from 1.
    """

    reason: str
    records: int
    first: int


@dataclass(frozen=True)
class Outcome:
    """Counts of the records of one file: ``read`` is the sum of the four others.

    ``rejects_key`` is the object in the landing zone with the rejected records and their ``reasons``, as NDJSON; '' if
    none was rejected.
    """

    file: str
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    rejects_key: str = ""
    reasons: tuple[Reason, ...] = ()

    @property
    def read(self) -> int:
        """Records found in the file."""
        return self.imported + self.updated + self.unchanged + self.rejected


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content, which is what a file is known by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_reasons(outcome: Outcome, store: ObjectStore) -> Outcome:
    """Return the outcome with the reasons of its rejected records, the most frequent one first."""
    if not outcome.rejects_key:
        return outcome
    rejects = map(orjson.loads, store.get_bytes(outcome.rejects_key).splitlines())
    places: dict[str, list[int]] = {}
    for one in rejects:
        for reason in one["reasons"]:
            places.setdefault(reason, []).append(one["line"] if "line" in one else one["position"])
    reasons = (Reason(reason, len(found), min(found)) for reason, found in places.items())
    return replace(outcome, reasons=tuple(sorted(reasons, key=lambda one: (-one.records, one.reason))))


def keep_rejects(rejects: Path, store: ObjectStore, name: str, source_sha256: str) -> str:
    """Put an NDJSON file of rejected records into the landing zone, unless it is empty; return its key.

    The key depends on the contents, so an import that is repeated writes the same object.
    """
    if not rejects.exists() or rejects.stat().st_size == 0:
        return ""
    key = f"rejects/stori/{name}/{source_sha256}/{sha256_of(rejects)[:16]}.ndjson"
    store.put_file(rejects, key)
    return key
