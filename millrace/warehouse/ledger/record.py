"""Record a batch in the ledger, in the transaction that applies its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from millrace.lake.batch import Batch
from millrace.warehouse.ledger.entries import RecordedColumn
from millrace.warehouse.ledger.ledger import COUNTS, OF_STREAM, Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.ledger.logs import record_log

ROWS_OF_A_STATEMENT = 500
_FRESHNESS = "rows_stamped, rows_silent, age_p50_seconds, age_p95_seconds, age_max_seconds"


def record_batch(ledger: Ledger, batch: Batch, result: LoadResult, applied_at: datetime) -> None:
    """Write all entries of a batch. The caller commits them together with the rows."""
    result.check()
    progress = batch.progress
    with ledger.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO millrace.batches (batch_id, kind, pipeline, stream, target, manifest, token, read_at, "
            f"lower_bound, position, {COUNTS}, applied_at, {_FRESHNESS}) VALUES ({', '.join(['%s'] * 22)})",
            (
                batch.batch_id, batch.kind, batch.pipeline, batch.stream, result.target,
                progress.origin or batch.manifest_key,
                progress.token, batch.read_at, progress.lower, progress.position, result.read, result.inserted,
                result.updated, result.deleted, result.unchanged, result.rejected, applied_at,
                *(vars(result.freshness).values() if result.freshness else [None] * 5),
            ),
        )  # fmt: skip
    record_log(ledger, batch, applied_at)
    _record_source(ledger, batch)
    _record_selection(ledger, batch)
    _record_rejects(ledger, batch)
    _record_collected(ledger, batch)


def _record_source(ledger: Ledger, batch: Batch) -> None:
    of_stream = (batch.pipeline, batch.stream)
    source = batch.progress.source
    if not source or source == ledger.find_source(*of_stream):
        return
    with ledger.connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM millrace.sources WHERE {OF_STREAM}", of_stream)
        cursor.execute(
            "INSERT INTO millrace.sources (pipeline, stream, source) VALUES (%s, %s, %s)",
            (*of_stream, source),
        )


def _record_selection(ledger: Ledger, batch: Batch) -> None:
    of_stream, selection = (batch.pipeline, batch.stream), batch.progress.selection
    if not selection or selection == ledger.find_selection(*of_stream):
        return
    with ledger.connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM millrace.selections WHERE {OF_STREAM}", of_stream)
        cursor.execute(
            "INSERT INTO millrace.selections (pipeline, stream, selection) VALUES (%s, %s, %s)", (*of_stream, selection)
        )


def _record_collected(ledger: Ledger, batch: Batch) -> None:
    """Record the objects with messages that were not applied before."""
    of_stream, collected = (batch.pipeline, batch.stream), batch.progress.collected
    if not collected:
        return
    fresh = sorted(set(collected) - ledger.list_collected(*of_stream, min(collected)).keys())
    with ledger.connection.cursor() as cursor:
        for first in range(0, len(fresh), ROWS_OF_A_STATEMENT):
            block = fresh[first : first + ROWS_OF_A_STATEMENT]
            values = ", ".join(["(%s, %s, %s, %s)"] * len(block))
            cursor.execute(
                f"INSERT INTO millrace.collected (pipeline, stream, name, batch_id) VALUES {values}",
                [value for name in block for value in (*of_stream, name, batch.batch_id)],
            )


def _record_rejects(ledger: Ledger, batch: Batch) -> None:
    """Open the rejects of the batch, and close the rejects that it read again."""
    with ledger.connection.cursor() as cursor:
        if batch.visited_all_rows:
            cursor.execute(
                f"UPDATE millrace.rejects SET closed_by = %s WHERE {OF_STREAM} AND closed_by IS NULL",
                (batch.batch_id, batch.pipeline, batch.stream),
            )
        for closed in batch.progress.closes:
            cursor.execute(
                "UPDATE millrace.rejects SET closed_by = %s WHERE batch_id = %s AND closed_by IS NULL",
                (batch.batch_id, closed),
            )
        for rejects in batch.counts.reject_counts:
            cursor.execute(
                "INSERT INTO millrace.rejects (batch_id, pipeline, stream, reason, field, rows_rejected) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                (batch.batch_id, batch.pipeline, batch.stream, rejects.reason, rejects.field, rejects.rows),
            )


def expect_columns(ledger: Ledger, pipeline: str, stream: str, names: Sequence[str]) -> None:
    """Record that the source has columns again that it did not have for some time. Commits."""
    with ledger.connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE millrace.columns SET left_at = NULL WHERE {OF_STREAM} AND name IN %s",
            (pipeline, stream, tuple(names)),
        )
    ledger.connection.commit()


def record_columns(
    ledger: Ledger, batch: Batch, keys: Sequence[str], *, is_new: bool, existing: Collection[str]
) -> None:
    """Record which columns the target has now, and which the source does not have any more. The caller commits.

    ``is_new`` says that the target was made for this batch. Columns that are not ``existing`` in the target any more,
    and that a read of everything did not bring, are recorded as missing in the source too.
    """
    of_stream = (batch.pipeline, batch.stream)
    recorded = {} if is_new else ledger.list_columns(*of_stream)
    with ledger.connection.cursor() as cursor:
        if is_new:
            cursor.execute(f"DELETE FROM millrace.columns WHERE {OF_STREAM}", of_stream)
        for column in batch.columns:
            if column.path and column.name in recorded and not recorded[column.name].path:
                cursor.execute(
                    f"UPDATE millrace.columns SET path = %s WHERE {OF_STREAM} AND name = %s",
                    (column.path, *of_stream, column.name),
                )
            if column.name not in recorded:
                cursor.execute(
                    "INSERT INTO millrace.columns (pipeline, stream, name, path, is_key) VALUES (%s, %s, %s, %s, %s)",
                    (*of_stream, column.name, column.path, column.name in keys),
                )
        for name, left_at in _find_not_read_or_read_again(batch, recorded, existing):
            cursor.execute(
                f"UPDATE millrace.columns SET left_at = %s WHERE {OF_STREAM} AND name = %s", (left_at, *of_stream, name)
            )


def _find_not_read_or_read_again(
    batch: Batch, recorded: Mapping[str, RecordedColumn], existing: Collection[str]
) -> Iterator[tuple[str, datetime | None]]:
    """Find recorded columns that are not read any more since this batch, or are read again.

    A column that is not read is given with the moment of the read, one that is read again with None.
    """
    arriving = {column.name for column in batch.columns}
    for name, column in recorded.items():
        is_lost = batch.coverage.by_value and batch.visited_all_rows and name not in existing
        is_shown = batch.coverage.has_all_columns or is_lost
        if column.is_not_read and name in arriving:
            yield name, None
        elif not column.is_not_read and is_shown and name not in arriving:
            yield name, batch.read_at
