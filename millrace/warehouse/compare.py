"""Compare a scan of the source (keys and row hashes) with the target, in the warehouse."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from millrace.base.errors import CountMismatch
from millrace.base.naming import quote
from millrace.base.types import Column, text
from millrace.declaration.captures import follows_deletes
from millrace.hashes.content_hash import CONTENT_HASH
from millrace.hashes.row_hash import HASH_LENGTH
from millrace.lake.batch import Part
from millrace.lake.part_writer import PartWriter
from millrace.sources.chunk import batches_of_keys
from millrace.warehouse import scan_statements, statements
from millrace.warehouse.contents import Contents
from millrace.warehouse.difference import Difference
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.session import fetch_count
from millrace.warehouse.stage import HASH_COLUMN, Files, Stage
from millrace.warehouse.target import Target

CONTENT_COLUMN = Column(CONTENT_HASH, CONTENT_HASH, text(HASH_LENGTH))
FETCHED_ROWS = 1_000
"""The most rows that a Redshift cluster of one node returns at once."""


@dataclass(frozen=True)
class Scan:
    """The keys and hashes of a whole table of the source, in files of the lake."""

    columns: tuple[Column, ...]
    """The columns of the files, without hashes."""
    keys: tuple[str, ...]
    """The columns that identify a row."""
    parts: tuple[Part, ...]
    """The files."""
    prefix: str
    """The first part of the keys of the files."""
    row_id_column: str
    """The column that identifies a physical row where the source has no snapshot ('': it has one)."""
    longest_bytes: Mapping[str, int]
    """The length of the longest value of every text, binary and document column."""
    canaries: tuple[tuple[Any, ...], ...] = ()
    """Some keys that were scanned. Every look-up in the source must find them."""
    carried: tuple[Column, ...] = ()
    """The columns from which content hashes are made; () if the sweep is not deep."""


@dataclass(frozen=True)
class Comparison:
    """The difference of a scan and a target: the number of equal keys, and the other keys (``fetch_blocks``)."""

    matched: int
    """How many keys have the same row in source and target."""
    altered: int
    """How many rows of the target have the right hash, but other values."""
    _connection: Any
    changes: tuple[str, ...] = ()
    """The schema changes that were made in the target before the comparison."""

    def fetch_blocks(self) -> Generator[list[tuple[Any, ...]], None, None]:
        """Yield the keys that differ or that one side lacks, each once, in blocks that a source takes in one query.

        The last value of a row is 1 if the scan has the key, 0 if only the target has it.
        """
        yield from batches_of_keys(self._fetch_rows())

    def _fetch_rows(self) -> Iterator[tuple[Any, ...]]:
        while fetched := self._fetch():
            yield from fetched

    def _fetch(self) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(scan_statements.fetch_keys(FETCHED_ROWS))
            return list(cursor.fetchall())


def compare(
    connection: Any, stage: Stage, scan: Scan, target: Target, contents: Contents | None, *, trusts_hashes: bool
) -> Comparison:
    """Stage the scan and open the cursor; the connection is in a transaction afterwards.

    The target's delete policy decides whether keys that the source lacks are reported. With ``contents`` the target's
    own values are compared as well; without ``trusts_hashes`` every key differs. Raises KeyViolation, CountMismatch.
    """
    columns = [*scan.columns, HASH_COLUMN, *([CONTENT_COLUMN] if contents else [])]
    files = Files(scan_statements.SCAN, columns, scan.parts, scan.longest_bytes, scan.prefix, target.place)
    stage.fill(files)
    stage.check_keys(files, scan.keys, scan.row_id_column)
    if contents:
        stage.fill(_write_hashes(contents, scan, target))
    live_rows = applier_of(target).live_rows
    difference = Difference(quote(scan_statements.SCAN), live_rows, scan.keys, target.marks_deleted)
    is_changed = difference.is_changed if trusts_hashes else "1 = 1"
    differing = partial(scan_statements.differing_keys, difference, is_changed, is_deep=contents is not None)
    with connection.cursor() as cursor:
        in_scan, in_target = _count_sides(cursor, differing("1 = 1"))
        matched = _count_keys(cursor, scan) - in_scan
        _refuse_repeated(fetch_count(cursor, statements.count_all(live_rows)) - matched - in_target, target)
        altered = fetch_count(cursor, scan_statements.count_altered(difference, is_changed)) if contents else 0
        cursor.execute(scan_statements.declare_cursor(differing(_is_wanted(target, difference)), scan.keys))
    return Comparison(matched, altered, connection)


def _count_sides(cursor: Any, differing: str) -> tuple[int, int]:
    cursor.execute(scan_statements.count_sides(differing))
    in_scan, in_target = cursor.fetchone()
    return int(in_scan), int(in_target)


def _count_keys(cursor: Any, scan: Scan) -> int:
    """Count the keys of a scan. A scan has a key twice if a row was read twice."""
    if scan.row_id_column:
        return fetch_count(cursor, statements.count_keys(scan_statements.SCAN, scan.keys))
    return sum(part.rows for part in scan.parts)


def _is_wanted(target: Target, difference: Difference) -> str:
    """Return the condition that a row which the source lacks is to be deleted and is not marked as deleted already."""
    if not follows_deletes(target.policies.deletes):
        return "1 = 0"
    return difference.is_unmarked if target.policies.deletes == "soft" else "1 = 1"


def _refuse_repeated(surplus_rows: int, target: Target) -> None:
    """Raise CountMismatch when the target holds a key more than once.

    A comparison by key cannot tell such rows apart.
    """
    if surplus_rows:
        raise CountMismatch(
            f"the target holds {surplus_rows} rows whose key another of its rows has",
            place=target.place,
            remedy="delete the surplus rows, or drop the target: the next run loads all of it",
        )


def _write_hashes(contents: Contents, scan: Scan, target: Target) -> Files:
    """Write key and content hash of the rows of a target into the lake."""
    keys = [column for column in contents.columns if column.name in scan.keys]
    with PartWriter(contents.unloading.store, scan.prefix, "content") as writer:
        for hashes in contents.read_hashes(scan.keys, scan.carried):
            writer.write(hashes, keys)
        writer.close()
    columns = [*keys, CONTENT_COLUMN]
    return Files(scan_statements.CONTENT, columns, writer.parts, writer.longest_bytes, scan.prefix, target.place)
