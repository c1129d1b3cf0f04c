"""One history: a source, a stream, a warehouse, and what is known of each key; every run is judged when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import get_args
from unittest.mock import patch

from bson import json_util

from millrace import Stream
from millrace.base.errors import (
    ConfigurationError,
    FatalError,
    MillraceError,
    RetryableError,
    StreamBusy,
    Superseded,
    TooManyDeletes,
    TooManyRejects,
)
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLeases, prefix_of
from millrace.lake.manifest import read_manifest
from millrace.runs.choose import Mode, ReadRequest
from millrace.runs.gathered import load_landed
from millrace.warehouse import apply
from millrace.warehouse.keepers.keeper import KeptIn
from tests.support.engine import WAREHOUSE_ADDRESS
from tests.torture.crash import Killed
from tests.torture.judge import Divergence, Judge, Kind, Truth
from tests.torture.places import FIRST_HOLDER, Places, TrappedEngine
from tests.torture.setting import Setting, breaks_contract, is_too_long, source_of, stream_of
from tests.torture.short import Cut
from tests.torture.source import Stamp, Transaction
from tests.torture.values import Key, Row
from tests.torture.warehouse import Held, Line, WarehouseView

FULL_CONSENT = Consent(accept_rejects=True, allow_deletes=True)
"""Of every run that is not about what a person must allow."""
Ended = Batch | Exception | Killed | None
"""How a run ended: with a batch, with none, or not."""


@dataclass(frozen=True)
class Stale:
    """A batch that was read and not loaded yet."""

    batch: Batch
    kind: Kind
    truth: Truth


@dataclass(frozen=True)
class Read:
    """What a batch was read for, and the source then; ``free`` keys were written meanwhile."""

    kind: Kind
    truth: Truth
    free: Set[Key] = frozenset()


class History:
    """``unseen``, ``rejected``: as in judge.py. ``deleted`` rows may come back, ``transactions`` are open, ``stale``
    batches wait in the lake."""

    def __init__(self, places: Places, setting: Setting, name: str) -> None:
        self.setting = setting
        zone = "" if setting.is_zone_declared else setting.zone
        engine = replace(
            places.engine(setting.warehouse, zone, is_pooled=setting.is_pooled),
            consent=FULL_CONSENT,
            load_every=timedelta(hours=1) if setting.gathers else None,
        )
        self.engines = {place: engine.with_leases_in(place) for place in get_args(KeptIn)}
        self.names = (name, f"{name}_too")
        """Those that the stream has in turn."""
        self.engine = self.engines["warehouse" if setting.leases == "warehouse" else "lake"]
        self.source = source_of(places, setting, name)
        self.unseen: set[Key] = set()
        self.rejected: set[Key] = set()
        self.deleted: dict[Key, Row] = {}
        self.transactions: list[Transaction] = []
        self.stale: list[Stale] = []
        clock = self.engine.warehouse.dialect.clock
        lake = LakeLeases(places.lake, prefix_of(WAREHOUSE_ADDRESS))
        self.view = WarehouseView(self.engine.connect_plainly, clock, name, self.source.keys, lake)
        self.was_rehashed = False
        self._open_rejects = 0
        self._lines: list[Line] = []
        self._reads: dict[str, Read] = {}
        self._judge = Judge(self.is_bad, setting.deletes)
        self._seen = Held()

    @property
    def stream(self) -> Stream:
        """As a pipeline would declare it."""
        return self.declare(self.view.stream)

    def declare(self, name: str) -> Stream:
        """The stream by a name."""
        return stream_of(self.setting, self.source, name)

    def is_bad(self, row: Row) -> bool:
        """Whether the row must be rejected."""
        return breaks_contract(self.setting, row) or is_too_long(self.setting, row) or self.source.is_bad(row)

    def noticed(self, key: Key, stamp: Stamp) -> None:
        """A row was written and committed: whether a window must notice it."""
        row = self.source.contents()[key]
        if stamp != "same" or row.get(self.source.stamp) is None:
            self.unseen.discard(key)
        else:
            self.unseen.add(key)

    def free_keys(self) -> list[Key]:
        """Keys of rows that no open transaction has written."""
        locked = {key for transaction in self.transactions for key in transaction.touched}
        return sorted((key for key in self.source.contents() if key not in locked), key=repr)

    def truth(self) -> Truth:
        """As it is now."""
        return Truth(self.source.contents(), frozenset(self.unseen), frozenset(self.rejected))

    def has_target(self) -> bool:
        """Whether a row was ever loaded."""
        return bool(self._seen.columns)

    def delivered_columns(self) -> set[str]:
        """Paths that the target has columns for."""
        return set(self._seen.columns)

    def move_leases(self) -> str:
        """From now on runs have the other setting, if the history is one of both; where leases are kept now."""
        if self.setting.leases == "both":
            self.engine = next(engine for engine in self.engines.values() if engine is not self.engine)
        return next(place for place, engine in self.engines.items() if engine is self.engine)

    def run(
        self,
        kind: Kind,
        *,
        holder: str = FIRST_HOLDER,
        trouble: Callable[[], None] = lambda: None,
        cut: Cut | None = None,
        meanwhile: Callable[[], Set[Key]] = frozenset,
    ) -> str:
        """A run from the read to the load; how it ended. What was never loaded is read as a whole and not swept, as in
        runs/choose.py. ``trouble`` is made first; with a ``cut`` the run may fail; ``meanwhile`` writes to the source
        while the run is under way, and tells which keys."""
        kind = kind if kind == "replay" or self.has_target() else "window"
        truth, busy = self.truth(), self.view.holder() not in {None, holder}
        engine = replace(self.engine, holder=holder, batches=[], cut=cut)
        trouble()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(meanwhile)
            ended = self._attempt(engine, kind)
            free = writing.result()
        self.engine.calm()
        self._remember(engine.batches, Read(kind, truth, free))
        if busy != isinstance(ended, StreamBusy) and not isinstance(ended, Killed | RetryableError):
            raise Divergence(f"{self.view.holder()} holds the stream, and {holder} ended with {ended!r}") from _raised(
                ended
            )
        is_told = cut is not None and isinstance(ended, FatalError) and "not found by their key" in str(ended)
        is_told |= kind == "reload" and isinstance(ended, ConfigurationError) and "source is empty" in str(ended)
        self.judge(kind, truth, *(() if is_told else (ended,)), free=free)
        return _word(ended)

    def command(self, act: Callable[[], object], trouble: Callable[[], None] = lambda: None) -> Ended:
        """Do something that applies nothing, or only batches that wait; return how it ended. It may fail after
        ``trouble``."""
        self.view.expire_lease()
        truth, ended = self.truth(), list[Ended]()
        trouble()
        try:
            act()
        except (MillraceError, Killed) as error:
            ended.append(error)
        self.engine.calm()
        self.judge("window", truth, *ended)
        return ended[0] if ended else None

    def load_waiting(self, trouble: Callable[[], None] = lambda: None) -> Ended:
        """Load the batches that wait in the lake, if there are any."""
        engine, pipeline, stream = self.engine, self.engine.pipeline(self.stream), self.stream

        def load() -> None:
            with engine.warehouse.lease(pipeline, stream, engine.holder) as token:
                load_landed(engine.warehouse, engine.store, pipeline, stream, token)
            engine.warehouse.release(pipeline, {stream.name: token})

        return self.command(load, trouble)

    def judge_pauses(self, *, is_paused: bool) -> None:
        """Runs with either setting know whether the stream is paused."""
        for place, engine in self.engines.items():
            if (self.view.stream in engine.warehouse.find_pauses(engine.pipeline(self.stream))) != is_paused:
                raise Divergence(f"a run with leases in the {place} does not know whether the stream is paused")

    def go_by(self, name: str) -> None:
        """From now on the stream has another name: batches of the former name are never loaded."""
        if name != self.view.stream:
            self.stale.clear()
            self.view.stream = name

    def refused(self, kind: Kind) -> str:
        """A run that may neither reject nor delete a row: it does not, or nothing is committed. Then a run that may. A
        window may reject again what was rejected before."""
        if self.setting.gathers:
            self.load_waiting()
        self.view.expire_lease()
        kind = kind if kind == "replay" or self.has_target() else "window"
        truth, known = self.truth(), {line.batch_id for line in self._lines}
        rejected_before = self._open_rejects if kind == "window" else 0
        engine = replace(self.engine, batches=[], consent=NO_CONSENT)
        with patch.object(apply, "SMALL_ROWS", 0):
            ended = self._attempt(engine, kind, replace(self.stream, max_rejects=0, max_delete_share=0))
        self._remember(engine.batches, Read(kind, truth))
        is_refused = isinstance(ended, TooManyRejects | TooManyDeletes)
        self.judge(kind, truth, *(() if is_refused else (ended,)))
        fresh = [line for line in self._lines if line.batch_id not in known]
        if any(line.deleted or line.rejected > rejected_before for line in fresh):
            raise Divergence("rows were rejected or deleted, and nobody had allowed it")
        return f"{_word(ended)}, {self.run(kind)}" if is_refused else _word(ended)

    def twins(self, kinds: tuple[Kind, Kind]) -> str:
        """Two runs at once; a sweep owes more than a window."""
        self.view.expire_lease()
        truth = self.truth()
        settings = self.engines.values() if self.setting.leases == "both" else (self.engine, self.engine)
        engines = [replace(one, holder=f"twin {number}", batches=[]) for number, one in enumerate(settings, start=1)]
        with ThreadPoolExecutor(2) as pool:
            ended = list(pool.map(self._attempt, engines, kinds))
        for engine, kind_of_twin in zip(engines, kinds, strict=True):
            self._remember(engine.batches, Read(kind_of_twin, truth))
        applied = [kind for kind, end in zip(kinds, ended, strict=True) if isinstance(end, Batch | None)]
        if not applied or any(isinstance(end, Exception) and not isinstance(end, StreamBusy) for end in ended):
            raise Divergence(f"twins ended with {ended!r}")
        kind: Kind = "sweep" if "sweep" in applied else "window"
        self.judge(kind, truth, *ended)
        return ", ".join(map(_word, ended))

    def extract(self, kind: Kind) -> str:
        """Read a batch now, to be loaded later or never."""
        self.view.expire_lease()
        truth = self.truth()
        read = self.engine.extract_sweep if kind == "sweep" else self.engine.extract
        batch = asyncio.run(read(self.stream))
        self.stale += [Stale(batch, kind, truth)] if batch else []
        self._remember([batch] if batch else [], Read(kind, truth))
        return _word(batch)

    def load(self, stale: Stale, times: int) -> str:
        """Load a batch that was read earlier, so many times at once."""

        def load(_: int) -> Ended:
            try:
                self.engine.load(self.stream, stale.batch)
            except (MillraceError, Killed) as error:
                return error
            return stale.batch

        may_load = self.view.newest_token() <= stale.batch.progress.token
        may_load |= stale.batch.batch_id in {line.batch_id for line in self._lines}
        with ThreadPoolExecutor(times) as pool:
            ended = list(pool.map(load, range(times)))
        if not may_load and not all(isinstance(end, Superseded) for end in ended):
            raise Divergence(f"another run had taken the stream over, and a load ended with {ended!r}")
        self.judge(stale.kind, stale.truth, *ended)
        return ", ".join(map(_word, ended))

    def judge(self, kind: Kind, truth: Truth, *ended: Ended, free: Set[Key] = frozenset()) -> None:
        """Look at everything, after runs that ended so; the ledger knows whether they applied anything."""
        for error in filter(_is_unexpected, ended):
            raise Divergence(f"{type(error).__name__}: {error}") from _raised(error)
        before, after, lines = self._seen, self.view.held(), self.view.lines()
        known = {line.batch_id for line in self._lines}
        new = [line for line in lines if line.batch_id not in known and line.kind != "reset"]
        reads = [self._reads[line.batch_id] for line in new]
        kinds = [_kind_of(line, read) for line, read in zip(new, reads, strict=True)]
        if new:
            chosen = _choose_read(kinds, reads)
            self._judge.check_applied(kinds[chosen], reads[chosen].truth, before, after, _find_free(reads, chosen))
        elif None in ended and not self._is_waiting():
            self._judge.check_applied(kind, truth, before, after, free)
        else:
            self._judge.check_unchanged(before, after)
        if not self.was_rehashed and "reload" not in kinds:
            self._judge.check_not_rewritten(before, after)
        for line, read, line_kind in zip(new, reads, kinds, strict=True):
            self._take_rejects(line, line_kind, read)
        self._judge.check_ledger(lines, self._open_rejects)
        self._seen, self._lines = after, lines
        self.unseen = {
            key for key, row in self.source.contents().items() if key in self.unseen and self._differs(key, row)
        }

    def end(self) -> None:
        """Commit what is open, sweep, replay: now the target is the source."""
        while self.transactions:
            self.close_transaction(self.transactions[0], commit=True)
        self.view.expire_lease()
        for kind in ("window", "sweep", "replay"):
            self.run(kind)
        self._judge.check_applied("sweep", self.truth(), self._seen, self.view.held())

    def close_transaction(self, transaction: Transaction, *, commit: bool) -> None:
        """Its rows are seen now, or never."""
        transaction.end(commit=commit)
        self.transactions.remove(transaction)
        for key in transaction.touched if commit else ():
            self.noticed(key, "now")

    def _attempt(self, engine: TrappedEngine, kind: Kind, stream: Stream | None = None) -> Ended:
        mode: Mode = "incremental" if kind == "window" else kind
        read_request = ReadRequest(mode, consent=engine.consent, may_wait=self.setting.gathers)
        try:
            asyncio.run(engine.run(stream or self.stream, read_request))
        except (MillraceError, Killed) as error:
            return error
        return engine.batches[-1] if engine.batches else None

    def _remember(self, batches: Sequence[Batch], read: Read) -> None:
        self._reads |= dict.fromkeys((batch.batch_id for batch in batches), read)

    def _is_waiting(self) -> bool:
        """Whether batches wait in the lake."""
        return bool(self.engine.warehouse.list_landed(self.engine.pipeline(self.stream), self.stream))

    def _take_rejects(self, line: Line, kind: Kind, read: Read) -> None:
        """What a batch rejected, from its files in the lake."""
        store = self.engine.store
        batch = read_manifest(store, line.manifest)
        lines = [json_util.loads(text) for key in batch.files.rejects for text in store.get_bytes(key).splitlines()]
        reported = {self.source.key_at(json_util.loads(one["coordinates"]), read.truth.rows) for one in lines}
        # A replay also reads what batches rejected that waited in the lake when it began.
        truth = replace(read.truth, rejected=frozenset(self.rejected)) if kind == "replay" else read.truth
        self._judge.check_rejects(kind, truth, reported, read.free)
        is_anew = line.kind == "replay" or batch.visited_all_rows
        self.rejected = reported if is_anew else self.rejected | reported
        self._open_rejects = len(lines) + (0 if is_anew else self._open_rejects)

    def _differs(self, key: Key, row: Row) -> bool:
        return not self._judge.is_delivered(key, row, self._seen)

    def drop(self) -> None:
        """Leave nothing behind."""
        for transaction in self.transactions:
            transaction.end(commit=False)
        self.view.forget()
        self.source.drop()


def _kind_of(line: Line, read: Read) -> Kind:
    """A batch says what it is, but for those that are windows by another request."""
    if read.kind in {"full", "reload"}:
        return read.kind
    assert line.kind != "reset"
    return line.kind


def _choose_read(kinds: Sequence[Kind], reads: Sequence[Read]) -> int:
    """By which of several batches the target is judged: the last sweep or read of everything, else the last window."""
    for wanted in (("sweep", "full", "reload"), ("window",)):
        if found := [number for number, kind in enumerate(kinds) if kind in wanted]:
            return found[-1]
    return len(reads) - 1


def _find_free(reads: Sequence[Read], chosen: int) -> Set[Key]:
    """Keys of which the target may hold either row: those that were written meanwhile, or between two reads."""
    free, truth = set[Key](), reads[chosen].truth
    for read in reads:
        keys = {*read.truth.rows, *truth.rows}
        free |= read.free | {key for key in keys if read.truth.rows.get(key) != truth.rows.get(key)}
    return free


def _is_unexpected(ended: Ended) -> bool:
    return isinstance(ended, Exception) and not isinstance(ended, Superseded | RetryableError)


def _raised(ended: Ended) -> BaseException | None:
    return ended if isinstance(ended, BaseException) else None


def _word(ended: Ended) -> str:
    if ended is None:
        return "nothing to do"
    return ended.kind if isinstance(ended, Batch) else type(ended).__name__
