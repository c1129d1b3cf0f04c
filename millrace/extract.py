"""From captured chunks to a batch in the lake: check, hash and write while the next chunk is read.

What does not belong here: reading (capture/), and what happens to a batch afterwards (warehouse/).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import polars as pl

from millrace.capture.chunk import Chunk, Read
from millrace.contract.check import Limits, measure, meets_contract, within_limits
from millrace.errors import KeyViolation, TooManyRejects
from millrace.lake.batch import Batch, batch_prefix, new_batch_id
from millrace.lake.store import ObjectStore
from millrace.lake.writer import PartWriter
from millrace.naming import column_name
from millrace.pipeline import Stream
from millrace.shape.row_hash import with_row_hash
from millrace.types import Column

Progress = Callable[[int], None]
"""Told the number of rows read so far."""


class Extraction:
    """Builds one batch of a stream: ``add`` every chunk, then ``finish``. A context manager."""

    def __init__(
        self,
        pipeline: str,
        stream: Stream,
        read: Read,
        store: ObjectStore,
        limits: Limits,
        progress: Progress | None = None,
    ) -> None:
        self._pipeline, self._stream, self._read, self._store, self._limits = pipeline, stream, read, store, limits
        self._batch_id = new_batch_id(read.read_at)
        self._prefix = batch_prefix(pipeline, stream.name, read.read_at, self._batch_id)
        self._progress = progress
        self._writer = PartWriter(store, self._prefix)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"write-{stream.name}")
        self._writing: Future[None] | None = None
        self._columns: dict[str, Column] = {}
        self._longest_bytes: dict[str, int] = {}
        self._rejects: list[str] = []
        self._rows_read = self._rows_rejected = 0

    def __enter__(self) -> Extraction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._writer.__exit__(kind, error, traceback)

    def add(self, chunk: Chunk) -> None:
        """Check, hash and hand over to the writing thread, which is one chunk behind at most."""
        rows = chunk.frame.height + chunk.rejected.height
        accepted, rejected = self._accept(chunk)
        self._keep_rejects(rejected)
        hashed = with_row_hash(accepted, chunk.columns)
        self._columns |= {column.name: column for column in chunk.columns}
        for name, length in measure(accepted, chunk.columns).items():
            self._longest_bytes[name] = max(length, self._longest_bytes.get(name, 0))
        self._wait()
        self._writing = self._pool.submit(self._writer.write, hashed, chunk.columns)
        self._rows_read += rows
        if self._progress:
            self._progress(self._rows_read)

    def finish(self) -> Batch | None:
        """The batch, its manifest written; None when nothing at all was read.

        Raises TooManyRejects, after the rejects were kept, when there are more than the stream allows.
        """
        self._wait()
        self._writer.close()
        if not self._rows_read:
            return None
        if self._rows_rejected > self._stream.max_rejects:
            raise TooManyRejects(
                f"{self._rows_rejected} of {self._rows_read} rows were rejected, "
                f"{self._stream.max_rejects} are allowed",
                place=f"stream {self._stream.name} ({self._stream.source})",
                remedy=f"see {self._store.uri(self._prefix)}/rejects-*.ndjson, then mend the data or the contract",
            )
        batch = self._batch()
        batch.save(self._store)
        return batch

    def _accept(self, chunk: Chunk) -> tuple[pl.DataFrame, pl.DataFrame]:
        keys = [column_name(key) for key in self._stream.keys]
        if absent := [key for key in keys if key not in chunk.frame.columns]:
            raise KeyViolation(
                f"no row has the key ({', '.join(absent)})",
                place=f"stream {self._stream.name} ({self._stream.source})",
                remedy="declare a key that every row has",
            )
        accepted, too_long = within_limits(chunk.frame, chunk.columns, keys, self._limits)
        rejected = [chunk.rejected, too_long]
        if self._stream.contract is not None:
            accepted, broken = meets_contract(accepted, self._stream.contract, self._stream, keys)
            rejected.append(broken)
        return accepted, pl.concat(rejected)

    def _keep_rejects(self, rejected: pl.DataFrame) -> None:
        if rejected.height:
            key = f"{self._prefix}/rejects-{len(self._rejects):05d}.ndjson"
            self._store.put_bytes(rejected.write_ndjson().encode(), key)
            self._rejects.append(key)
            self._rows_rejected += rejected.height

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _batch(self) -> Batch:
        return Batch(
            pipeline=self._pipeline,
            stream=self._stream.name,
            batch_id=self._batch_id,
            read_at=self._read.read_at,
            lower=self._read.lower,
            position=self._read.position,
            columns=tuple(self._columns.values()),
            parts=tuple(self._writer.parts),
            read=self._rows_read,
            rejected=self._rows_rejected,
            prefix=self._prefix,
            longest_bytes=self._longest_bytes,
            rejects=tuple(self._rejects),
            identity=self._read.identity,
            note=self._read.note,
        )
