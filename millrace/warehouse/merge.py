"""Applying a staged batch to its target: one row per key, the newest. Runs inside the caller's transaction.

What does not belong here: staging, the ledger, the transaction (loader.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.errors import CountMismatch
from millrace.lake.batch import Batch
from millrace.naming import column_name, quote
from millrace.pipeline import Pipeline, Stream
from millrace.warehouse import statements
from millrace.warehouse.dialect import Dialect


@dataclass(frozen=True)
class Target:
    """A stream's table in the warehouse. ``marks_deleted``: it has the column that marks deleted rows."""

    pipeline: Pipeline
    stream: Stream
    dialect: Dialect
    marks_deleted: bool = False

    @property
    def name(self) -> str:
        """``schema.table``, for people."""
        return f"{self.pipeline.target_schema}.{self.stream.table}"

    @property
    def quoted(self) -> str:
        """For SQL."""
        return quote(self.pipeline.target_schema, self.stream.table)

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of the key, in declared order."""
        return tuple(column_name(key) for key in self.stream.keys)

    @property
    def place(self) -> str:
        """For errors."""
        return f"stream {self.pipeline.name}.{self.stream.name} ({self.stream.source})"


@dataclass(frozen=True)
class Applied:
    """Rows of the target that a batch changed."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def apply(connection: Any, target: Target, batch: Batch, applied_at: datetime) -> Applied:
    """Merge the rows, then take out what is gone: its absence was seen after the rows were read.

    Raises CountMismatch when the statements did not find what they were to replace.
    """
    with connection.cursor() as cursor:
        inserted, updated = _merge(cursor, target, batch, applied_at) if batch.written else (0, 0)
        deleted = _delete(cursor, target, applied_at) if batch.deleted else 0
    return Applied(inserted, updated, deleted)


def _merge(cursor: Any, target: Target, batch: Batch, applied_at: datetime) -> tuple[int, int]:
    """Rows inserted and updated."""
    keys = target.keys
    latest = column_name(target.stream.capture.cursor) if batch.identity else None
    cursor.execute(statements.drop_temporary(statements.DELTA))
    cursor.execute(
        statements.create_delta(
            target.quoted, batch.columns, keys, latest, target.dialect, marks_deleted=target.marks_deleted
        )
    )
    cursor.execute(statements.count_delta())
    inserted, changed = (int(count) for count in cursor.fetchone())
    cursor.execute(statements.count_repeated_in_target(keys))
    (repeated,) = cursor.fetchone()
    cursor.execute(statements.delete_changed(target.quoted, keys))
    deleted = cursor.rowcount
    cursor.execute(statements.insert_delta(target.quoted, batch.columns), (applied_at,))
    if repeated or deleted != changed - inserted or cursor.rowcount != changed:
        raise CountMismatch(
            f"{changed - inserted} rows were to be replaced and {deleted} were found, "
            f"{changed} were to be put in and {cursor.rowcount} were",
            place=target.place,
            remedy="see whether the target holds a key more than once; nothing was committed",
        )
    return inserted, changed - inserted


def _delete(cursor: Any, target: Target, applied_at: datetime) -> int:
    """Rows taken out or marked."""
    policy = target.stream.deletes
    if policy == "hard":
        cursor.execute(statements.delete_gone(target.quoted, target.keys))
    elif policy == "soft":
        cursor.execute(statements.mark_gone(target.quoted, target.keys), (applied_at, applied_at))
    return int(cursor.rowcount) if policy != "ignore" else 0
