"""One history of a change log: a source, two streams, a warehouse. After every run the targets are compared with the
states that the source had while the run read it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, get_args
from unittest.mock import patch

import psycopg2
from typing_extensions import override

from local.stack import WAREHOUSE_IAM_ROLE, Stack
from millrace import Pipeline, Stream
from millrace.base.errors import ConfigurationError, MillraceError, RetryableError, Superseded
from millrace.base.naming import literal, quote
from millrace.change_logs import postgres_log, postgres_peek, postgres_slot
from millrace.declaration.consent import Consent
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLeases, prefix_of
from millrace.runs import changed_rows
from millrace.runs.choose import Mode, ReadRequest
from millrace.seed_data.transfers import TABLES, TransferWriters
from millrace.warehouse.keepers.keeper import KeptIn
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.warehouse import Warehouse
from tests.log_histories.changing_lake import ChangingLake
from tests.log_histories.log_server import LogServer
from tests.log_histories.log_setting import LogSetting
from tests.log_histories.log_source import ACCOUNTS, SUM, LogSource
from tests.log_histories.log_target import LogTarget, read_target
from tests.support.engine import PIPELINE, WAREHOUSE_ADDRESS, bucket_store, engine_between
from tests.torture.crash import Killed, Trap, TrappedStore, trapped
from tests.torture.judge import Divergence
from tests.torture.places import FIRST_HOLDER, TrappedEngine, WarehouseKind

PATIENCE_SECONDS = 0.4
"""Instead of a minute, for transactions that are open."""
STEP_BYTES = 200_000
"""Instead of 1 GB, for a log to be read in steps."""
MOVED_BYTES = 300_000
"""Instead of 64 MB, for a position to be worth to be recorded."""
PATIENT_ATTEMPTS, ATTEMPTS = 3, 6
"""Of a run that fails for a reason that passes; the last ones while nobody writes."""
CONSENT = Consent(allow_deletes=True)
"""A reload forgets what only the target has."""
Ended = dict[str, LoadResult] | Exception | Killed


class WritingTrap(Trap):
    """A trap that lets somebody write to the source between two steps of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None
        self.steps = 0
        self._writing = threading.Lock()

    @override
    def step(self, what: str, act: Callable[[], Any], connection: Any = None) -> Any:
        self.steps += 1
        if self.meanwhile is not None:
            with self._writing:
                self.meanwhile()
        return super().step(what, act, connection)


@dataclass(frozen=True)
class LogPlaces:
    """The servers of one process: sources by name, a warehouse of each kind, and a lake for each."""

    stack: Stack
    server: LogServer
    warehouse_urls: Mapping[WarehouseKind, str]
    lakes: Mapping[WarehouseKind, Any]

    def engine(self, kind: WarehouseKind) -> TrappedEngine:
        """An engine between these places, of which every step may fail."""
        trap = WritingTrap()
        plain = engine_between(self.stack, self.lakes[kind], self.server.url, self.warehouse_urls[kind])
        connect, dialect = trapped(plain.connect_warehouse, trap), plain.warehouse.dialect
        return TrappedEngine(
            TrappedStore(plain.store, trap),
            Warehouse(connect, dialect, WAREHOUSE_IAM_ROLE if dialect.copies_from_lake else ""),
            connect,
            self.server.url,
            "",
            holder=FIRST_HOLDER,
            trap=trap,
            connect_plainly=plain.connect_warehouse,
        )


def log_places_on(stack: Stack, server: LogServer, name: str) -> LogPlaces:
    """Fresh places on running servers."""
    bucket = stack.aws.create_bucket(f"{name}-lake".replace("_", "-"))
    urls: dict[WarehouseKind, str] = {
        "postgres": stack.postgres.create_database(f"{name}_warehouse"),
        "redshift": stack.warehouse.url,
    }
    return LogPlaces(stack, server, urls, {"postgres": ChangingLake(), "redshift": bucket_store(stack, bucket)})


