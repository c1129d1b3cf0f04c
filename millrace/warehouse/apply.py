"""Applying a staged batch to its target, by the target's load mode. Runs inside the caller's transaction.

`Merge` keeps one row per key, the newest; `History` every version. What is new or differs is found once, as the
delta, and put in; then what left the source is taken out, marked, or closed by a last version.
What does not belong here: staging, the ledger, the transaction (load.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.declared import History
from millrace.errors import CountMismatch, FatalError
from millrace.lake.batch import Batch
from millrace.naming import DELETED_AT, LOADED_AT, VERSION
from millrace.types import Column
from millrace.warehouse import statements
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Applied:
    """Rows of the target that a batch changed; ``gone`` are keys that a complete batch lacked, read as it were."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    gone: int = 0

    @property
    def changed(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.deleted


def apply(connection: Any, target: Target, batch: Batch, applied_at: datetime, held: Collection[str] | None) -> Applied:
    """Put in the rows, then see to what is gone: its absence was seen after the rows were read. ``held`` are the
    target's columns; None when there is no target, as every row was rejected or there was none.

    Raises CountMismatch when the statements did not find what they were to replace, FatalError when a key has more
    versions than can be numbered.
    """
    if held is None:
        return Applied()
    with connection.cursor() as cursor:
        inserted, updated = _put_in(cursor, target, batch, applied_at) if batch.written else (0, 0)
        gone = _find_gone(cursor, target, batch) if batch.is_complete and target.deletes != "ignore" else 0
        deleted = _delete(cursor, target, applied_at, held) if batch.deleted or gone else 0
    return Applied(inserted, updated, deleted, gone)


def planned(target: Target, columns: Sequence[Column]) -> list[str]:
    """The statements that put in rows of these columns, for people."""
    taken_out = [] if isinstance(target.load, History) else [statements.delete_changed(target)]
    return [statements.create_delta(target, columns, None), *taken_out, statements.insert_delta(target, columns)]


def _put_in(cursor: Any, target: Target, batch: Batch, applied_at: datetime) -> tuple[int, int]:
    """Rows inserted and updated."""
    cursor.execute(statements.create_delta(target, batch.columns, target.stamp if batch.identity else None))
    cursor.execute(statements.count_delta(target))
    inserted, changed = (int(count) for count in cursor.fetchone())
    if not changed:
        return 0, 0
    if isinstance(target.load, History):
        _check_versions(cursor, target, statements.count_too_many_versions(target))
    elif changed > inserted:
        _take_out_changed(cursor, target, changed - inserted)
    cursor.execute(statements.insert_delta(target, batch.columns), (applied_at,))
    _check(cursor.rowcount == changed, f"{changed} rows were to be put in and {cursor.rowcount} were", target)
    return inserted, changed - inserted


def _take_out_changed(cursor: Any, target: Target, changed: int) -> None:
    cursor.execute(statements.count_repeated_in_target(target))
    (repeated,) = cursor.fetchone()
    cursor.execute(statements.delete_changed(target))
    found = cursor.rowcount
    _check(not repeated and found == changed, f"{changed} rows were to be replaced and {found} were found", target)


def _check_versions(cursor: Any, target: Target, question: str) -> None:
    """The last number of a key is followed by the first of the next key."""
    cursor.execute(question)
    (too_many,) = cursor.fetchone()
    if too_many:
        raise FatalError(
            f"{too_many} keys have {statements.VERSIONS_OF_A_KEY - 1:,} versions, and a record id for no more",
            place=target.place,
            remedy="see why they change so often; leave out the column that does",
        )


def _check(holds: bool, problem: str, target: Target) -> None:
    if not holds:
        raise CountMismatch(
            problem,
            place=target.place,
            remedy="see whether the target holds a key more than once; nothing was committed",
        )


def _find_gone(cursor: Any, target: Target, batch: Batch) -> int:
    cursor.execute(statements.find_gone(target, is_staged=batch.written > 0))
    cursor.execute(statements.count_keys(target.gone, target.keys))
    return int(cursor.fetchone()[0])


def _delete(cursor: Any, target: Target, applied_at: datetime, held: Collection[str]) -> int:
    """Rows taken out, marked, or closed."""
    if target.deletes == "ignore":
        return 0
    if isinstance(target.load, History):
        _check_versions(cursor, target, statements.count_too_many_deletions(target))
        own = {target.load.record_id, VERSION, LOADED_AT, DELETED_AT}
        kept = [name for name in held if name not in own]
        cursor.execute(statements.insert_deletions(target, kept), (applied_at, applied_at))
    elif target.deletes == "soft":
        cursor.execute(statements.mark_gone(target), (applied_at, applied_at))
    else:
        cursor.execute(statements.delete_gone(target))
    return int(cursor.rowcount)
