"""A scan of the source (keys and row hashes) compared with the target, by the warehouse itself."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from millrace.base.errors import CountMismatch
from millrace.base.naming import DELETED_AT, quote
from millrace.base.types import Column, text
from millrace.declaration.captures import follows_deletes
from millrace.hashes.content_hash import CONTENT_HASH
from millrace.hashes.row_hash import HASH_LENGTH
from millrace.lake.batch import Part
from millrace.lake.writer import PartWriter
from millrace.sources.chunk import batches_of_keys
from millrace.warehouse import statements
from millrace.warehouse.contents import Contents
from millrace.warehouse.modes import mode_of
from millrace.warehouse.session import count
from millrace.warehouse.stage import HASH_COLUMN, Files, Stage
from millrace.warehouse.target import Target

CONTENT_COLUMN = Column(CONTENT_HASH, CONTENT_HASH, text(HASH_LENGTH))
FETCHED_ROWS = 1_000
"""The most that a Redshift of one node gives at once."""


@dataclass(frozen=True)
class Scan:
    """A whole table as ``keys``, what identifies a row in its source, and hashes, in files under ``prefix``.
    ``canaries`` are some of its keys, which every look-up in the source must find. ``carried`` are the columns that its
    content hashes are made of; none where the sweep is not deep."""

    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    parts: tuple[Part, ...]
    prefix: str
    identity: str
    longest_bytes: Mapping[str, int]
    canaries: tuple[tuple[Any, ...], ...] = ()
    carried: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """``matched`` keys have the same row in source and target; the others come out of ``blocks``. Among those
    ``altered`` rows of the target have the right hash and other values. ``changes`` were made in the target before."""

    matched: int
    altered: int
    _connection: Any
    changes: tuple[str, ...] = ()

    def blocks(self) -> Generator[list[tuple[Any, ...]], None, None]:
        """Keys that differ, or that one side lacks, each once, in blocks that a source can be asked for. The last value
        of a row is 1 where the scan has the key, 0 where only the target has it."""
        yield from batches_of_keys(self._rows())

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        while fetched := self._fetch():
            yield from fetched

    def _fetch(self) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statements.fetch(FETCHED_ROWS))
            return list(cursor.fetchall())


def compare(
    connection: Any, stage: Stage, scan: Scan, target: Target, contents: Contents | None, *, trusts_hashes: bool
) -> Comparison:
    """Stage the scan and open the cursor; the connection is in a transaction afterwards.

    The target's policy decides which keys that the source lacks are wanted. With ``contents`` the target's own values
    are compared as well; without ``trusts_hashes`` every key differs. Raises KeyViolation, CountMismatch.
    """
    columns = [*scan.columns, HASH_COLUMN, *([CONTENT_COLUMN] if contents else [])]
    files = Files(statements.SCAN, columns, scan.parts, scan.longest_bytes, scan.prefix, target.place)
    stage.fill(files)
    stage.check_keys(files, scan.keys, scan.identity)
    if contents:
        stage.fill(_hashes_of(contents, scan, target))
    present = mode_of(target).present
    differs = statements.differs(scan.keys, marks_deleted=target.marks_deleted) if trusts_hashes else "1 = 1"
    differing = partial(statements.differing_keys, present, scan.keys, differs, is_deep=contents is not None)
    with connection.cursor() as cursor:
        in_scan, in_target = _count_sides(cursor, differing("1 = 1"))
        matched = _count_keys(cursor, scan) - in_scan
        _refuse_repeated(count(cursor, statements.count_all(present)) - matched - in_target, target)
        altered = count(cursor, statements.count_altered(present, scan.keys, differs)) if contents else 0
        cursor.execute(statements.declare_cursor(differing(_wanted_missing(target)), scan.keys))
    return Comparison(matched, altered, connection)


def _count_sides(cursor: Any, differing: str) -> tuple[int, int]:
    cursor.execute(statements.count_sides(differing))
    in_scan, in_target = cursor.fetchone()
    return int(in_scan), int(in_target)


def _count_keys(cursor: Any, scan: Scan) -> int:
    """A row that is read twice has its key twice in the scan."""
    if scan.identity:
        return count(cursor, statements.count_keys(statements.SCAN, scan.keys))
    return sum(part.rows for part in scan.parts)


def _wanted_missing(target: Target) -> str:
    """A condition: a row of the target that the scan lacks is to be deleted, and not marked as deleted already."""
    if not follows_deletes(target.deletes):
        return "1 = 0"
    return f"t.{quote(DELETED_AT)} IS NULL" if target.marks_deleted and target.deletes == "soft" else "1 = 1"


def _refuse_repeated(surplus_rows: int, target: Target) -> None:
    """Raises CountMismatch when the target holds a key more than once, which no comparison by key can tell."""
    if surplus_rows:
        raise CountMismatch(
            f"the target holds {surplus_rows} rows whose key another of its rows has",
            place=target.place,
            remedy="delete the surplus rows, or drop the target: the next run loads all of it",
        )


def _hashes_of(contents: Contents, scan: Scan, target: Target) -> Files:
    """Key and content hash of the target's rows, in the lake."""
    keys = [column for column in contents.columns if column.name in scan.keys]
    with PartWriter(contents.store, scan.prefix, "content") as writer:
        for hashes in contents.hashes(scan.keys, scan.carried):
            writer.write(hashes, keys)
        writer.close()
    columns = [*keys, CONTENT_COLUMN]
    return Files(statements.CONTENT, columns, writer.parts, writer.longest_bytes, scan.prefix, target.place)
