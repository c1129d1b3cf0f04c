"""Loading: stage, make room, apply. The one place where a batch becomes rows of a target.

Stage and schema changes come before the transaction that counts; that one locks the ledger first, applies the
difference and writes the ledger's row, and either all of it is there or none (docs/decisions/0002-load.md).
What does not belong here: SQL text (statements.py, schema.py) and what a warehouse can do (dialect.py).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from millrace.database import database_errors
from millrace.errors import Conflict, CountMismatch, SchemaConflict
from millrace.lake.batch import Batch
from millrace.lake.store import ObjectStore
from millrace.naming import RESERVED, column_name, quote
from millrace.pipeline import Pipeline, Stream
from millrace.types import Column, DataType
from millrace.warehouse import ledger, statements
from millrace.warehouse.dialect import Dialect, from_catalog
from millrace.warehouse.ledger import LoadResult
from millrace.warehouse.schema import Change, Incompatible, changes_for
from millrace.warehouse.stage import Stage

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
JITTER = random.SystemRandom()
Done = TypeVar("Done")


class Warehouse:
    """A warehouse reached through ``connect`` (opens a psycopg2 connection), loading from ``store``."""

    def __init__(self, connect: Callable[[], Any], store: ObjectStore, dialect: Dialect, iam_role: str = "") -> None:
        self._connect, self._store, self.dialect, self._iam_role = connect, store, dialect, iam_role

    def position(self, pipeline: str, stream: str) -> str | None:
        """Where the next read of a stream starts; None from the beginning."""
        with self._session(f"warehouse, position of {pipeline}.{stream}") as connection:
            return ledger.position(connection, pipeline, stream)

    def known_columns(self, pipeline: Pipeline, stream: Stream) -> list[Column]:
        """The target's columns, each with the path it holds; empty before the first load."""
        with self._session(_place(pipeline, stream)) as connection:
            found = self._target_columns(connection, pipeline.target_schema, stream.table) or {}
            paths = ledger.columns(connection, pipeline.name, stream.name)
        own = {name: held for name, held in found.items() if held is not None and name not in RESERVED}
        return [Column(name, paths.get(name, name), held) for name, held in own.items()]

    def plan(self, pipeline: Pipeline, stream: Stream, columns: Sequence[Column]) -> tuple[list[str], list[str]]:
        """The schema changes that loading these columns would make, and every statement of the load. Runs none."""
        target, keys = quote(pipeline.target_schema, stream.table), _keys(stream)
        with self._session(_place(pipeline, stream)) as connection:
            changes = self._changes(connection, pipeline, stream, columns, {})
        commands = [command for change in changes for command in change.sql()]
        apply = [
            statements.create_delta(target, columns, keys, None, self.dialect),
            statements.delete_changed(target, keys),
            statements.insert_delta(target, columns),
        ]
        return [str(change) for change in changes], [*commands, *(apply if columns else [])]

    def load(self, pipeline: Pipeline, stream: Stream, batch: Batch) -> LoadResult:
        """Apply a batch exactly once, however often this is called with it.

        Raises Superseded, KeyViolation, CountMismatch, SchemaConflict, Unreachable, Conflict: each leaves target,
        ledger and position as they were.
        """
        target = f"{pipeline.target_schema}.{stream.table}"
        with self._session(_place(pipeline, stream)) as connection:
            if ledger.exists(connection) and (done := ledger.applied(connection, batch, target)):
                return done
            connection.rollback()
            changes: list[Change] = []
            if batch.written:
                Stage(connection, self._store, self.dialect, self._iam_role).fill(batch, _keys(stream))
                changes = _patiently(connection, lambda: self._make_room(connection, pipeline, stream, batch))
            _patiently(connection, lambda: ledger.ensure(connection))
            return _patiently(connection, lambda: self._apply(connection, pipeline, stream, batch, changes))

    def _make_room(self, connection: Any, pipeline: Pipeline, stream: Stream, batch: Batch) -> list[Change]:
        """Run the additive changes one by one outside a transaction; refuse the others before anything is done."""
        changes = self._changes(connection, pipeline, stream, batch.columns, batch.longest_bytes)
        if refused := [change for change in changes if isinstance(change, Incompatible)]:
            raise SchemaConflict(
                "; ".join(map(str, refused)),
                place=_place(pipeline, stream),
                remedy="widen the column by hand, declare another type in the stream, or load into a new target",
            )
        connection.rollback()
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for command in (sql for change in changes for sql in change.sql()):
                    cursor.execute(command)
        finally:
            connection.autocommit = False
        return changes

    def _changes(
        self,
        connection: Any,
        pipeline: Pipeline,
        stream: Stream,
        columns: Sequence[Column],
        longest_bytes: Mapping[str, int],
    ) -> list[Change]:
        schema, table = pipeline.target_schema, stream.table
        target = self._target_columns(connection, schema, table)
        return changes_for(schema, table, target, columns, _keys(stream), longest_bytes, self.dialect)

    def _target_columns(self, connection: Any, schema: str, table: str) -> dict[str, DataType | None] | None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
                f"FROM {self.dialect.catalog} WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
                (schema, table),
            )
            rows = cursor.fetchall()
        return {name: from_catalog(*described) for name, *described in rows} or None

    def _apply(
        self, connection: Any, pipeline: Pipeline, stream: Stream, batch: Batch, changes: list[Change]
    ) -> LoadResult:
        target = f"{pipeline.target_schema}.{stream.table}"
        connection.rollback()
        ledger.lock(connection)
        if done := ledger.applied(connection, batch, target):
            connection.rollback()
            return done
        ledger.refuse_superseded(connection, batch)
        applied_at = datetime.now(UTC)
        inserted, updated = self._merge(connection, pipeline, stream, batch, applied_at) if batch.written else (0, 0)
        result = LoadResult(
            batch.pipeline,
            batch.stream,
            target,
            batch.batch_id,
            read=batch.read,
            inserted=inserted,
            updated=updated,
            unchanged=batch.written - inserted - updated,
            rejected=batch.rejected,
            changes=tuple(map(str, changes)),
        )
        ledger.record(connection, batch, self._store.uri(batch.manifest_key), result, applied_at)
        connection.commit()
        return result

    def _merge(
        self, connection: Any, pipeline: Pipeline, stream: Stream, batch: Batch, applied_at: datetime
    ) -> tuple[int, int]:
        """Rows inserted and updated."""
        target, keys = quote(pipeline.target_schema, stream.table), _keys(stream)
        cursor_column = column_name(stream.capture.cursor) if batch.identity else None
        with connection.cursor() as cursor:
            cursor.execute(statements.drop_temporary(statements.DELTA))
            cursor.execute(statements.create_delta(target, batch.columns, keys, cursor_column, self.dialect))
            cursor.execute(statements.count_delta())
            inserted, changed = (int(count) for count in cursor.fetchone())
            cursor.execute(statements.count_repeated_in_target(keys))
            (repeated,) = cursor.fetchone()
            cursor.execute(statements.delete_changed(target, keys))
            deleted = cursor.rowcount
            cursor.execute(statements.insert_delta(target, batch.columns), (applied_at,))
            if repeated or deleted != changed - inserted or cursor.rowcount != changed:
                raise CountMismatch(
                    f"{changed - inserted} rows were to be replaced and {deleted} were found, "
                    f"{changed} were to be put in and {cursor.rowcount} were",
                    place=_place(pipeline, stream),
                    remedy="see whether the target holds a key more than once; nothing was committed",
                )
        return inserted, changed - inserted

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


def _keys(stream: Stream) -> tuple[str, ...]:
    return tuple(column_name(key) for key in stream.keys)


def _place(pipeline: Pipeline, stream: Stream) -> str:
    return f"stream {pipeline.name}.{stream.name} ({stream.source})"
