"""The ledger: which batches are applied, what they counted, and so where each stream's next read starts.

It lies in the warehouse and is written in the transaction that applies the rows (promise 1). Locked first, so
that on Redshift concurrent loads wait for each other and do not end in a serialization conflict.
What does not belong here: applying rows (loader.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from millrace.database import statement
from millrace.errors import CountMismatch, Superseded
from millrace.lake.batch import Batch

_COUNTS = "rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected"


@dataclass(frozen=True)
class LoadResult:
    """What a load did. ``read`` = ``loaded`` + ``unchanged`` + ``rejected``; ``changes`` are the schema changes."""

    pipeline: str
    stream: str
    target: str
    batch_id: str
    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    changes: tuple[str, ...] = ()
    was_applied_before: bool = False

    @property
    def loaded(self) -> int:
        """Rows that changed the target."""
        return self.inserted + self.updated + self.deleted

    def check(self) -> None:
        """Raises CountMismatch unless the counts add up (promise 6)."""
        if self.read != self.loaded + self.unchanged + self.rejected:
            raise CountMismatch(
                f"read {self.read} is not loaded {self.loaded} + unchanged {self.unchanged} + rejected {self.rejected}",
                place=f"stream {self.stream}, batch {self.batch_id}",
                remedy="nothing was committed; report it with the batch's manifest",
            )


def ensure(connection: Any) -> None:
    """Make the ledger's tables where they are missing. Commits."""
    if exists(connection):
        return
    with connection.cursor() as cursor:
        cursor.execute(statement("ledger"))
    connection.commit()


def exists(connection: Any) -> bool:
    """Whether the ledger was made."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'millrace' AND table_name = 'batches'"
        )
        return bool(cursor.fetchone()[0])


def lock(connection: Any) -> None:
    """First statement of every transaction that writes the ledger; waits for its turn."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE millrace.batches")


def position(connection: Any, pipeline: str, stream: str) -> str | None:
    """Where the next read of a stream starts; None for a stream that was never loaded."""
    if not exists(connection):
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT position FROM millrace.batches WHERE pipeline = %s AND stream = %s AND position IS NOT NULL "
            "ORDER BY read_at DESC LIMIT 1",
            (pipeline, stream),
        )
        row = cursor.fetchone()
    return str(row[0]) if row else None


def columns(connection: Any, pipeline: str, stream: str) -> dict[str, str]:
    """The source's path by column name, of every column a batch of the stream has brought."""
    if not exists(connection):
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, path FROM millrace.columns WHERE pipeline = %s AND stream = %s", (pipeline, stream)
        )
        return dict(cursor.fetchall())


def applied(connection: Any, batch: Batch, target: str) -> LoadResult | None:
    """The result of this very batch if it was applied before (promise 2)."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_COUNTS} FROM millrace.batches WHERE batch_id = %s", (batch.batch_id,))
        row = cursor.fetchone()
    if row is None:
        return None
    return replace(LoadResult(batch.pipeline, batch.stream, target, batch.batch_id, *row), was_applied_before=True)


def refuse_superseded(connection: Any, batch: Batch) -> None:
    """Raises Superseded when a later read of the stream was applied: this batch would go back in time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(read_at) FROM millrace.batches WHERE pipeline = %s AND stream = %s",
            (batch.pipeline, batch.stream),
        )
        latest = cursor.fetchone()[0]
    if latest is not None and latest > batch.read_at:
        raise Superseded(
            f"batch {batch.batch_id} was read before one that is already applied",
            place=f"pipeline {batch.pipeline}, stream {batch.stream}",
            remedy="nothing to do: the later read holds its changes; run again for what changed since",
        )


def record(connection: Any, batch: Batch, manifest: str, result: LoadResult, applied_at: datetime) -> None:
    """Write the batch's row; the caller commits it together with the rows."""
    result.check()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO millrace.batches (batch_id, pipeline, stream, target, manifest, read_at, lower_bound, "
            f"position, {_COUNTS}, applied_at) VALUES ({', '.join(['%s'] * 15)})",
            (
                batch.batch_id, batch.pipeline, batch.stream, result.target, manifest, batch.read_at, batch.lower,
                batch.position, result.read, result.inserted, result.updated, result.deleted, result.unchanged,
                result.rejected, applied_at,
            ),
        )  # fmt: skip
    _record_columns(connection, batch)


def _record_columns(connection: Any, batch: Batch) -> None:
    held = columns(connection, batch.pipeline, batch.stream)
    with connection.cursor() as cursor:
        for column in batch.columns:
            if column.name not in held:
                cursor.execute(
                    "INSERT INTO millrace.columns (pipeline, stream, name, path) VALUES (%s, %s, %s, %s)",
                    (batch.pipeline, batch.stream, column.name, column.path),
                )
