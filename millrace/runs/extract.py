"""From captured chunks to a batch in the lake: check, hash and write while the next chunk is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import polars as pl

from millrace.base.errors import TooManyRejects
from millrace.base.memory import return_large_blocks
from millrace.base.naming import ROW_HASH, column_name
from millrace.base.rejects import NO_LOCATION
from millrace.base.types import Column, polars_type, row_id_columns
from millrace.contract.check import Limits, measure
from millrace.contract.fitting import Fitting
from millrace.contract.tolerance import Rejected, check_rejects
from millrace.declaration.captures import Dated, LandingFormat
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.hashes.row_hash import with_hashes, with_row_hash
from millrace.lake.batch import SCANS, Batch, BatchKind, RejectCount, batch_prefix, new_batch_id
from millrace.lake.formats import FORMATS
from millrace.lake.store import ObjectStore
from millrace.lake.writer import PartWriter
from millrace.runs.stamps import note_of_stamps_ahead, stamped_ahead
from millrace.sources.chunk import Chunk, Read
from millrace.sources.documents import of_contract

LARGE_BYTES = 2 * CHUNK_BYTES
"""A chunk of more, which a row of megabytes makes, is written before the next one is read: not two are in memory."""

Progress = Callable[[int], None]
"""Is called with the number of rows read so far."""
RejectedBefore = Callable[[Collection[str], bool], int]
"""How many of the rows with these coordinates were rejected by a batch before and count no more; whether the read is of
everything."""


@dataclass(frozen=True)
class Landing:
    """Where batches of a pipeline go, what the warehouse behind them can hold, and the lease's token they carry (0:
    none was taken). ``processed`` is where batches of models lie, and files that no batch
    keeps, if that is another place. ``dated`` says which
    date a read is of, if that is declared. ``cli_name`` is how a command names the pipeline, if not so."""

    pipeline: str
    store: ObjectStore
    limits: Limits
    progress: Progress | None = None
    token: int = 0
    form: LandingFormat = "parquet"
    processed: ObjectStore | None = None
    dated: Dated | None = None
    cli_name: str = ""

    def effective_at(self, read_at: datetime, previous: datetime | None) -> datetime:
        """Since when what a read shows, and the ``previous`` one did not, is taken to be so."""
        return self.dated.effective_at(read_at, previous) if self.dated else read_at

    def prefix(self, stream: str, read_at: datetime, batch_id: str) -> str:
        """Where the objects of a batch lie."""
        if self.dated:
            return f"{self.dated.prefix(stream, read_at)}/{batch_id}"
        return batch_prefix(self.pipeline, stream, read_at, batch_id)

    @property
    def working(self) -> ObjectStore:
        """Where files go that are no landed batch's."""
        return self.processed or self.store


