"""The ledger: which batches are applied, what they counted and rejected, and so where each stream's next read starts.

It lies in the warehouse and is written in the transaction that applies the rows (promise 1). Locked first, so
that on Redshift concurrent loads wait for each other and do not end in a serialization conflict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from millrace.base.errors import ConfigurationError, Superseded
from millrace.lake.batch import Batch
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.ledger.versions import LEDGER, VERSION, upgrade, version_of
from millrace.warehouse.schema.difference import RecordedColumn
from millrace.warehouse.session import lock

ROWS_OF_A_STATEMENT = 500
_OF_STREAM = "pipeline = %s AND stream = %s"
_NEWEST_FIRST = "ORDER BY token DESC, applied_at DESC"
"""Tokens grow with every lease; batches without one (token 0) are in the order of their commits."""
_POSITIONS = f"SELECT position FROM millrace.batches WHERE {_OF_STREAM} AND position IS NOT NULL"
_FRESHNESS = "rows_stamped, rows_silent, age_p50_seconds, age_p95_seconds, age_max_seconds"
_COUNTS = "rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected"


@dataclass(frozen=True)
class OpenRejects:
    """Rows of one batch that were rejected for one reason and field, and not read again since."""

    reason: str
    field: str
    rows: int
    read_at: datetime
    batch_id: str
    manifest: str


@dataclass(frozen=True)
class AppliedBatch:
    """A batch of a stream that was applied: the manifest in the landing zone, the rows that it read, and whether it
    changed or rejected any."""

    applied_at: datetime
    stream: str
    manifest: str
    rows: int
    has_changes: bool


class Ledger:
    """The ledger as one connection sees it; the caller commits, but for ``ensure``."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._version = 0

    def ensure(self) -> None:
        """Make the ledger, or bring it to this program's version. Commits."""
        if self._version < VERSION:
            upgrade(self._connection)
            self._version = VERSION

    @property
    def version(self) -> int:
        """That of the ledger that is there; 0 when there is none. It is never taken away, so that nobody asks twice."""
        if not self._version:
            self._version = version_of(self._connection)
        return self._version

    def lock(self) -> None:
        """Begin a transaction that writes the ledger; waits for its turn."""
        lock(self._connection, LEDGER)

    def position(self, pipeline: str, stream: str) -> str | None:
        """That of the newest batch which has one, whatever its source's clock said; None for a stream that was never
        loaded."""
        row = self._first(f"{_POSITIONS} {_NEWEST_FIRST} LIMIT 1", (pipeline, stream))
        return str(row[0]) if row else None

    def newest_tokens(self, pipeline: str, stream: str) -> tuple[int, int]:
        """That of the newest batch which moved the position, and that of the newest which read anything but rejects
        again; 0 before the first."""
        row = self._first(
            "SELECT max(CASE WHEN position IS NOT NULL THEN token END), max(CASE WHEN kind <> 'replay' THEN token END) "
            f"FROM millrace.batches WHERE {_OF_STREAM}",
            (pipeline, stream),
        )
        moved, applied = row or (None, None)
        return int(moved or 0), int(applied or 0)

    def position_until(self, pipeline: str, stream: str, now: datetime) -> str | None:
        """Where the next read starts: the newest position that is not after ``now``."""
        newest = self.position(pipeline, stream)
        if newest is None or not _is_after(newest, now):
            return newest
        rows = self._all(f"{_POSITIONS} {_NEWEST_FIRST}", (pipeline, stream))
        return next((position for (position,) in rows if not _is_after(position, now)), None)

    def last_sweep(self, pipeline: str, stream: str, now: datetime) -> datetime | None:
        """When the stream was last read as a whole: by its latest sweep, else by its first load; None before that. What
        was read after ``now``, by a source's clock that was ahead, does not count."""
        row = self._first(
            "SELECT coalesce(max(CASE WHEN kind = 'sweep' THEN read_at END), min(read_at)) FROM millrace.batches "
            f"WHERE {_OF_STREAM} AND position IS NOT NULL AND read_at <= %s",
            (pipeline, stream, now),
        )
        return row[0] if row else None

    def last_read(self, pipeline: str, stream: str, now: datetime) -> datetime | None:
        """The moment of the newest batch that was not read after ``now``; None before the first."""
        row = self._first(
            f"SELECT read_at FROM millrace.batches WHERE {_OF_STREAM} AND read_at <= %s {_NEWEST_FIRST} LIMIT 1",
            (pipeline, stream, now),
        )
        return row[0] if row else None

    def source(self, pipeline: str, stream: str) -> str:
        """Where the rows of a stream's target come from; '' where that was not recorded."""
        rows = self._all(f"SELECT source FROM millrace.sources WHERE {_OF_STREAM}", (pipeline, stream), since=2)
        return str(rows[0][0]) if rows else ""

    def applied_batches(self, pipeline: str, streams: Sequence[str]) -> list[AppliedBatch]:
        """Those of some streams in the order in which they were applied."""
        changes = "rows_inserted + rows_updated + rows_deleted + rows_rejected > 0"
        rows = self._all(
            f"SELECT applied_at, stream, manifest, rows_read, {changes} FROM millrace.batches "
            "WHERE pipeline = %s AND stream IN %s ORDER BY applied_at, token, batch_id",
            (pipeline, tuple(streams)),
        )
        return [AppliedBatch(*row) for row in rows]

    def members(self, pipeline: str) -> set[str]:
        """The streams and models of which a batch was applied."""
        rows = self._all("SELECT DISTINCT stream FROM millrace.batches WHERE pipeline = %s", (pipeline,))
        return {name for (name,) in rows}

    def has_rows(self, pipeline: str, stream: str, *, keeps_deleted: bool) -> bool:
        """Whether more rows were put into the stream's target than were taken out of it; none are where it
        ``keeps_deleted`` ones."""
        rows = "rows_inserted" if keeps_deleted else "rows_inserted - rows_deleted"
        row = self._first(
            f"SELECT coalesce(sum({rows}), 0) FROM millrace.batches WHERE {_OF_STREAM}",
            (pipeline, stream),
        )
        return bool(row and row[0] > 0)

    def collected(self, pipeline: str, stream: str, since: str) -> dict[str, str]:
        """The objects with messages that were applied, of those from the name ``since`` on, with the batch that was the
        first to read each."""
        rows = self._all(
            f"SELECT name, batch_id FROM millrace.collected WHERE {_OF_STREAM} AND name >= %s",
            (pipeline, stream, since),
        )
        return dict(row for row in rows)

    def columns(self, pipeline: str, stream: str) -> dict[str, RecordedColumn]:
        """Every column a batch of the stream has brought, by name."""
        rows = self._all(
            f"SELECT name, path, is_key, left_at IS NOT NULL FROM millrace.columns WHERE {_OF_STREAM}",
            (pipeline, stream),
        )
        return {name: RecordedColumn(name, path, is_key, has_left) for name, path, is_key, has_left in rows}

    def open_rejects(self, pipeline: str, stream: str) -> list[OpenRejects]:
        """What was rejected and not read again since, the latest first."""
        rows = self._all(
            "SELECT r.reason, r.field, r.rows_rejected, b.read_at, b.batch_id, b.manifest FROM millrace.rejects AS r "
            "JOIN millrace.batches AS b ON b.batch_id = r.batch_id "
            "WHERE r.pipeline = %s AND r.stream = %s AND r.closed_by IS NULL "
            "ORDER BY b.token DESC, b.applied_at DESC, b.batch_id, r.reason, r.field",
            (pipeline, stream),
        )
        return [OpenRejects(*row) for row in rows]

    def _first(self, query: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return next(iter(self._all(query, parameters)), None)

    def _all(self, query: str, parameters: tuple[Any, ...], since: int = 1) -> list[tuple[Any, ...]]:
        """Rows of a query of what ledgers have ``since`` a version; none where the ledger is older, or is not there."""
        if self.version < since:
            return []
        with self._connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())

    def applied(self, batch: Batch, target: str) -> LoadResult | None:
        """The result of this very batch if it was applied before (promise 2)."""
        row = self._first(f"SELECT {_COUNTS} FROM millrace.batches WHERE batch_id = %s", (batch.batch_id,))
        if row is None:
            return None
        result = LoadResult(batch.pipeline, batch.stream, target, batch.batch_id, batch.kind, *row)
        return replace(result, was_applied_before=True)

    def refuse_superseded(self, batch: Batch) -> None:
        """Raises Superseded when a batch of a later lease was applied (this one would go back in time), or when another
        run has taken the stream over. The source's clock never decides which is later."""
        place = f"pipeline {batch.pipeline}, stream {batch.stream}"
        row = self._first(
            f"SELECT max(token) FROM millrace.batches WHERE {_OF_STREAM} AND batch_id <> %s",
            (batch.pipeline, batch.stream, batch.batch_id),
        )
        latest = row[0] if row and row[0] else 0
        newest = lease.newest(self._connection, batch.pipeline, batch.stream)
        # Above the newest: leases were deleted by hand after the read, and tokens went on from the applied batches.
        if latest > batch.progress.token or latest == batch.progress.token > 0 or batch.progress.token > newest > 0:
            raise Superseded(
                f"batch {batch.batch_id} is older, by its lease, than one that is already applied or will be",
                place=place,
                remedy="run again: the next read starts where the applied one ended",
            )
        if newest > batch.progress.token:
            raise Superseded(
                f"another run took the stream over after batch {batch.batch_id} was read",
                place=place,
                remedy="nothing to do: that run reads the same changes",
            )

    def refuse_foreign(self, batch: Batch, target: str) -> None:
        """Raises ConfigurationError when another stream is loaded into the same target."""
        other = self._first(
            "SELECT pipeline, stream FROM millrace.batches "
            "WHERE target = %s AND (pipeline <> %s OR stream <> %s) LIMIT 1",
            (target, batch.pipeline, batch.stream),
        )
        if other:
            raise ConfigurationError(
                f"{target} is the target of stream {other[0]}.{other[1]} already",
                place=f"pipeline {batch.pipeline}, stream {batch.stream}",
                remedy="give the stream another target, or the pipeline another schema",
            )

    def refuse_other_source(self, batch: Batch) -> None:
        """Raises ConfigurationError when the target holds rows of another source, and nobody accepted this one."""
        recorded = self.source(batch.pipeline, batch.stream)
        if not batch.consent.accept_source:
            check_source(recorded, batch.progress.source, f"pipeline {batch.pipeline}, stream {batch.stream}")

    def record(self, batch: Batch, result: LoadResult, applied_at: datetime) -> None:
        """Write what the ledger keeps of the batch; the caller commits it together with the rows."""
        result.check()
        with self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO millrace.batches (batch_id, kind, pipeline, stream, target, manifest, token, read_at, "
                f"lower_bound, position, {_COUNTS}, applied_at, {_FRESHNESS}) VALUES ({', '.join(['%s'] * 22)})",
                (
                    batch.batch_id, batch.kind, batch.pipeline, batch.stream, result.target,
                    batch.progress.origin or batch.manifest_key,
                    batch.progress.token, batch.read_at, batch.progress.lower, batch.progress.position,
                    result.read, result.inserted, result.updated, result.deleted, result.unchanged, result.rejected,
                    applied_at, *(vars(result.freshness).values() if result.freshness else [None] * 5),
                ),
            )  # fmt: skip
        self._record_source(batch)
        self._record_rejects(batch)
        self._record_collected(batch)

    def _record_source(self, batch: Batch) -> None:
        own = (batch.pipeline, batch.stream)
        if not batch.progress.source or batch.progress.source == self.source(*own):
            return
        with self._connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM millrace.sources WHERE {_OF_STREAM}", own)
            cursor.execute(
                "INSERT INTO millrace.sources (pipeline, stream, source) VALUES (%s, %s, %s)",
                (*own, batch.progress.source),
            )

    def _record_collected(self, batch: Batch) -> None:
        """Those that were not applied before."""
        if not batch.progress.collected:
            return
        own = (batch.pipeline, batch.stream)
        fresh = sorted(set(batch.progress.collected) - self.collected(*own, min(batch.progress.collected)).keys())
        with self._connection.cursor() as cursor:
            for first in range(0, len(fresh), ROWS_OF_A_STATEMENT):
                block = fresh[first : first + ROWS_OF_A_STATEMENT]
                values = ", ".join(["(%s, %s, %s, %s)"] * len(block))
                cursor.execute(
                    f"INSERT INTO millrace.collected (pipeline, stream, name, batch_id) VALUES {values}",
                    [value for name in block for value in (*own, name, batch.batch_id)],
                )

    def _record_rejects(self, batch: Batch) -> None:
        """Open the batch's own, close those that it read again."""
        with self._connection.cursor() as cursor:
            if batch.visited_all_rows:
                cursor.execute(
                    f"UPDATE millrace.rejects SET closed_by = %s WHERE {_OF_STREAM} AND closed_by IS NULL",
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

    def expect_columns(self, pipeline: str, stream: str, names: Sequence[str]) -> None:
        """Note that the source has columns again that had left it. Commits."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE millrace.columns SET left_at = NULL WHERE {_OF_STREAM} AND name IN %s",
                (pipeline, stream, tuple(names)),
            )
        self._connection.commit()

    def record_columns(self, batch: Batch, keys: Sequence[str], *, is_new: bool, held: Collection[str]) -> None:
        """Note which columns the target has now (``is_new``: it was made for this batch), and which the source has no
        more: also those that are not ``held`` by the target any more and that a read of everything did not bring; the
        caller commits."""
        own = (batch.pipeline, batch.stream)
        recorded = {} if is_new else self.columns(*own)
        with self._connection.cursor() as cursor:
            if is_new:
                cursor.execute(f"DELETE FROM millrace.columns WHERE {_OF_STREAM}", own)
            for column in batch.columns:
                if column.name not in recorded:
                    cursor.execute(
                        "INSERT INTO millrace.columns (pipeline, stream, name, path, is_key) "
                        "VALUES (%s, %s, %s, %s, %s)",
                        (*own, column.name, column.path, column.name in keys),
                    )
            for name, left_at in _left_or_back(batch, recorded, held):
                cursor.execute(
                    f"UPDATE millrace.columns SET left_at = %s WHERE {_OF_STREAM} AND name = %s", (left_at, *own, name)
                )


def _left_or_back(
    batch: Batch, recorded: Mapping[str, RecordedColumn], held: Collection[str]
) -> Iterator[tuple[str, datetime | None]]:
    """Recorded columns that this batch shows to have left the source, each with the moment of its read; and those that
    it brings back, with None."""
    arriving = {column.name for column in batch.columns}
    for name, known in recorded.items():
        is_shown = batch.coverage.has_all_columns or (
            batch.coverage.by_value and batch.visited_all_rows and name not in held
        )
        if known.has_left and name in arriving:
            yield name, None
        elif not known.has_left and is_shown and name not in arriving:
            yield name, batch.read_at


def check_source(recorded: str, declared: str, place: str) -> None:
    """Raises ConfigurationError when a target holds rows of another source than the one declared; '': not known."""
    if recorded and declared and recorded != declared:
        raise ConfigurationError(
            f"its target holds rows of {recorded}, and the declared source is {declared}: their rows would mix, and a "
            "sweep would delete those of the former",
            place=place,
            remedy="give the new source a stream or a target of its own; or, if it takes the place of the former one, "
            "run once with --accept-source (run parameter accept_source), which compares it with the target",
        )


def _is_after(position: str, now: datetime) -> bool:
    """Positions that are no times are never after any."""
    try:
        return datetime.fromisoformat(position) > now
    except ValueError:
        return False