@dataclass
class StaleRead:
    """Batches that were read and not loaded yet."""

    streams: Sequence[Stream]
    batches: list[Batch]
    first_state: int
    last_state: int


@dataclass
class LogHistory:
    """``targets``: as they were seen last; ``commits``: loads that were applied."""

    places: LogPlaces
    setting: LogSetting
    name: str
    stale: list[StaleRead] = field(default_factory=list)
    targets: dict[str, LogTarget | None] = field(default_factory=dict)
    commits: int = 0
    longest_run: int = 60
    """Steps of the run that took the most until now."""

    def __post_init__(self) -> None:
        self.server = self.places.server
        self.source = LogSource(self.server, self.name, not self.setting.is_concurrent)
        engine = self.places.engine(self.setting.warehouse)
        self.engines = {place: engine.with_leases_in(place) for place in get_args(KeptIn)}
        self.engine = self.engines["warehouse" if self.setting.leases == "warehouse" else "lake"]
        self.streams = [self.setting.stream(side, self.name) for side in range(len(TABLES))]
        self.pipeline = Pipeline(PIPELINE, streams=self.streams)
        self._view = self.engine.connect_plainly()
        self._view.autocommit = True
        self._writers: TransferWriters | None = None
        self._is_over = False
        self._patches = ExitStack()

    @property
    def trap(self) -> WritingTrap:
        """Where the runs of this history fail."""
        trap = self.engine.trap
        assert isinstance(trap, WritingTrap)
        return trap

    def begin(self) -> None:
        """Create the tables; from now on nobody waits as long as usual."""
        wait = postgres_slot.wait_until
        self._patches.enter_context(
            patch.object(postgres_log, "wait_until", lambda reached, seconds=1.0: wait(reached, PATIENCE_SECONDS))
        )
        self._patches.enter_context(patch.object(postgres_slot, "WAIT_SECONDS", PATIENCE_SECONDS))
        self._patches.enter_context(patch.object(postgres_log, "MOVED_BYTES", MOVED_BYTES))
        self._patches.enter_context(patch.object(postgres_peek, "STEP_BYTES", STEP_BYTES))
        self._patches.enter_context(patch.object(changed_rows, "FEW_KEYS", 0))
        self.source.create()
        self.targets = dict.fromkeys(self.stream_names())
        self.start_writers()

    def stream_names(self) -> list[str]:
        """The names of both streams."""
        return [stream.name for stream in self.streams]

    def start_writers(self) -> None:
        """Let the writers of a concurrent history work."""
        if self.setting.is_concurrent and self._writers is None and not self._is_over:
            url = f"{self.server.url}?options=-csearch_path%3D{self.name}"
            self._writers = TransferWriters(url, ACCOUNTS, seed=self.source.fresh_number(), pause_seconds=0.03)
            self._writers.start()

    def stop_writers(self) -> None:
        """End all transactions that are open."""
        if self._writers is not None:
            self._writers.stop()
            self._writers = None
        self.source.write_all_out()

    def run(
        self,
        *,
        mode: Mode = "incremental",
        sides: Sequence[int] = (0, 1),
        trouble: Callable[[], None] = lambda: None,
        may_fail: bool = False,
        refuses: bool = False,
    ) -> str:
        """Read and load streams, and compare the targets. ``trouble`` is made before; with ``may_fail`` it is not
        tried again; with ``refuses`` something is not set up, and the run says so."""
        streams, ended, words = [self.streams[side] for side in sides], Exception("never ran"), []
        for attempt in range(ATTEMPTS):
            if attempt:
                self.source.write_all_out()
            if attempt == PATIENT_ATTEMPTS:
                # Writers that empty tables may alter one in each of the reads.
                self.stop_writers()
            self._expire_leases()
            trouble()
            first_state, self.trap.steps = max(len(self.source.states) - 1, 0), 0
            ended = self._attempt(streams, mode)
            self.calm()
            words.append(_word(ended))
            self._judge(streams, ended, first_state, len(self.source.states) - 1)
            self.start_writers()
            if refuses != isinstance(ended, ConfigurationError):
                raise Divergence(f"a run ended with {ended!r}") from _raised(ended)
            if may_fail or refuses or isinstance(ended, dict):
                return ", ".join(words)
            if not isinstance(ended, RetryableError | Superseded):
                raise Divergence(f"a run ended with {ended!r}") from _raised(ended)
        raise Divergence(f"{ATTEMPTS} runs failed: {', '.join(words)}: {ended!r}") from _raised(ended)

    def _attempt(self, streams: Sequence[Stream], mode: Mode) -> Ended:
        try:
            batches = asyncio.run(self.engine.read_log(self.pipeline, streams, ReadRequest(mode, consent=CONSENT)))
            return self._load(batches)
        except (MillraceError, Killed) as error:
            return error

    def _load(self, batches: list[Batch]) -> dict[str, LoadResult]:
        results = self.engine.warehouse.load(self.pipeline, batches, self.engine.store) if batches else []
        return {result.stream: result for result in results}

    def calm(self) -> None:
        """From now on nothing fails and the source runs."""
        self.longest_run = max(self.longest_run, self.trap.steps)
        self.trap.meanwhile = None
        self.trap.disarm()
        if self.server.is_down():
            self.source.forget_writers()
            self.server.start_again()
            self.source.watch()

    def _expire_leases(self) -> None:
        """As if the time of every lease were over."""
        with suppress(psycopg2.errors.UndefinedTable):
            self._query("UPDATE millrace.leases SET expires_at = '2020-01-01' WHERE holder <> 'the lake'")
        lake = LakeLeases(self.places.lakes[self.setting.warehouse], prefix_of(WAREHOUSE_ADDRESS))
        for name in self.stream_names():
            if token := lake.find(PIPELINE, name).token:
                lake.extend(PIPELINE, name, token, seconds=0)

    def read_only(self, sides: Sequence[int]) -> str:
        """Read, as a run that is killed before it loads."""
        streams, first_state = [self.streams[side] for side in sides], max(len(self.source.states) - 1, 0)
        self._expire_leases()
        try:
            batches = asyncio.run(self.engine.read_log(self.pipeline, streams))
        except RetryableError as error:
            return _word(error)
        if batches:
            self.stale.append(StaleRead(streams, batches, first_state, len(self.source.states) - 1))
        return f"{len(batches)} batches"

    def load_stale(self, stale: StaleRead) -> str:
        """Load what was read earlier, unless another run was faster."""
        self.stale.remove(stale)
        names = [batch.stream for batch in stale.batches]
        streams = [stream for stream in stale.streams if stream.name in names]
        try:
            ended: Ended = self._load(stale.batches)
        except (Superseded, RetryableError) as error:
            ended = error
        self._judge(streams, ended, stale.first_state, stale.last_state)
        return _word(ended)

    def move_leases(self) -> str:
        """From now on runs keep leases in the other place, if the history is one of both."""
        if self.setting.leases == "both":
            self.engine = next(engine for engine in self.engines.values() if engine is not self.engine)
        return next(place for place, engine in self.engines.items() if engine is self.engine)

    def end(self) -> None:
        """End all transactions and run: now targets and source are equal, and another run finds nothing."""
        self._is_over = True
        self.stop_writers()
        self.source.is_watched = True
        self.source.states.clear()
        self.source.watch()
        if self.setting.is_concurrent:
            assert self.source.read_sum() == SUM, "the writers themselves lost the sum"
        self.run()
        self._judge(self.streams, {}, 0, 0)
        self._expire_leases()
        again = self._attempt(self.streams, "incremental")
        if not isinstance(again, dict) or any(r.inserted or r.updated or r.deleted for r in again.values()):
            raise Divergence(f"nothing changed, and a run ended with {again!r}") from _raised(again)
        self._judge(self.streams, again, 0, 0)

    def drop(self) -> None:
        """Leave nothing behind."""
        with suppress(Exception):
            self.stop_writers()
        self._patches.close()
        self.calm()
        self.source.drop()
        for stream in self.streams:
            of_stream = f"pipeline = {literal(PIPELINE)} AND stream = {literal(stream.name)}"
            for statement in (
                f"DROP TABLE IF EXISTS {quote(PIPELINE, stream.name)}",
                *(
                    f"DELETE FROM millrace.{table} WHERE {of_stream}"
                    for table in ("batches", "columns", "leases", "logs")
                ),
            ):
                with suppress(Exception):
                    self._query(statement)
        self._view.close()

    def _query(self, statement: str) -> None:
        """Run a statement in the warehouse, of which no run knows."""
        with self._view.cursor() as cursor:
            cursor.execute(statement)

    def _judge(self, streams: Sequence[Stream], ended: Ended, first_state: int, last_state: int) -> None:
        """Look at both targets after a run of some streams that ended so."""
        before = self.targets
        self.targets = {name: read_target(self._view, name) for name in before}
        for name, target in self.targets.items():
            if target is not None and target.doubled:
                raise Divergence(f"{name} holds keys twice: {sorted(target.doubled)}", doubled=target.doubled)
        names = {stream.name for stream in streams}
        changed = {name for name in before if before[name] != self.targets[name]}
        if changed - names:
            raise Divergence(f"a run of {sorted(names)} changed {sorted(changed - names)}")
        if changed:
            self.commits += 1
        if not isinstance(ended, dict) and not changed:
            return
        if self.source.is_watched:
            self._require_state(streams, range(max(first_state, 0), last_state + 1))
        elif len(streams) == len(self.streams):
            self._require_sum()

    def _require_state(self, streams: Sequence[Stream], candidates: range) -> None:
        """The targets hold what the source held at one moment."""
        found: list[tuple[int, set[int], set[int]]] = []
        for number in candidates:
            lacking, surplus = self._compare(streams, number)
            if not lacking and not surplus:
                return
            found.append((len(lacking) + len(surplus), lacking, surplus))
        _, lacking, surplus = min(found, key=lambda each: each[0])
        raise Divergence(
            f"the targets hold none of the {len(candidates)} states that the source had while it was read: in the "
            f"nearest one rows lack or differ: {sorted(lacking)}, are there without need: {sorted(surplus)}",
            lost=lacking,
            doubled=surplus,
        )

    def _compare(self, streams: Sequence[Stream], number: int) -> tuple[set[int], set[int]]:
        lacking: set[int] = set()
        surplus: set[int] = set()
        for stream in streams:
            expected = self.source.states[number][stream.reference.name]
            target = self.targets[stream.name]
            if target is None:
                lacking |= expected.keys()
                continue
            of_target = target.wrong_rows(expected, keeps_deleted=stream.deletes == "ignore")
            lacking, surplus = lacking | of_target[0], surplus | of_target[1]
        return lacking, surplus

    def _require_sum(self) -> None:
        """Writers nobody stopped: at least the sum is that of every state."""
        targets = [self.targets[stream.name] for stream in self.streams]
        if any(stream.deletes == "ignore" for stream in self.streams) or any(target is None for target in targets):
            return
        total = sum(row["amount"] for target in targets if target for row in target.rows.values())
        if total != SUM:
            assert self.source.read_sum() == SUM, "the writers themselves lost the sum"
            raise Divergence(f"the sum is {total}, and was {SUM} at all times")


def _raised(ended: Ended) -> BaseException | None:
    return ended if isinstance(ended, BaseException) else None


def _word(ended: Ended) -> str:
    if isinstance(ended, dict):
        return "+".join(sorted({result.kind for result in ended.values()})) or "nothing new"
    return type(ended).__name__