class Extraction:
    """Builds one batch of a stream: ``add`` chunks, ``remove`` keys, then ``finish``. A context manager.

    ``known`` are the target's columns, ``lower`` the bound that the read began from, ``previous`` the moment of the
    last read that was applied, ``consent`` what a person allows this run to do, ``by_value`` as in ``Batch``.
    ``fitting`` is what its chunks go through; ``rejected_before`` is asked where too many rows were rejected.
    """

    def __init__(
        self,
        landing: Landing,
        stream: Stream,
        read: Read,
        kind: BatchKind = "window",
        known: Sequence[Column] = (),
        lower: str | None = None,
        previous: datetime | None = None,
        consent: Consent = NO_CONSENT,
        *,
        by_value: bool = False,
        rejected_before: RejectedBefore = lambda *_: 0,
    ) -> None:
        self._landing, self._stream, self._read, self._kind, self._known = landing, stream, read, kind, known
        self._lower, self._begun_at, self._consent = lower, datetime.now(UTC), consent
        self._effective_at = landing.effective_at(read.read_at, previous)
        self._batch_id = new_batch_id(read.read_at)
        self.prefix = landing.prefix(stream.name, read.read_at, self._batch_id)
        self._rows, self._deletes, self._sample, self._former = (
            PartWriter(landing.store, self.prefix, stem, FORMATS[landing.form])
            for stem in ("part", "delete", "sample", "former")
        )
        return_large_blocks(LARGE_BYTES)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"write-{stream.name}")
        self._writing: Future[None] | None = None
        self._columns: dict[str, Column] = {}
        self._longest_bytes: Counter[str] = Counter()
        self._reject_files: list[str] = []
        self._reject_counts: Counter[tuple[str, str]] = Counter()
        self._met: set[str] = set()
        self.fitting = Fitting(stream, landing.limits, known, read.coordinates)
        self._accepted = 0
        self._accepted_keys: list[pl.DataFrame] = []
        self._ahead = timedelta(0)
        self._source_rows: int | None = None
        self._notes: list[str] = []
        self._by_value, self._rejected_before = by_value, rejected_before

    def __enter__(self) -> Extraction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for writer in (self._rows, self._deletes, self._sample, self._former):
            writer.__exit__(kind, error, traceback)

    def add(self, chunk: Chunk) -> None:
        """Check, hash and hand over to the writing thread, which is one chunk behind at most."""
        accepted, columns, rejected = self.fitting.accept(self.fitting.fit(chunk))
        self.keep_rejects(rejected)
        if not accepted.height and not set(self._keys) <= {column.name for column in columns}:
            return  # Nothing but rejects, whose key has no known type.
        hashed = with_hashes(accepted, columns, self._stream.load, self._keys)
        self._columns |= {column.name: column for column in columns}
        self._measure(accepted, [*columns, *row_id_columns(self._read.identity)])
        self._ahead = max(self._ahead, stamped_ahead(accepted, columns, self._stream, self._read.read_at))
        self._wait()
        self._writing = self._pool.submit(self._rows.write, hashed, columns)
        if hashed.estimated_size() > LARGE_BYTES:
            self._wait()
        self._accepted += accepted.height
        if self._kind == "snapshot":
            self._accepted_keys.append(accepted.select(self._keys))
        self.report(self._accepted + self._rejected)

    def keep_rejects(self, rejected: pl.DataFrame) -> None:
        """Into the lake and into the counts. A row that is met twice (it moved while it was read, or a sweep read it
        again) is kept and counted once."""
        if not rejected.height:
            return
        met = pl.Series(list(self._met), dtype=pl.String).implode()
        fresh = rejected.filter(~pl.col("coordinates").is_in(met))
        if not fresh.height:
            return
        key = f"{self.prefix}/rejects-{len(self._reject_files):05d}.ndjson"
        self._landing.store.put_bytes(fresh.write_ndjson().encode(), key)
        self._reject_files.append(key)
        self._met.update(coordinates for coordinates in fresh["coordinates"] if coordinates != NO_LOCATION)
        self._reject_counts.update(fresh.select("reason", "field").rows())

    def remove(self, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> None:
        """Keys that the source has no more."""
        if not rows:
            return
        schema = {column.name: polars_type(column.type) for column in columns}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        self._columns = {column.name: column for column in columns} | self._columns
        self._measure(frame, columns)
        self._deletes.write(frame, columns)

    def expect(self, source_rows: int, sample: Sequence[Chunk]) -> None:
        """What the target is to be compared with once the batch is applied: a number of rows, and row hashes."""
        self._source_rows = source_rows
        for chunk in sample:
            accepted, columns, _ = self.fitting.accept(self.fitting.fit(chunk))
            keys = [column for column in columns if column.name in self._keys]
            self._measure(accepted, keys)
            self._sample.write(with_row_hash(accepted, columns).select(*self._keys, ROW_HASH), keys)

    def keep_former(self, frames: Iterable[pl.DataFrame]) -> None:
        """Rows of the target that are not among those that were accepted: they stay as they are."""
        columns = tuple(self._columns.values()) or tuple(self._known)
        for frame in frames:
            own = [column for column in columns if column.name in frame.columns]
            rows = frame.select(pl.col(column.name).cast(polars_type(column.type), strict=False) for column in own)
            for keys in self._accepted_keys:
                rows = rows.join(keys, on=self._keys, how="anti")
            self._former.write(rows, own)
        self._columns = self._columns or {column.name: column for column in columns}

    @property
    def scan_prefix(self) -> str:
        """Where the scan of a sweep lies, which no batch keeps; rules of the buckets delete it after a week."""
        return f"{SCANS}/{self.prefix}"

    def add_note(self, note: str) -> None:
        """Add what a person should know of this batch to its report."""
        self._notes.append(note)

    def report(self, rows: int) -> None:
        """Report the progress."""
        if self._landing.progress:
            self._landing.progress(rows)

    def finish(self, *, matched: int = 0, closes: Sequence[str] = ()) -> Batch | None:
        """The batch, its manifest written; None when nothing at all was read, unless it records an accepted source.

        ``matched`` are rows that were compared and found equal, ``closes`` the batches whose rejects this one reads
        again. Raises TooManyRejects, after the rejects were kept, when there are more than the stream allows.
        """
        self._wait()
        for writer in (self._rows, self._deletes, self._sample, self._former):
            writer.close()
        read = self._accepted + self._rejected + matched + sum(part.rows for part in self._deletes.parts)
        if not read and not closes and self._kind != "snapshot" and not self._consent.accept_source:
            return None
        try:
            self._check_rejects(self._accepted + self._rejected + matched)
        except TooManyRejects:
            self._batch(read, matched, tuple(closes)).save_refused(self._landing.store)
            raise
        if not self._known:
            self.fitting.seen.refuse_unsorted()
        batch = self._batch(read, matched, tuple(closes))
        batch.save(self._landing.store)
        return batch

    @property
    def _keys(self) -> list[str]:
        return [column_name(key) for key in self._stream.keys]

    @property
    def has_rejects(self) -> bool:
        """Whether a row was rejected until now."""
        return self._rejected > 0

    @property
    def _rejected(self) -> int:
        return self._reject_counts.total()

    def _measure(self, frame: pl.DataFrame, columns: Sequence[Column]) -> None:
        for name, length in measure(frame, columns).items():
            self._longest_bytes[name] = max(length, self._longest_bytes[name])

    def _check_rejects(self, read: int) -> None:
        """A replay reads again what was accepted as rejected before."""
        if self._kind == "replay" or self._consent.accept_rejects:
            return
        pipeline = self._landing.cli_name or self._landing.pipeline
        command = f"millrace rejects {pipeline} --stream {self._stream.name}"
        rejected = Rejected(
            self._reject_counts,
            read,
            self._is_everything,
            f"`{command}` ({self._landing.store.uri(self.prefix)}/rejects-*.ndjson)",
            lambda: self._rejected_before(self._met, self._is_everything),
        )
        check_rejects(self._stream, rejected)

    @property
    def _is_everything(self) -> bool:
        """Every row of the source was read, or the target begins with this batch."""
        is_first = self._kind == "window" and self._lower is None
        return is_first or self._kind in {"sweep", "snapshot"} or not self._known

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _batch(self, read: int, matched: int, closes: tuple[str, ...]) -> Batch:
        return Batch(
            pipeline=self._landing.pipeline,
            stream=self._stream.name,
            batch_id=self._batch_id,
            kind=self._kind,
            token=self._landing.token,
            read_at=self._read.read_at,
            begun_at=self._begun_at,
            effective_at=self._effective_at,
            lower=self._lower,
            position=self._read.next_position,
            columns=tuple(self._columns.values()),
            parts=tuple(self._rows.parts),
            deletes=tuple(self._deletes.parts),
            sample=tuple(self._sample.parts),
            former=tuple(self._former.parts),
            source_rows=self._source_rows,
            read=read,
            matched=matched,
            rejected=self._rejected,
            prefix=self.prefix,
            longest_bytes=dict(self._longest_bytes),
            rejects=tuple(self._reject_files),
            reject_counts=tuple(RejectCount(*why, rows) for why, rows in sorted(self._reject_counts.items())),
            closes=closes,
            identity=self._read.identity,
            is_whole=self._read.is_whole,
            absent=self._absent,
            is_complete=self._kind == "snapshot" and not self._rejected,
            form=self._landing.form,
            note=self._note,
            collected=self._read.collected,
            consent=self._consent,
            zones=self._read.zones,
            by_value=self._by_value,
            source=self._stream.source,
        )

    @property
    def _absent(self) -> tuple[Column, ...]:
        """Of a source whose rows bring their own columns, those that no row of this read has."""
        declared = {name: Column(name, name, data_type) for name, data_type in of_contract(self._stream).items()}
        known = declared | {column.name: column for column in self._known}
        return () if self._read.is_whole else tuple(one for name, one in known.items() if name not in self._columns)

    @property
    def _note(self) -> str:
        kept = (
            "rows were rejected, so nothing is taken for deleted" if self._kind == "snapshot" and self._rejected else ""
        )
        ahead = note_of_stamps_ahead(self._stream, self._ahead)
        unmet = self.fitting.seen.note if self._is_everything else ""
        return "; ".join(filter(None, (self._read.note, ahead, kept, unmet, *self._notes)))
