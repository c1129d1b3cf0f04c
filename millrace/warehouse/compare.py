"""A scan of the source (keys and row hashes) compared with the target, by the warehouse itself.

What does not belong here: reading the source, and what is done about a difference (sweep.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.capture.chunk import blocks
from millrace.declared import follows_deletes
from millrace.lake.batch import Part
from millrace.types import Column
from millrace.warehouse import statements
from millrace.warehouse.modes import mode_of
from millrace.warehouse.session import count
from millrace.warehouse.stage import HASH_COLUMN, Files, Stage
from millrace.warehouse.target import Target

FETCHED_ROWS = 1_000
"""The most that a Redshift of one node gives at once."""


@dataclass(frozen=True)
class Scan:
    """A whole table as ``keys``, what identifies a row in its source, and hashes, in files under ``prefix``.
    ``canaries`` are some of its keys, which every look-up in the source must find."""

    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    parts: tuple[Part, ...]
    prefix: str
    identity: str
    longest_bytes: Mapping[str, int]
    canaries: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """``matched`` keys have the same row in source and target; the others come out of ``blocks``."""

    matched: int
    _connection: Any

    def blocks(self) -> Generator[list[tuple[Any, ...]], None, None]:
        """Keys that differ, or that one side lacks, each once, in blocks that a source can be asked for. The last value
        of a row is 1 where the scan has the key, 0 where only the target has it."""
        yield from blocks(self._rows())

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        while fetched := self._fetch():
            yield from fetched

    def _fetch(self) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statements.fetch(FETCHED_ROWS))
            return list(cursor.fetchall())


def compare(connection: Any, stage: Stage, scan: Scan, target: Target) -> Comparison:
    """Stage the scan and open the cursor; the connection is in a transaction afterwards.

    The target's policy decides which keys that the source lacks are wanted. Raises KeyViolation.
    """
    columns = [*scan.columns, HASH_COLUMN]
    files = Files(statements.SCAN, columns, scan.parts, scan.longest_bytes, scan.prefix, target.place)
    stage.fill(files)
    stage.check_keys(files, scan.keys, scan.identity)
    deletes, marks_deleted = target.deletes, target.marks_deleted
    present = mode_of(target).present
    differing = statements.differing_keys(present, scan.keys, marks_deleted=marks_deleted)
    missing = statements.missing_keys(present, scan.keys, marks_deleted=marks_deleted and deletes == "soft")
    scanned = count(connection, statements.count_keys(statements.SCAN, scan.keys))
    matched = scanned - count(connection, statements.count(differing))
    with connection.cursor() as cursor:
        # The driver gives moments in the session's time zone, and knows no year 0 or 10,000.
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute(statements.declare_cursor(differing, *([missing] if follows_deletes(deletes) else [])))
    return Comparison(matched, connection)
