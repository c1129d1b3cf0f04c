"""Loading: stage, make room, apply. The one place where a batch becomes rows of a target.

Stage and schema changes come before the transaction that counts; that one locks the ledger first, applies the
difference and writes the ledger's rows, and either all of it is there or none (docs/decisions/0002-load.md).
What does not belong here: SQL text (statements.py, changes.py), how rows are applied (merge.py), and what a warehouse
can do (dialect.py).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from millrace.database import database_errors
from millrace.errors import Conflict
from millrace.lake.batch import Batch
from millrace.lake.store import ObjectStore
from millrace.naming import DELETED_AT, RESERVED
from millrace.pipeline import Pipeline, Stream
from millrace.types import Column, DataType
from millrace.warehouse import lease, ledger, statements
from millrace.warehouse.changes import Change, CreateTable
from millrace.warehouse.compare import Comparison, Scan, compare
from millrace.warehouse.dialect import Dialect, from_catalog
from millrace.warehouse.ledger import LoadResult, OpenRejects
from millrace.warehouse.merge import Target, apply
from millrace.warehouse.reconcile import reconcile
from millrace.warehouse.room import allows, make_room
from millrace.warehouse.schema import changes_for
from millrace.warehouse.stage import Stage, files_of

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
JITTER = random.SystemRandom()
Done = TypeVar("Done")


class Warehouse:
    """A warehouse reached through ``connect`` (opens a psycopg2 connection), loading from ``store``."""

    def __init__(self, connect: Callable[[], Any], store: ObjectStore, dialect: Dialect, iam_role: str = "") -> None:
        self._connect, self._store, self.dialect, self._iam_role = connect, store, dialect, iam_role

    def position(self, pipeline: Pipeline, stream: Stream) -> str | None:
        """Where the next read of a stream starts; None from the beginning, also when the target was dropped."""
        target = Target(pipeline, stream, self.dialect)
        with self._session(target.place) as connection:
            if self._held(connection, target) is None:
                return None
            return ledger.position(connection, pipeline.name, stream.name)

    def last_sweep(self, pipeline: Pipeline, stream: Stream) -> datetime | None:
        """When the source was last read as a whole, by a sweep or by the first load; None: never."""
        with self._session(Target(pipeline, stream, self.dialect).place) as connection:
            return ledger.last_sweep(connection, pipeline.name, stream.name)

    def known_columns(self, pipeline: Pipeline, stream: Stream) -> list[Column]:
        """The target's columns, each with the path it holds; empty before the first load."""
        target = Target(pipeline, stream, self.dialect)
        with self._session(target.place) as connection:
            held = self._held(connection, target) or {}
            recorded = ledger.columns(connection, pipeline.name, stream.name)
        own = {name: data_type for name, data_type in held.items() if data_type is not None and name not in RESERVED}
        paths = {name: column.path for name, column in recorded.items()}
        return [Column(name, paths.get(name, name), data_type) for name, data_type in own.items()]

    def open_rejects(self, pipeline: Pipeline, stream: Stream) -> list[OpenRejects]:
        """What was rejected and not read again since, the latest first."""
        with self._session(Target(pipeline, stream, self.dialect).place) as connection:
            return ledger.open_rejects(connection, pipeline.name, stream.name)

    @contextmanager
    def lease(self, pipeline: Pipeline, stream: Stream, holder: str, token: int = 0) -> Iterator[int]:
        """Within it the stream is ``holder``'s, or goes on being that of ``token``; the token. Raises StreamBusy.

        It is not given back at the end: a load goes on where the read ended (``release``).
        """
        target = Target(pipeline, stream, self.dialect)
        own = (self.dialect.clock, pipeline.name, stream.name)

        def extend() -> None:
            with self._session(target.place) as connection:
                _patiently(connection, lambda: lease.extend(connection, *own, token))

        if token:
            extend()
        else:
            with self._session(target.place) as connection:
                _patiently(connection, lambda: ledger.ensure(connection))
                token = _patiently(connection, lambda: lease.take(connection, *own, holder))
        with lease.kept(extend):
            yield token

    def release(self, pipeline: Pipeline, stream: Stream, token: int) -> None:
        """Give a lease back, so that the next run need not wait."""
        own = (self.dialect.clock, pipeline.name, stream.name)
        with self._session(Target(pipeline, stream, self.dialect).place) as connection:
            _patiently(connection, lambda: lease.extend(connection, *own, token, 0))

    @contextmanager
    def compare(self, pipeline: Pipeline, stream: Stream, scan: Scan) -> Iterator[Comparison]:
        """A scan of the whole source against the target, which must be there."""
        target = Target(pipeline, stream, self.dialect)
        with self._session(target.place) as connection:
            held = self._held(connection, target) or {}
            stage = Stage(connection, self._store, self.dialect, self._iam_role)
            marks_deleted = DELETED_AT in held
            yield compare(
                connection, stage, scan, target.quoted, target.place, stream.deletes, marks_deleted=marks_deleted
            )

    def plan(self, pipeline: Pipeline, stream: Stream, columns: Sequence[Column]) -> tuple[list[str], list[str]]:
        """The schema changes that loading these columns would make, and every statement of the load. Runs none."""
        target = Target(pipeline, stream, self.dialect)
        with self._session(target.place) as connection:
            changes = self._changes(connection, target, columns, {}, is_whole=bool(columns))
        commands = [command for change in changes for command in change.sql()]
        if columns:
            commands += [
                statements.create_delta(target.quoted, columns, target.keys, None, self.dialect),
                statements.delete_changed(target.quoted, target.keys),
                statements.insert_delta(target.quoted, columns),
            ]
        told = [
            str(change) if allows(stream.schema_policy, change) else f"{change}: the load would be refused"
            for change in changes
        ]
        return told, commands

    def load(self, pipeline: Pipeline, stream: Stream, batch: Batch) -> LoadResult:
        """Apply a batch exactly once, however often this is called with it.

        Raises Superseded, KeyViolation, CountMismatch, SchemaConflict, ConfigurationError, Unreachable, Conflict: each
        leaves target, ledger and position as they were.
        """
        target = Target(pipeline, stream, self.dialect)
        with self._session(target.place) as connection:
            if ledger.exists(connection) and (done := ledger.applied(connection, batch, target.name)):
                return done
            connection.rollback()
            stage = Stage(connection, self._store, self.dialect, self._iam_role)
            for files in files_of(batch, target.keys):
                stage.fill(files)
                if files.table == statements.STAGE:
                    stage.check_keys(files, target.keys, batch.identity)
            changes = _patiently(connection, lambda: self._make_room(connection, target, batch))
            _patiently(connection, lambda: ledger.ensure(connection))
            return _patiently(connection, lambda: self._apply(connection, target, batch, changes))

    def _make_room(self, connection: Any, target: Target, batch: Batch) -> list[Change]:
        if not batch.written and not batch.deleted:
            return []
        is_whole = batch.is_whole and batch.written > 0
        changes = self._changes(connection, target, batch.columns, batch.longest_bytes, is_whole=is_whole)
        make_room(connection, changes, target.stream.schema_policy, target.place)
        return changes

    def _changes(
        self,
        connection: Any,
        target: Target,
        columns: Sequence[Column],
        longest_bytes: Mapping[str, int],
        *,
        is_whole: bool,
    ) -> list[Change]:
        return changes_for(
            target.pipeline.target_schema,
            target.stream.table,
            self._held(connection, target),
            columns,
            target.keys,
            longest_bytes,
            self.dialect,
            soft_deletes=target.stream.deletes == "soft",
            recorded=ledger.columns(connection, target.pipeline.name, target.stream.name),
            is_whole=is_whole,
        )

    def _held(self, connection: Any, target: Target) -> dict[str, DataType | None] | None:
        """The target's columns as the catalog has them; None when there is no such table."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
                f"FROM {self.dialect.catalog} WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
                (target.pipeline.target_schema, target.stream.table),
            )
            rows = cursor.fetchall()
        return {name: from_catalog(*described) for name, *described in rows} or None

    def _apply(self, connection: Any, target: Target, batch: Batch, changes: list[Change]) -> LoadResult:
        connection.rollback()
        ledger.lock(connection)
        if done := ledger.applied(connection, batch, target.name):
            connection.rollback()
            return done
        ledger.refuse_superseded(connection, batch)
        ledger.refuse_foreign(connection, batch, target.name)
        applied_at = datetime.now(UTC)
        held = self._held(connection, target)
        target = replace(target, marks_deleted=DELETED_AT in (held or {}))
        rows = apply(connection, target, batch, applied_at)
        result = LoadResult(
            batch.pipeline,
            batch.stream,
            target.name,
            batch.batch_id,
            read=batch.read,
            inserted=rows.inserted,
            updated=rows.updated,
            deleted=rows.deleted,
            unchanged=batch.matched + batch.written + batch.deleted - rows.inserted - rows.updated - rows.deleted,
            rejected=batch.rejected,
            changes=tuple(map(str, changes)),
            warnings=reconcile(
                connection, target, batch, self._open(connection, batch) + batch.rejected, is_there=held is not None
            ),
        )
        ledger.record(connection, batch, result, applied_at)
        if batch.written:
            is_new = any(isinstance(change, CreateTable) for change in changes)
            ledger.record_columns(connection, batch, target.keys, is_new=is_new)
        connection.commit()
        return result

    def _open(self, connection: Any, batch: Batch) -> int:
        return sum(one.rows for one in ledger.open_rejects(connection, batch.pipeline, batch.stream))

    @contextmanager
    def _session(self, place: str) -> Iterator[Any]:
        with database_errors(place):
            connection = self._connect()
            try:
                connection.autocommit = False
                yield connection
            finally:
                connection.close()


def _patiently(connection: Any, step: Callable[[], Done]) -> Done:
    """Repeat a whole step when another session won, with a growing, random pause.

    Two loads that create the same schema at once conflict as well: whoever comes second finds it there.
    """
    for attempt in range(ATTEMPTS):
        try:
            with database_errors("warehouse"):
                return step()
        except Conflict:
            connection.rollback()
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(JITTER.uniform(0.5, 1.5) * FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("the last attempt returns or raises")
