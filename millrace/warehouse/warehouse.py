"""The warehouse for the rest of the engine: states of streams, leases, comparison, plan and load."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl

from millrace.base.background import repeat_in_background
from millrace.base.naming import DELETED_AT, quote
from millrace.base.types import Column
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.lake.lease import LEASE_SECONDS, LakeLease
from millrace.lake.store import ObjectStore
from millrace.warehouse.compare import Comparison, Scan, compare
from millrace.warehouse.contents import Contents, Unloading
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.keepers.keeper import Keeper, OpenSession, Tokens
from millrace.warehouse.keepers.landed_batches import LandedBatch
from millrace.warehouse.keepers.warehouse_keeper import WarehouseKeeper
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.entries import AppliedBatch, OpenRejects
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.ledger.recorded_streams import RecordedStream, record_streams
from millrace.warehouse.load import load
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.plan import plan_load
from millrace.warehouse.rebuild import Rebuild
from millrace.warehouse.schema.catalog import look_up
from millrace.warehouse.schema.columns import ArrivingColumns, find_incompatible
from millrace.warehouse.schema.make_changes import refuse
from millrace.warehouse.schema.needed import needs_of
from millrace.warehouse.schema.version_views import make_version_views
from millrace.warehouse.session import fetch_count, open_session, retry_on_conflict
from millrace.warehouse.stage import Stage
from millrace.warehouse.statements import count_all, count_live_rows
from millrace.warehouse.stream_state import StreamState, find_unfilled, read_clock
from millrace.warehouse.target import Target
from millrace.warehouse.views import make_views, names_of
from millrace.warehouse.work import Work


class Warehouse:
    """A warehouse reached through ``connect``, which opens a psycopg2 connection."""

    def __init__(
        self,
        connect: Callable[[], Any],
        dialect: Dialect,
        iam_role: str = "",
        make_keeper: Callable[[OpenSession, Dialect], Keeper] = WarehouseKeeper,
    ) -> None:
        self._connect, self.dialect, self._iam_role = connect, dialect, iam_role
        self._keeper = make_keeper(partial(open_session, connect), dialect)

    def find_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come, by what the keeper of states says.

        Raises SchemaConflict when somebody gave a column of its target a type that Millrace does not know.
        """
        return self._keeper.find_state(pipeline, stream)

    def find_states(self, pipeline: Pipeline, streams: Sequence[Stream]) -> dict[str, StreamState]:
        """Return how far several streams have come, as ``find_state`` does, with fewer logins."""
        return self._keeper.find_states(pipeline, streams)

    def refresh_state(self, pipeline: Pipeline, stream: Stream) -> StreamState:
        """Return how far a stream has come, by what catalog and ledger say."""
        return self._keeper.refresh_state(pipeline, stream)

    def find_pauses(self, pipeline: Pipeline) -> dict[str, Pause]:
        """Return the pauses of a pipeline by stream, by what the keeper of states says."""
        return self._keeper.find_pauses(pipeline)

    def forget_states(self, pipeline: Pipeline, streams: Collection[str]) -> None:
        """Tell the keeper of states that the ledger of streams is about to change without a load."""
        self._keeper.forget_states(pipeline, streams)

    def forget_pauses(self, pipeline: Pipeline) -> None:
        """Tell the keeper of states that pauses changed in the ledger."""
        self._keeper.forget_pauses(pipeline)

    def find_recorded_streams(self, pipeline: Pipeline) -> list[RecordedStream]:
        """Return the streams that the wildcards of a pipeline stood for at the last run."""
        return self._keeper.find_recorded_streams(pipeline)

    def record_streams(self, pipeline: Pipeline, streams: Sequence[RecordedStream]) -> None:
        """Record what the wildcards of a pipeline stand for."""
        with self.open_ledger(f"pipeline {pipeline.name}") as ledger:
            retry_on_conflict(ledger.connection, ledger.ensure)
            retry_on_conflict(ledger.connection, lambda: record_streams(ledger, pipeline.name, streams))
        self._keeper.forget_recorded_streams(pipeline)

    @contextmanager
    def change_position(self, pipeline: Pipeline, stream: Stream, token: int, place: str) -> Iterator[Ledger]:
        """Open the ledger to change the position of a stream under a lease; errors name ``place``."""
        begun = self._keeper.begin_load(pipeline, {stream.name: token})
        with self.open_ledger(place) as ledger:
            yield ledger
            self._keeper.end_load(ledger.connection, pipeline, begun)

    @contextmanager
    def open_ledger(self, place: str) -> Iterator[Ledger]:
        """Open the ledger in a session of its own; errors name ``place``."""
        with open_session(self._connect, place) as connection:
            yield Ledger(connection)

    def list_open_rejects(self, pipeline: Pipeline, member: Stream | Model) -> list[OpenRejects]:
        """Return the rejects that were not read again since they were rejected, the latest first."""
        with self._open_session(self._target(pipeline, member)) as connection:
            return Ledger(connection).list_open_rejects(pipeline.name, member.name)

    def find_last_read(self, pipeline: Pipeline, member: Stream | Model) -> datetime | None:
        """Return when the newest batch was read; None if there is no batch."""
        with self._open_session(self._target(pipeline, member)) as connection:
            return Ledger(connection).find_last_read(pipeline.name, member.name, read_clock(connection, self.dialect))

    def find_newest_tokens(self, pipeline: Pipeline, member: Stream | Model) -> tuple[int, int]:
        """Return two tokens: of the newest batch that advanced the position, and of the newest batch of a new read.

        A batch that only read rejects again is no new read. Tokens are 0 if there is no such batch.
        """
        with self._open_session(self._target(pipeline, member)) as connection:
            return Ledger(connection).find_newest_tokens(pipeline.name, member.name)

    def land(self, pipeline: Pipeline, batch: Batch) -> None:
        """Let a batch wait in the lake for its load. The next read goes on from it."""
        self._keeper.land(pipeline, batch)

    def list_landed(self, pipeline: Pipeline, stream: Stream) -> list[LandedBatch]:
        """Return the batches that wait for their load, in the order in which they were read."""
        return self._keeper.list_landed(pipeline, stream)

    def forget_landed(self, pipeline: Pipeline, stream: Stream) -> None:
        """Let no batch of a stream wait any more: the next read begins at the position of the ledger."""
        self._keeper.forget_landed(pipeline, stream)

    def forget_outdated(self, pipeline: Pipeline, stream: Stream) -> int:
        """Let no batch wait if one was read by another declaration of the stream; return how many waited."""
        return self._keeper.forget_outdated(pipeline, stream)

    def find_collected(self, pipeline: Pipeline, stream: Stream, since: str) -> Collection[str]:
        """Return the objects with messages of a queue that were applied, by what the keeper of states says.

        Only objects with the name ``since`` or a later name are among them.
        """
        return self._keeper.find_collected(pipeline, stream, since)

    def list_collected(self, pipeline: Pipeline, stream: Stream, since: str) -> dict[str, str]:
        """Return the objects with messages of a queue that were applied, each with the batch that read it first.

        Only objects with the name ``since`` or a later name are listed.
        """
        with self._open_session(self._target(pipeline, stream)) as connection:
            return Ledger(connection).list_collected(pipeline.name, stream.name, since)

    @contextmanager
    def lease(self, pipeline: Pipeline, stream: Stream, holder: str) -> Iterator[int]:
        """Hold the lease of a stream for ``holder``, and yield its token. Raises StreamBusy.

        The lease is not given back at the end: a load goes on where the read ended (``hold``, ``release``).
        """
        with self.lease_all(pipeline, [stream], holder) as tokens:
            yield tokens[stream.name]

    @contextmanager
    def lease_all(self, pipeline: Pipeline, streams: Sequence[Stream], holder: str) -> Iterator[dict[str, int]]:
        """Hold the leases of streams for ``holder``, and yield their tokens. Raises StreamBusy, and holds none then."""
        tokens = self._keeper.take(pipeline, streams, holder)
        with self._renew(pipeline, tokens):
            yield tokens

    @contextmanager
    def hold(self, pipeline: Pipeline, tokens: Mapping[str, int]) -> Iterator[None]:
        """Keep leases from ending, unless another run has taken them. ``tokens`` are the leases by stream."""
        self._keeper.extend(pipeline, tokens, LEASE_SECONDS)
        with self._renew(pipeline, tokens):
            yield

    def release(self, pipeline: Pipeline, tokens: Mapping[str, int]) -> None:
        """Give leases back, so that the next run need not wait."""
        self._keeper.extend(pipeline, tokens, 0)

    def _renew(self, pipeline: Pipeline, tokens: Mapping[str, int]) -> AbstractContextManager[None]:
        return repeat_in_background(
            lambda: self._keeper.extend(pipeline, tokens, LEASE_SECONDS), lease.RENEWAL_SECONDS, "lease"
        )

    @contextmanager
    def compare(
        self,
        pipeline: Pipeline,
        stream: Stream,
        scan: Scan,
        store: ObjectStore,
        target_columns: Sequence[Column] = (),
        *,
        trusts_hashes: bool = True,
    ) -> Iterator[Comparison]:
        """Compare a scan of the whole source, in files of ``store``, with the target.

        The target must exist. A deep scan is compared with the values of its ``target_columns``.
        """
        target = self._target(pipeline, stream)
        with self._open_session(target) as connection:
            needs = needs_of(connection, Ledger(connection), [target], {})
            made = tuple(map(str, retry_on_conflict(connection, lambda: needs.prepare(target), target.place)))
            target = needs.catalog.look_up(target)
            keys = [column for column in scan.columns if column.name in scan.keys]
            refuse(find_incompatible(target, keys), target.policies.schema_policy, target.place)
            stage = Stage(connection, store, self.dialect, self._iam_role)
            live_rows, files = applier_of(target).live_rows, Unloading(store, scan.prefix, self._iam_role)
            columns = tuple(target_columns)
            contents = Contents(connection, target, stream, live_rows, columns, files) if scan.carried else None
            compared = compare(connection, stage, scan, target, contents, trusts_hashes=trusts_hashes)
            yield replace(compared, changes=made)

    def read_rows(
        self, pipeline: Pipeline, stream: Stream, store: ObjectStore, prefix: str, target_columns: Sequence[Column]
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows of a target that are not marked as deleted, with its ``target_columns``.

        Files that the warehouse unloads are written under ``prefix``.
        """
        if not target_columns:
            return
        target = self._target(pipeline, stream)
        with self._open_session(target) as connection:
            target = look_up(connection, target)
            there = f" WHERE {quote(DELETED_AT)} IS NULL" if target.marks_deleted else ""
            relation = f"(SELECT * FROM {applier_of(target).live_rows} AS p{there})"
            files, columns = Unloading(store, prefix, self._iam_role), tuple(target_columns)
            yield from Contents(connection, target, stream, relation, columns, files).read_frames()

    def count_live_rows(self, pipeline: Pipeline, stream: Stream) -> int:
        """Return how many rows of a target are not marked as deleted; 0 without a target."""
        target = self._target(pipeline, stream)
        with self._open_session(target) as connection:
            target = look_up(connection, target)
            if target.columns is None:
                return 0
            with connection.cursor() as cursor:
                return fetch_count(cursor, count_live_rows(target, applier_of(target).live_rows))

    def plan(
        self, pipeline: Pipeline, member: Stream | Model, columns: Sequence[Column], *, are_all: bool = True
    ) -> tuple[list[str], list[str]]:
        """Return the schema changes that loading these columns would make, and every statement of the load.

        ``are_all`` says that the source has no other columns. Nothing is run.
        """
        target = self._target(pipeline, member)
        with self._open_session(target) as connection:
            changes, statements = plan_load(
                connection, target, ArrivingColumns(columns, are_all=are_all and bool(columns)), self._models(pipeline)
            )
            fills = [] if isinstance(member, Stream) else self._find_fills(connection, pipeline, member)
            return [*changes, *fills], statements

    def _find_fills(self, connection: Any, pipeline: Pipeline, model: Model) -> list[str]:
        """Find what the first run of a model reads, if its streams were loaded before."""
        ledger, fills = Ledger(connection), []
        for root in pipeline.roots.changing(model):
            target = look_up(connection, self._target(pipeline, root))
            if model.name in find_unfilled(pipeline, root, ledger) and target.columns is not None:
                with connection.cursor() as cursor:
                    rows = fetch_count(cursor, count_all(target.quoted))
                fills.append(f"fill {model.name}: {root.name} is read whole ({rows:,} rows in {target.name})")
        return fills

    def make_views(self, pipeline: Pipeline, text: str) -> list[str]:
        """Make or replace a view of each table of versions, then the views of a file.

        Return their names and, for a view of versions that is not made, the reason. Raises SourceMissing when a table
        does not exist yet.
        """
        targets = [self._target(pipeline, member) for member in pipeline.members]
        others = [name.replace('"', "").lower() for name in names_of(text)]
        with open_session(self._connect, f"views of pipeline {pipeline.name}") as connection:
            made = make_version_views(connection, targets, others)
            return [*made, *make_views(connection, text, self.dialect)]

    def load(
        self,
        pipeline: Pipeline,
        batches: Sequence[Batch],
        store: ObjectStore,
        tokens: Tokens | None = None,
    ) -> list[LoadResult]:
        """Apply batches of ``store`` in one commit and exactly once, however often this is called with them.

        ``tokens`` are the leases by stream under which this is done; None: those that the batches were read under.

        Raises Superseded, TargetLost, TooManyDeletes, KeyViolation, CountMismatch, SchemaConflict, ConfigurationError,
        Unreachable, Conflict: each leaves targets, ledger and positions as they were.
        """
        read_under = {
            batch.stream: None if batch.progress.predecessor is None else batch.progress.token
            for batch in batches
            if batch.kind != "model"
        }
        models, leases = self._models(pipeline), read_under if tokens is None else tokens
        works = [
            Work(target_of(pipeline, pipeline.find(batch.stream), self.dialect, number), batch)
            for number, batch in enumerate(batches)
        ]
        place = works[0].target.place if len(works) == 1 else f"pipeline {pipeline.name}"
        with open_session(self._connect, place) as connection:
            stage = Stage(connection, store, self.dialect, self._iam_role)
            begun: dict[str, LakeLease] = {}
            results = load(
                connection, stage, works, models, lambda: begun.update(self._keeper.begin_load(pipeline, leases))
            )
            self._keeper.end_load(connection, pipeline, begun)
            return results

    def list_applied(self, pipeline: Pipeline, streams: Sequence[str]) -> list[AppliedBatch]:
        """Return the batches of these streams that were applied, in order."""
        with self.open_ledger(f"pipeline {pipeline.name}") as ledger:
            return ledger.list_applied(pipeline.name, streams)

    def prepare_rebuild(self, pipeline: Pipeline, model: Model, store: ObjectStore, attempt: str) -> Rebuild:
        """Return the ``Rebuild`` that makes the table of a model again from batches in ``store``.

        No other attempt has the name ``attempt``.
        """
        models = {model.name: self._target(pipeline, model) for model in pipeline.models}
        target = models[model.name]

        @contextmanager
        def open_session() -> Iterator[tuple[Any, Stage]]:
            with self._open_session(target) as connection:
                yield connection, Stage(connection, store, self.dialect, self._iam_role)

        return Rebuild(open_session, target, models, sorted(pipeline.roots.of(model)), attempt)

    def _target(self, pipeline: Pipeline, member: Stream | Model) -> Target:
        return target_of(pipeline, member, self.dialect)

    def _models(self, pipeline: Pipeline) -> dict[str, Target]:
        return {model.name: self._target(pipeline, model) for model in pipeline.models}

    @contextmanager
    def _open_session(self, target: Target) -> Iterator[Any]:
        with open_session(self._connect, target.place) as connection:
            yield connection
