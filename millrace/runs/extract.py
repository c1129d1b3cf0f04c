"""From captured chunks to a batch in the lake: check, hash and write while the next chunk is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any

import polars as pl

from millrace.base.errors import TooManyRejects
from millrace.base.memory import return_large_blocks
from millrace.base.naming import ROW_HASH, column_name
from millrace.base.rejects import WITHOUT_KEY, identify_rejects
from millrace.base.types import UNKNOWN_PATH, Column, polars_type, row_id_columns
from millrace.contract.fitting import Fitting
from millrace.contract.masking import hide_in_stored_rejects
from millrace.contract.tolerance import RejectedRows, check_rejects
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.selection_text import describe_selection
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.hashes.row_hash import add_hashes, add_row_hash
from millrace.lake.batch import (
    SCANS,
    Batch,
    BatchCounts,
    BatchCoverage,
    BatchFiles,
    BatchKind,
    BatchProgress,
    new_batch_id,
)
from millrace.lake.batch_writer import BatchWriter
from millrace.lake.manifest import write_manifest, write_refused_manifest
from millrace.lake.write_behind import WriteBehind
from millrace.runs.clock_ahead import describe_ahead, measure_ahead
from millrace.runs.destination import BatchDestination
from millrace.runs.rejected_keys import count_same_keys, frame_of_keys
from millrace.sources.chunk import Chunk, ReadFacts
from millrace.sources.documents import of_contract
from millrace.warehouse.stream_state import NEVER_LOADED, StreamState

LARGE_BYTES = 2 * CHUNK_BYTES
"""A chunk of more, which a row of megabytes makes, is written before the next one is read: not two are in memory."""

CountRejectedBefore = Callable[[Collection[str], bool], int]
"""Returns how many of these rows (``identify_rejects``) were rejected by an earlier batch and do not count. It is told
whether everything was read."""


@dataclass(frozen=True)
class Purpose:
    """What a batch is read for."""

    kind: BatchKind = "window"
    lower: str | None = None
    """The bound that the read began from; None: from the beginning."""
    consent: Consent = NO_CONSENT
    """What a person allows this run to do."""
    by_value: bool = False
    """The target is compared with the batch value by value, whatever its hashes say."""
    replaces_target: bool = False
    """The rows go into a new table, which takes the place of the target."""


class Extraction:
    """Builds one batch of a stream: ``add`` chunks, ``remove`` keys, then ``finish``. A context manager.

    ``state`` is how far the stream has come in the warehouse. ``count_rejected_before`` is asked when too many rows
    were rejected.
    """

    def __init__(
        self,
        destination: BatchDestination,
        stream: Stream,
        read: ReadFacts,
        purpose: Purpose = Purpose(),
        state: StreamState = NEVER_LOADED,
        count_rejected_before: CountRejectedBefore = lambda *_: 0,
    ) -> None:
        self._destination, self._stream, self._read, self._purpose = destination, stream, read, purpose
        self._state, self._count_rejected_before = state, count_rejected_before
        self._begun_at, self._batch_id = datetime.now(UTC), new_batch_id(read.read_at)
        self._keys = [column_name(key) for key in stream.keys]
        self.fitting = Fitting(
            stream,
            destination.limits,
            state.columns,
            read.location_columns,
            destination.mask_keys,
            state.child_columns,
        )
        """The checks and conversions that every chunk goes through."""
        self._columns: dict[str, Column] = {}
        self._met: set[str] = set()
        """What tells the rejected rows apart (``identify_rejects``)."""
        self._numbered = Counter[str]()
        self._accepted = 0
        self._accepted_keys: list[pl.DataFrame] = []
        self._ahead = timedelta(0)
        self._replaced = 0
        """How many of the rejected rows have a former row."""
        self._source_rows: int | None = None
        self._notes: list[str] = []
        return_large_blocks(LARGE_BYTES)
        prefix = destination.prefix(stream.name, read.read_at, self._batch_id)
        self._files = BatchWriter(destination.store, prefix, destination.form)
        self._writing = WriteBehind(stream.name)

    def __enter__(self) -> Extraction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writing.__exit__(kind, error, traceback)
        self._files.__exit__(kind, error, traceback)

    def add(self, chunk: Chunk) -> None:
        """Check, hash and hand over to the writing thread, which is one chunk behind at most."""
        accepted, columns, rejected = self.fitting.accept(self.fitting.fit(chunk))
        self.keep_rejects(rejected)
        if not accepted.height and not set(self._keys) <= {column.name for column in columns}:
            return  # Nothing but rejects, whose key has no known type.
        hashed = add_hashes(accepted, columns, self._stream.load, self._keys)
        self._columns |= {column.name: column for column in columns if column.path or column.name not in self._columns}
        self._ahead = max(self._ahead, measure_ahead(accepted, columns, self._stream, self._read.read_at))
        stored = [*columns, *row_id_columns(self._read.row_id_column)]
        self._writing.start(partial(self._files.write, "part", hashed, stored))
        if hashed.estimated_size() > LARGE_BYTES:
            self._writing.wait()
        self._accepted += accepted.height
        if self._purpose.kind == "snapshot":
            self._accepted_keys.append(accepted.select(self._keys))
        self.report(self._accepted + self._rejected)

    def keep_rejects(self, rejected: pl.DataFrame) -> None:
        """Put rejected rows into the lake and count them.

        A row that is met twice (it moved while it was read, or a sweep read it again) is kept and counted once, if it
        has a row location.
        """
        identities = identify_rejects(hide_in_stored_rejects(rejected, self._stream), self._numbered)
        fresh = rejected.filter(pl.Series([identity not in self._met for identity in identities], dtype=pl.Boolean))
        self._files.write_rejects(fresh)
        self._met.update(identities)
        if self._rejected > self._stream.max_rejects and not self._purpose.consent.accept_rejects:
            # All of them are refused in the end. A key that is misspelt is told before everything was read.
            self.fitting.require_key()

    def remove(self, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> None:
        """Add keys that the source has no more."""
        if not rows:
            return
        schema = {column.name: polars_type(column.type) for column in columns}
        self._columns = {column.name: column for column in columns} | self._columns
        self._files.write("delete", pl.DataFrame(rows, schema=schema, orient="row"), columns)

    def expect(self, source_rows: int, sample: Sequence[Chunk]) -> None:
        """Record what the target is compared with once the batch is applied: a number of rows, and row hashes."""
        self._source_rows = source_rows
        for chunk in sample:
            accepted, columns, _ = self.fitting.accept(self.fitting.fit(chunk))
            keys = [column for column in columns if column.name in self._keys]
            if len(keys) == len(self._keys):
                self._files.write("sample", add_row_hash(accepted, columns).select(*self._keys, ROW_HASH), keys)

    def keep_former(self, frames: Iterable[pl.DataFrame]) -> None:
        """Add rows of the target that are not among the accepted rows: they stay as they are."""
        columns = tuple(self._columns.values()) or self._state.columns
        # What tells a row without location apart is a digest.
        rejected = frame_of_keys((one for one in self._met if one.startswith("{")), self._keys)
        for frame in frames:
            present = [column for column in columns if column.name in frame.columns]
            rows = frame.select(pl.col(column.name).cast(polars_type(column.type), strict=False) for column in present)
            rows = self.without_accepted(rows)
            self._files.write("former", rows, present)
            self._replaced += count_same_keys(rejected, rows)
        self._columns = self._columns or {column.name: column for column in columns}

    def without_accepted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the target whose key is not among the accepted rows. Only a snapshot keeps its keys."""
        if len(self._accepted_keys) > 1:
            # One join for each frame of the target, not one for each chunk of the source as well.
            self._accepted_keys = [pl.concat(self._accepted_keys, how="vertical_relaxed")]
        for keys in self._accepted_keys:
            typed = keys.select(pl.col(name).cast(rows.schema[name]) for name in self._keys)
            rows = rows.join(typed, on=self._keys, how="anti")
        return rows

    def some_keys(self, most: int) -> list[tuple[Any, ...]]:
        """Return keys of accepted rows, at most so many. Only a snapshot keeps its keys."""
        return [key for keys in self._accepted_keys[:1] for key in keys.head(most).rows()]

    @property
    def key_names(self) -> list[str]:
        """The columns of the key."""
        return self._keys

    @property
    def scan_prefix(self) -> str:
        """Where the scan of a sweep lies, which no batch keeps; rules of the buckets delete it after a week."""
        return f"{SCANS}/{self._files.prefix}"

    def add_note(self, note: str) -> None:
        """Add what a person should know of this batch to its report."""
        self._notes.append(note)

    def report(self, rows: int) -> None:
        """Report the progress."""
        if self._destination.progress:
            self._destination.progress(rows)

    def finish(self, *, matched: int = 0, closes: Sequence[str] = ()) -> Batch | None:
        """Write the manifest and return the batch; None when nothing was read and nothing has to be recorded.

        An accepted source is recorded, and an empty source makes an empty target. ``matched`` are rows that were
        compared and found equal, ``closes`` the batches whose rejects this one reads again. Raises TooManyRejects,
        after the rejects were kept, when there are more than the stream allows; KeyViolation when no row has the key.
        """
        self._writing.wait()
        self.fitting.require_key()
        self._columns = self._columns or self._columns_of_contract
        batch = self._batch(self._files.finish(), matched, tuple(closes))
        makes_target = batch.is_of_empty_source and not self._state.columns
        is_told_when_empty = batch.kind in {"snapshot", "log"} or batch.consent.accept_source or makes_target
        if not (batch.counts.read or closes or is_told_when_empty):
            return None
        try:
            self._check_rejects(batch.counts.read - batch.deleted)
        except TooManyRejects:
            write_refused_manifest(self._destination.store, batch)
            raise
        if not self._state.columns:
            self.fitting.seen.refuse_unsorted()
        write_manifest(self._destination.store, batch)
        return batch

    @property
    def has_rejects(self) -> bool:
        """Whether a row was rejected until now."""
        return self._rejected > 0

    @property
    def _rejected(self) -> int:
        return self._files.reject_counts.total()

    @property
    def _rejected_with_key(self) -> int:
        """How many rejected rows may have a row in the target: those with a NULL in the key have none."""
        reasons = self._files.reject_counts.items()
        without_key = sum(rows for (reason, field), rows in reasons if reason in WITHOUT_KEY and field in self._keys)
        return self._rejected - without_key

    def _check_rejects(self, read: int) -> None:
        """Raise TooManyRejects when too many rows were rejected.

        A replay is not checked: it reads rows again that were accepted as rejected before.
        """
        if self._purpose.kind == "replay" or self._purpose.consent.accept_rejects:
            return
        command = f"millrace rejects {self._destination.command_name} --stream {self._stream.name}"
        rejected = RejectedRows(
            self._files.reject_counts,
            read,
            self._is_everything,
            f"`{command}` ({self._destination.store.uri(self._files.prefix)}/rejects-*.ndjson)",
            lambda: self._count_rejected_before(self._met, self._is_everything),
        )
        check_rejects(self._stream, rejected)

    @property
    def _is_everything(self) -> bool:
        """Every row of the source was read, or the target begins with this batch."""
        is_first = self._purpose.kind == "window" and self._purpose.lower is None
        return is_first or self._purpose.kind in {"sweep", "snapshot"} or not self._state.columns

    def _batch(self, files: BatchFiles, matched: int, closes: tuple[str, ...]) -> Batch:
        return Batch(
            pipeline=self._destination.pipeline,
            stream=self._stream.name,
            batch_id=self._batch_id,
            kind=self._purpose.kind,
            read_at=self._read.read_at,
            begun_at=self._begun_at,
            effective_at=self._destination.effective_at(self._read.read_at, self._state.last_read),
            columns=tuple(self._columns.values()),
            child_columns=self.fitting.children.columns,
            files=files,
            counts=self._counts(files, matched),
            coverage=BatchCoverage(
                has_all_columns=self._read.has_all_columns,
                absent_columns=self._absent_columns,
                absent_means_deleted=self._purpose.kind == "snapshot" and not self._rejected_with_key,
                former_rows_replace_rejects=(
                    self._purpose.kind == "snapshot" and self._replaced == self._rejected_with_key > 0
                ),
                by_value=self._purpose.by_value,
                replaces_target=self._purpose.replaces_target,
            ),
            progress=BatchProgress(
                token=self._destination.token,
                lower=self._purpose.lower,
                position=self._read.next_position,
                source=self._stream.source,
                selection=describe_selection(self._stream.where),
                collected=self._read.collected,
                closes=closes,
                predecessor=self._state.newest_batch,
                log=self._read.log,
            ),
            row_id_column=self._read.row_id_column,
            time_zones=self._read.zones,
            consent=self._purpose.consent,
            note=self._note,
        )

    def _counts(self, files: BatchFiles, matched: int) -> BatchCounts:
        deleted = sum(part.rows for part in files.deletes)
        return BatchCounts(
            read=self._accepted + self._rejected + matched + deleted,
            matched=matched,
            rejected=self._rejected,
            reject_counts=self._files.counted_rejects,
            source_rows=self._source_rows,
        )

    @property
    def _columns_of_contract(self) -> dict[str, Column]:
        """The columns that the contract names, if the key is among them: those of an empty collection.

        A table tells its columns also if it is empty.
        """
        columns = self._named_by_contract
        is_known = self._stream.is_of_documents and self._stream.capture.keeps_rows and columns.keys() >= {*self._keys}
        return columns if is_known else {}

    @property
    def _named_by_contract(self) -> dict[str, Column]:
        """The columns that the contract names. It does not tell which field fills each of them."""
        return {name: Column(name, UNKNOWN_PATH, data_type) for name, data_type in of_contract(self._stream).items()}

    @property
    def _absent_columns(self) -> tuple[Column, ...]:
        """The columns that no row of this read has, where rows bring their own columns; () for a table."""
        expected = self._named_by_contract | {column.name: column for column in self._state.columns}
        return (
            ()
            if self._read.has_all_columns
            else tuple(column for name, column in expected.items() if name not in self._columns)
        )

    @property
    def _note(self) -> str:
        is_kept = self._purpose.kind == "snapshot" and self._rejected_with_key
        kept_note = "rows were rejected, so nothing is taken for deleted" if is_kept else ""
        ahead = describe_ahead(self._stream, self._ahead)
        unmet = self.fitting.seen.note if self._is_everything else ""
        renamed = self.fitting.children.renamed
        named = f"{', '.join(renamed)}, because Millrace adds a column of its name" if renamed else ""
        return "; ".join(filter(None, (self._read.note, ahead, kept_note, unmet, named, *self._notes)))
