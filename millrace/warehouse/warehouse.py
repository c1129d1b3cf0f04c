"""The warehouse as the rest of the engine sees it: what it holds of a stream, leases, comparison, plan and load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from millrace.base.errors import SchemaConflict
from millrace.base.naming import ADDED_COLUMNS, DELETED_AT, quote
from millrace.base.types import Column
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.store import ObjectStore
from millrace.warehouse.compare import Comparison, Scan, compare
from millrace.warehouse.contents import Contents
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.lease import LEASE_SECONDS
from millrace.warehouse.ledger.ledger import AppliedBatch, Ledger, OpenRejects
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.load import Work, load
from millrace.warehouse.modes import mode_of
from millrace.warehouse.rebuild import Rebuild
from millrace.warehouse.schema.catalog import Held, held_columns
from millrace.warehouse.schema.changes import TargetTable
from millrace.warehouse.schema.difference import RecordedColumn, incompatible
from millrace.warehouse.schema.form import other_function
from millrace.warehouse.schema.migrate import allows, refuse, remedy_of
from millrace.warehouse.schema.needed import needs_of
from millrace.warehouse.schema.recorded_forms import RecordedForms
from millrace.warehouse.schema.version_views import make_version_views
from millrace.warehouse.session import count, patiently, session
from millrace.warehouse.stage import Stage
from millrace.warehouse.statements import count_all
from millrace.warehouse.target import Target, target_of
from millrace.warehouse.views import make_views, names_of


@dataclass(frozen=True)
class Standing:
    """Of a stream in the warehouse: its target's columns, each with the path it holds (none before the first load);
    where the next read starts, None from the beginning, also when the target was dropped; when the source was last read
    as a whole, by a sweep or by the first load, None: never; when the last read was that was applied. ``lost`` are
    columns that were loaded and that the target has no more, though the source may have them. ``source`` is where its
    rows come from ('': not recorded), ``note`` what an operator should know about the position. ``unfilled`` are models
    of it that were never loaded, though it was."""

    columns: tuple[Column, ...] = ()
    position: str | None = None
    last_sweep: datetime | None = None
    last_read: datetime | None = None
    lost: tuple[str, ...] = ()
    source: str = ""
    note: str = ""
    unfilled: tuple[str, ...] = ()


NOTHING = Standing()


class Warehouse:
    """A warehouse reached through ``connect``, which opens a psycopg2 connection."""

    def __init__(self, connect: Callable[[], Any], dialect: Dialect, iam_role: str = "") -> None:
        self._connect, self.dialect, self._iam_role = connect, dialect, iam_role

    def standing(self, pipeline: Pipeline, stream: Stream) -> Standing:
        """How far the stream has come. Raises SchemaConflict when somebody gave a column of its target another type, of
        which nothing is known here."""
        target = self._target(pipeline, stream)
        with self._session(target) as connection:
            held = held_columns(connection, target)
            if held is None:
                return NOTHING
            ledger, own = Ledger(connection), (pipeline.name, stream.name)
            recorded = ledger.columns(*own)
            _refuse_unknown_types(target, held, recorded)
            paths = {name: column.path for name, column in recorded.items()}
            form = RecordedForms(connection, ledger, pipeline.name).of(target)
            our_own = ADDED_COLUMNS | target.own | (form.named if form else frozenset())
            columns = tuple(
                Column(name, paths.get(name, name), data_type)
                for name, data_type in held.items()
                if data_type is not None and name not in our_own
            )
            lost = tuple(sorted(name for name, one in recorded.items() if name not in held and not one.has_left))
            now = self._now(connection)
            position = ledger.position_until(*own, now)
            return Standing(
                columns,
                position,
                ledger.last_sweep(*own, now),
                ledger.last_read(*own, now),
                lost,
                ledger.source(*own),
                _note(ledger.position(*own), position),
                _unfilled(pipeline, stream, ledger),
            )

    def open_rejects(self, pipeline: Pipeline, member: Stream | Model) -> list[OpenRejects]:
        """What was rejected and not read again since, the latest first."""
        with self._session(self._target(pipeline, member)) as connection:
            return Ledger(connection).open_rejects(pipeline.name, member.name)

    def last_read(self, pipeline: Pipeline, member: Stream | Model) -> datetime | None:
        """The moment of the newest batch; None before the first."""
        with self._session(self._target(pipeline, member)) as connection:
            return Ledger(connection).last_read(pipeline.name, member.name, self._now(connection))

    def newest_tokens(self, pipeline: Pipeline, member: Stream | Model) -> tuple[int, int]:
        """That of the newest batch which moved the stream's position, and that of the newest which read anything but
        rejects again; 0 before the first."""
        with self._session(self._target(pipeline, member)) as connection:
            return Ledger(connection).newest_tokens(pipeline.name, member.name)

    def collected(self, pipeline: Pipeline, stream: Stream, since: str) -> dict[str, str]:
        """The objects with messages of a queue that were applied, of those from the name ``since`` on, with the batch
        that was the first to read each."""
        with self._session(self._target(pipeline, stream)) as connection:
            return Ledger(connection).collected(pipeline.name, stream.name, since)

    @contextmanager
    def lease(self, pipeline: Pipeline, stream: Stream, holder: str) -> Iterator[int]:
        """Within it the stream is ``holder``'s; the lease's token. Raises StreamBusy.

        It is not given back at the end: a load goes on where the read ended (``hold``, ``release``).
        """
        own = (self.dialect.clock, pipeline.name, stream.name)
        with self._session(self._target(pipeline, stream)) as connection:
            patiently(connection, Ledger(connection).ensure)
            token = patiently(connection, lambda: lease.take(connection, *own, holder))
        with lease.kept(lambda: self._extend(pipeline, {stream.name: token})):
            yield token

    @contextmanager
    def hold(self, pipeline: Pipeline, tokens: Mapping[str, int]) -> Iterator[None]:
        """Within it the leases of these tokens, by stream, do not end, unless another run has taken the stream over."""
        self._extend(pipeline, tokens)
        with lease.kept(lambda: self._extend(pipeline, tokens)):
            yield

    def release(self, pipeline: Pipeline, tokens: Mapping[str, int]) -> None:
        """Give leases back, so that the next run need not wait."""
        self._extend(pipeline, tokens, seconds=0)

    def _extend(self, pipeline: Pipeline, tokens: Mapping[str, int], seconds: int = LEASE_SECONDS) -> None:
        with session(self._connect, f"leases of pipeline {pipeline.name}") as connection:
            patiently(connection, lambda: lease.extend(connection, self.dialect.clock, pipeline.name, tokens, seconds))

    @contextmanager
    def compare(
        self,
        pipeline: Pipeline,
        stream: Stream,
        scan: Scan,
        store: ObjectStore,
        known: Sequence[Column] = (),
        *,
        trusts_hashes: bool = True,
    ) -> Iterator[Comparison]:
        """A scan of the whole source, in files of ``store``, against the target, which must be there and holds the
        ``known`` columns; a deep scan is compared with their values."""
        target = self._target(pipeline, stream)
        with self._session(target) as connection:
            needs = needs_of(connection, Ledger(connection), [target], {})
            made = tuple(map(str, patiently(connection, lambda: needs.prepare(target), target.place)))
            held = needs.catalog.held(target) or {}
            keys = [column for column in scan.columns if column.name in scan.keys]
            table = TargetTable(target.schema, target.table, target.dialect)
            refuse(incompatible(table, held, keys), target.schema_policy, target.place)
            target = replace(target, marks_deleted=DELETED_AT in held)
            stage = Stage(connection, store, self.dialect, self._iam_role)
            relation, own = mode_of(target).present, (connection, self.dialect, store, self._iam_role)
            contents = Contents(*own, scan.prefix, stream, relation, tuple(known)) if scan.carried else None
            compared = compare(connection, stage, scan, target, contents, trusts_hashes=trusts_hashes)
            yield replace(compared, changes=made)

    def rows(
        self, pipeline: Pipeline, stream: Stream, store: ObjectStore, prefix: str, known: Sequence[Column]
    ) -> Iterator[pl.DataFrame]:
        """The rows that the stream's target holds and that are not marked as deleted, as its ``known`` columns. What
        the warehouse unloads goes to ``prefix``."""
        if not known:
            return
        target = self._target(pipeline, stream)
        with self._session(target) as connection:
            held = held_columns(connection, target) or {}
            there = f" WHERE {quote(DELETED_AT)} IS NULL" if DELETED_AT in held else ""
            relation = f"(SELECT * FROM {mode_of(target).present} AS p{there})"
            own = (connection, self.dialect, store, self._iam_role)
            yield from Contents(*own, prefix, stream, relation, tuple(known)).frames()

    def plan(
        self, pipeline: Pipeline, member: Stream | Model, columns: Sequence[Column]
    ) -> tuple[list[str], list[str]]:
        """The schema changes that loading these columns would make, and every statement of the load. Runs none."""
        target = self._target(pipeline, member)
        with self._session(target) as connection:
            needs = needs_of(connection, Ledger(connection), [target], self._models(pipeline))
            changes = needs.changes(target, columns, is_whole=bool(columns))
            fills = [] if isinstance(member, Stream) else self._fills(connection, pipeline, member)
            fills += filter(None, [other_function(target, needs.forms.of(target))])
        commands = [command for change in changes for command in change.sql()]
        if columns:
            commands += mode_of(target).planned(columns)
        told = [
            str(change)
            if allows(target.schema_policy, change)
            else f"{change}: the load would be refused ({remedy_of(change, target.schema_policy)})"
            for change in changes
        ]
        return [*told, *fills], commands

    def _fills(self, connection: Any, pipeline: Pipeline, model: Model) -> list[str]:
        """What the first run of a model reads, where its streams were loaded before."""
        ledger, told = Ledger(connection), []
        for root in pipeline.roots.changing(model):
            target = self._target(pipeline, root)
            if model.name in _unfilled(pipeline, root, ledger) and held_columns(connection, target) is not None:
                with connection.cursor() as cursor:
                    rows = count(cursor, count_all(target.quoted))
                told.append(f"fill {model.name}: {root.name} is read whole ({rows:,} rows in {target.name})")
        return told

    def make_views(self, pipeline: Pipeline, text: str) -> list[str]:
        """Make or replace a view of each table of versions, then those of a file; their names, or why one of the former
        is not made. Raises SourceMissing when a table is not there yet."""
        targets = [self._target(pipeline, member) for member in pipeline.members]
        others = [name.replace('"', "").lower() for name in names_of(text)]
        with session(self._connect, f"views of pipeline {pipeline.name}") as connection:
            made = make_version_views(connection, targets, others)
            return [*made, *make_views(connection, text, self.dialect)]

    def load(self, pipeline: Pipeline, batches: Sequence[Batch], store: ObjectStore) -> list[LoadResult]:
        """Apply batches of ``store`` in one commit and exactly once, however often this is called with them.

        Raises Superseded, TargetLost, TooManyDeletes, KeyViolation, CountMismatch, SchemaConflict, ConfigurationError,
        Unreachable, Conflict: each leaves targets, ledger and positions as they were.
        """
        models = self._models(pipeline)
        works = [
            Work(target_of(pipeline, pipeline.find(batch.stream), self.dialect, number), batch)
            for number, batch in enumerate(batches)
        ]
        place = works[0].target.place if len(works) == 1 else f"pipeline {pipeline.name}"
        with session(self._connect, place) as connection:
            return load(connection, Stage(connection, store, self.dialect, self._iam_role), works, models)

    def applied(self, pipeline: Pipeline, streams: Sequence[str]) -> list[AppliedBatch]:
        """The batches of these streams that were applied, in order."""
        with session(self._connect, f"pipeline {pipeline.name}") as connection:
            return Ledger(connection).applied_batches(pipeline.name, streams)

    def rebuild(self, pipeline: Pipeline, model: Model, store: ObjectStore, attempt: str) -> Rebuild:
        """A model's table made again, of batches in ``store``; ``attempt`` is a name that no other attempt has."""
        models = {one.name: self._target(pipeline, one) for one in pipeline.models}
        target = models[model.name]

        @contextmanager
        def open_session() -> Iterator[tuple[Any, Stage]]:
            with self._session(target) as connection:
                yield connection, Stage(connection, store, self.dialect, self._iam_role)

        return Rebuild(open_session, target, models, sorted(pipeline.roots.of(model)), attempt)

    def _now(self, connection: Any) -> datetime:
        """By the later of this machine's clock and the warehouse's: a slow one must not make positions seem to come."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {self.dialect.clock}")
            at_warehouse: datetime = cursor.fetchone()[0]
        return max(datetime.now(UTC), at_warehouse.replace(tzinfo=UTC))

    def _target(self, pipeline: Pipeline, member: Stream | Model) -> Target:
        return target_of(pipeline, member, self.dialect)

    def _models(self, pipeline: Pipeline) -> dict[str, Target]:
        return {model.name: self._target(pipeline, model) for model in pipeline.models}

    @contextmanager
    def _session(self, target: Target) -> Iterator[Any]:
        with session(self._connect, target.place) as connection:
            yield connection


def _refuse_unknown_types(target: Target, held: Held, recorded: Mapping[str, RecordedColumn]) -> None:
    for name, column in recorded.items():
        if name in held and held[name] is None and not column.has_left:
            raise SchemaConflict(
                f"column {name} of {target.name} is of a type unknown here, so that nothing can be compared with it",
                place=target.place,
                remedy="drop the column: the next run makes it again, reads everything and fills it",
            )


def _unfilled(pipeline: Pipeline, stream: Stream, ledger: Ledger) -> tuple[str, ...]:
    """Messages of a queue are not read again: a new model holds those that come from now on."""
    if not stream.capture.keeps_rows:
        return ()
    loaded = ledger.members(pipeline.name)
    models = [one for one in pipeline.models if stream in pipeline.roots.changing(one)]
    return tuple(one.name for one in models if one.name not in loaded)


def _note(newest: str | None, position: str | None) -> str:
    if newest == position:
        return ""
    return (
        f"the last position, {newest}, lies in the future (the source's clock was ahead) and is not used; the latest "
        f"one before now is {position or 'none, so that everything is read'}"
    )
