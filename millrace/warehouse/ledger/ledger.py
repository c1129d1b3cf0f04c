"""The ledger: which batches were applied, with their counts and rejects, and so where each stream's next read starts.

It lies in the warehouse and is written in the transaction that applies the rows (promise 1). It is locked first, so
that on Redshift concurrent loads wait for each other and do not end in a serialization conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from millrace.lake.batch import Batch
from millrace.warehouse.ledger.entries import AppliedBatch, OpenRejects, RecordedColumn
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.ledger.versions import LEDGER, VERSION, read_version, upgrade
from millrace.warehouse.session import lock_table

OF_STREAM = "pipeline = %s AND stream = %s"
_NEWEST_FIRST = "ORDER BY token DESC, applied_at DESC"
"""Tokens grow with every lease. Batches without a lease (token 0) are in the order of their commits."""
_POSITIONS = f"SELECT position FROM millrace.batches WHERE {OF_STREAM} AND (position IS NOT NULL OR kind = 'reset')"
"""A reset has a position too, which is NULL if it set the stream back to the beginning (reset.py)."""
COUNTS = "rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected"


class Ledger:
    """The ledger as one connection sees it. The caller commits, except for ``ensure``."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._version = 0

    def ensure(self) -> None:
        """Create the ledger, or upgrade it to this program's version. Commits."""
        if self._version < VERSION:
            upgrade(self.connection)
            self._version = VERSION

    @property
    def version(self) -> int:
        """The version of the ledger in the warehouse; 0: there is none.

        It is queried once, because no ledger is ever dropped.
        """
        if not self._version:
            self._version = read_version(self.connection)
        return self._version

    def lock(self) -> None:
        """Begin a transaction that writes the ledger, and wait until other such transactions have ended."""
        lock_table(self.connection, LEDGER)

    def find_position(self, pipeline: str, stream: str) -> str | None:
        """Return the newest position of a stream, whatever its time is; None for a stream that was never loaded."""
        row = self.fetch_first(f"{_POSITIONS} {_NEWEST_FIRST} LIMIT 1", (pipeline, stream))
        return str(row[0]) if row and row[0] is not None else None

    def find_newest_batch(self, pipeline: str, stream: str, *, besides: str = "") -> str:
        """Return the id of the batch that was applied last, not counting ``besides``; '' if there is none."""
        row = self.fetch_first(
            f"SELECT batch_id FROM millrace.batches WHERE {OF_STREAM} AND batch_id <> %s {_NEWEST_FIRST} LIMIT 1",
            (pipeline, stream, besides),
        )
        return str(row[0]) if row else ""

    def find_newest_tokens(self, pipeline: str, stream: str) -> tuple[int, int]:
        """Return two tokens: of the newest batch that advanced the position, and of the newest batch of a new read.

        A batch that only read rejects again, and a reset, are no new read. Tokens are 0 if there is no such batch.
        """
        row = self.fetch_first(
            "SELECT max(CASE WHEN position IS NOT NULL THEN token END), max(CASE WHEN kind <> 'replay' THEN token END) "
            f"FROM millrace.batches WHERE {OF_STREAM} AND kind <> 'reset'",
            (pipeline, stream),
        )
        moved, applied = row or (None, None)
        return int(moved or 0), int(applied or 0)

    def find_position_until(self, pipeline: str, stream: str, now: datetime) -> str | None:
        """Return where the next read starts: the newest position that is not after ``now``."""
        newest = self.find_position(pipeline, stream)
        if newest is None or not _is_after(newest, now):
            return newest
        rows = self.fetch_all(f"{_POSITIONS} {_NEWEST_FIRST}", (pipeline, stream))
        return next((position for (position,) in rows if position is None or not _is_after(position, now)), None)

    def find_last_sweep(self, pipeline: str, stream: str, now: datetime) -> datetime | None:
        """Return when the stream was last read as a whole: by its latest sweep, else by its first load; None if never.

        A read after ``now``, by a source's clock that was ahead, does not count.
        """
        row = self.fetch_first(
            "SELECT coalesce(max(CASE WHEN kind = 'sweep' THEN read_at END), min(read_at)) FROM millrace.batches "
            f"WHERE {OF_STREAM} AND position IS NOT NULL AND kind <> 'reset' AND read_at <= %s",
            (pipeline, stream, now),
        )
        return row[0] if row else None

    def find_last_read(self, pipeline: str, stream: str, now: datetime) -> datetime | None:
        """Return when the newest batch was read that was not read after ``now``; None if there is no batch."""
        row = self.fetch_first(
            f"SELECT read_at FROM millrace.batches WHERE {OF_STREAM} AND kind <> 'reset' AND read_at <= %s "
            f"{_NEWEST_FIRST} LIMIT 1",
            (pipeline, stream, now),
        )
        return row[0] if row else None

    def find_source(self, pipeline: str, stream: str) -> str:
        """Return the source of the rows in a stream's target; '' if it was not recorded."""
        rows = self.fetch_all(f"SELECT source FROM millrace.sources WHERE {OF_STREAM}", (pipeline, stream), since=2)
        return str(rows[0][0]) if rows else ""

    def find_selection(self, pipeline: str, stream: str) -> str:
        """Return which rows of its source a stream's target holds; '' if it was not recorded."""
        row = self.fetch_first(
            f"SELECT selection FROM millrace.selections WHERE {OF_STREAM}", (pipeline, stream), since=4
        )
        return str(row[0]) if row else ""

    def find_former_name(self, pipeline: str, stream: str, source: str, declared: Sequence[str]) -> str:
        """Return the stream that was loaded from a source and that is not among the ``declared`` ones.

        '' if there is none, or if ``stream`` was loaded itself.
        """
        row = self.fetch_first(
            "SELECT stream FROM millrace.sources WHERE pipeline = %s AND source = %s AND stream NOT IN %s "
            f"AND NOT EXISTS (SELECT 1 FROM millrace.batches WHERE {OF_STREAM}) ORDER BY stream LIMIT 1",
            (pipeline, source, tuple(declared), pipeline, stream),
            since=2,
        )
        return str(row[0]) if row else ""

    def list_applied(self, pipeline: str, streams: Sequence[str]) -> list[AppliedBatch]:
        """Return the batches of some streams in the order in which they were applied."""
        changes = "rows_inserted + rows_updated + rows_deleted + rows_rejected > 0"
        rows = self.fetch_all(
            f"SELECT applied_at, stream, manifest, rows_read, {changes} FROM millrace.batches "
            "WHERE pipeline = %s AND stream IN %s AND kind <> 'reset' ORDER BY applied_at, token, batch_id",
            (pipeline, tuple(streams)),
        )
        return [AppliedBatch(*row) for row in rows]

    def list_members(self, pipeline: str) -> set[str]:
        """Return the names of the streams and models of which a batch was applied."""
        rows = self.fetch_all("SELECT DISTINCT stream FROM millrace.batches WHERE pipeline = %s", (pipeline,))
        return {name for (name,) in rows}

    def has_rows(self, pipeline: str, stream: str, *, keeps_deleted: bool) -> bool:
        """Return whether more rows were inserted into the stream's target than were deleted from it.

        From a target that ``keeps_deleted`` rows none are deleted.
        """
        rows = "rows_inserted" if keeps_deleted else "rows_inserted - rows_deleted"
        row = self.fetch_first(
            f"SELECT coalesce(sum({rows}), 0) FROM millrace.batches WHERE {OF_STREAM}",
            (pipeline, stream),
        )
        return bool(row and row[0] > 0)

    def list_collected(self, pipeline: str, stream: str, since: str) -> dict[str, str]:
        """Return the objects with messages that were applied, each with the batch that read it first.

        Only objects with the name ``since`` or a later name are listed.
        """
        rows = self.fetch_all(
            f"SELECT name, batch_id FROM millrace.collected WHERE {OF_STREAM} AND name >= %s",
            (pipeline, stream, since),
        )
        return dict(row for row in rows)

    def list_columns(self, pipeline: str, stream: str) -> dict[str, RecordedColumn]:
        """Return every column that a batch of the stream has brought, by name."""
        rows = self.fetch_all(
            f"SELECT name, path, is_key, left_at IS NOT NULL FROM millrace.columns WHERE {OF_STREAM}",
            (pipeline, stream),
        )
        return {name: RecordedColumn(name, path, is_key, is_not_read) for name, path, is_key, is_not_read in rows}

    def list_open_rejects(self, pipeline: str, stream: str) -> list[OpenRejects]:
        """Return the rejects that were not read again since they were rejected, the latest first."""
        rows = self.fetch_all(
            "SELECT r.reason, r.field, r.rows_rejected, b.read_at, b.batch_id, b.manifest FROM millrace.rejects AS r "
            "JOIN millrace.batches AS b ON b.batch_id = r.batch_id "
            "WHERE r.pipeline = %s AND r.stream = %s AND r.closed_by IS NULL "
            "ORDER BY b.token DESC, b.applied_at DESC, b.batch_id, r.reason, r.field",
            (pipeline, stream),
        )
        return [OpenRejects(*row) for row in rows]

    def fetch_first(self, query: str, parameters: tuple[Any, ...], since: int = 1) -> tuple[Any, ...] | None:
        """Return the first row of a query; None if it has none, or the ledger is older than the version ``since``."""
        return next(iter(self.fetch_all(query, parameters, since)), None)

    def fetch_all(self, query: str, parameters: tuple[Any, ...], since: int = 1) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the ledger; none if it is missing or older than the version ``since``."""
        if self.version < since:
            return []
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())

    def find_result(self, batch: Batch, target: str) -> LoadResult | None:
        """Return the result of a batch that was applied before; None if it was not applied (promise 2)."""
        row = self.fetch_first(f"SELECT {COUNTS} FROM millrace.batches WHERE batch_id = %s", (batch.batch_id,))
        if row is None:
            return None
        result = LoadResult(batch.pipeline, batch.stream, target, batch.batch_id, batch.kind, *row)
        return replace(result, was_applied_before=True)


def _is_after(position: str, now: datetime) -> bool:
    """Return whether a position is later than ``now``. Positions that are no times never are."""
    try:
        return datetime.fromisoformat(position) > now
    except ValueError:
        return False
