"""Batches of the processed zone while they are written: of a stream as it was landed, of a model as it is computed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import polars as pl

from millrace.base.errors import TooManyRejects
from millrace.base.rejects import NO_KEY, reject_when, split_rejects
from millrace.base.types import Column
from millrace.contract.check import Limits, within_limits
from millrace.contract.tolerance import Rejected, check_model_rejects
from millrace.declaration.load_modes import History
from millrace.declaration.model import Model
from millrace.hashes.row_hash import with_hashes
from millrace.lake.batch import Batch, BatchCounts, BatchFiles, batch_prefix
from millrace.lake.batch_writer import BatchWriter, FileKind
from millrace.lake.manifest import write_refused_manifest
from millrace.lake.store import ObjectStore
from millrace.models.computed import Computed, as_known_by, stored
from millrace.models.root_key import RootKey

BEYOND_RECORD_IDS = "beyond_record_ids"
"""The reason of a row whose key is too large for a record id to be made of it."""


class StreamOutput:
    """The files of a stream's batch. A context: what is not finished leaves nothing behind on the disk."""

    def __init__(self, batch: Batch, store: ObjectStore, stack: ExitStack) -> None:
        self._batch = batch
        # Of its own for every attempt: an object is never written twice.
        attempt = f"{batch.batch_id}-{secrets.token_hex(4)}"
        prefix = batch_prefix(batch.pipeline, batch.stream, batch.read_at, attempt)
        self.files = stack.enter_context(BatchWriter(store, prefix))

    def finish(self) -> Batch:
        """Close the files and return the batch; its manifest is not written yet."""
        # Models were given the former rows, and nothing loads them.
        files = replace(self.files.finish(), longest_bytes=self._batch.files.longest_bytes)
        progress = replace(self._batch.progress, origin=self._batch.manifest_key)
        return replace(self._batch, files=files, progress=progress)


class ModelOutput:
    """The files of a model's batch. ``batch`` is what is known before, ``root_key`` how rows that leave are told, if
    they do, ``limits`` what the warehouse can hold, ``called`` how a command names the pipeline."""

    def __init__(
        self,
        batch: Batch,
        store: ObjectStore,
        stack: ExitStack,
        model: Model,
        root_key: RootKey | None,
        limits: Limits | None,
        cli_name: str,
    ) -> None:
        self._batch, self._store, self._model, self._root_key, self._limits = batch, store, model, root_key, limits
        self._cli_name = cli_name
        attempt = f"{batch.batch_id}-{secrets.token_hex(4)}"
        prefix = batch_prefix(batch.pipeline, batch.stream, batch.read_at, attempt)
        self._files = stack.enter_context(BatchWriter(store, prefix))
        self._kept: list[pl.DataFrame] = []

    def admit(self, given: Computed) -> Computed:
        """What a function gave; of its rows those that the warehouse and the load mode can hold. The others are kept as
        rejects."""
        known_by = self._root_key.columns if self._root_key else {key: key for key in self._model.keys}
        rows, unnumbered = split_rejects(given.rows, self._verdicts(), list(known_by))
        refused = [given.rejects, as_known_by(unnumbered, known_by)]
        if self._limits is not None:
            rows, too_long = within_limits(rows, self._batch.columns, list(known_by), self._limits)
            refused.append(as_known_by(too_long, known_by))
        for one in refused:
            self._files.write_rejects(one)
        others = given.rows.join(rows, on=rows.columns, how="anti", nulls_equal=True)
        return Computed(rows, pl.concat(refused), pl.concat([given.rejected, others]))

    def add(self, rows: pl.DataFrame) -> None:
        """Rows that are let in."""
        columns = self._batch.columns
        frame = _as_stored(rows, columns)
        self._files.write("part", with_hashes(frame, columns, self._model.load, self._model.keys), columns)

    def keep(self, rows: pl.DataFrame) -> None:
        """Rows that may come again with another chunk, and count once."""
        told_by = None if self._model.load.dated_by else list(self._model.keys)
        self._kept = [pl.concat([*self._kept, rows]).unique(told_by, keep="last", maintain_order=True)]

    def remove(self, keys: pl.DataFrame) -> None:
        """Keys of rows that are gone."""
        self._write_keys("delete", keys)

    def leave(self, root_keys: pl.DataFrame) -> None:
        """Keys of the root, in the model's columns; rows that hold them and are not among those let in have left."""
        self._write_keys("root-key", root_keys)

    def _write_keys(self, kind: FileKind, keys: pl.DataFrame) -> None:
        columns = [column for column in self._batch.columns if column.name in keys.columns]
        self._files.write(kind, _as_stored(keys, columns), columns)

    @property
    def has_rejects(self) -> bool:
        """Whether a row was rejected until now."""
        return self._files.reject_counts.total() > 0

    def add_note(self, note: str) -> None:
        """Add what a person should know of this batch to its report."""
        self._batch = replace(self._batch, note="; ".join(filter(None, (self._batch.note, note))))

    def finish(self) -> Batch | None:
        """Close the files; the batch, whose manifest is to be saved, or None when nothing was computed.

        Raises TooManyRejects, after the rejects were kept, when there are more than the model allows.
        """
        for rows in self._kept:
            self.add(rows)
        batch = self._finished(self._files.finish())
        is_of_everything = batch.coverage.absent_means_deleted or batch.coverage.computed_from_all_rows
        if not (batch.counts.read or batch.files.root_keys or is_of_everything):
            return None
        self._refuse_too_many(batch)
        return batch

    def _finished(self, files: BatchFiles) -> Batch:
        rejected, coverage = self._files.reject_counts.total(), self._batch.coverage
        # A row that was rejected is still there, as it was.
        coverage = replace(coverage, absent_means_deleted=coverage.absent_means_deleted and not rejected)
        counts = BatchCounts(
            read=sum(part.rows for part in (*files.rows, *files.deletes)) + rejected,
            rejected=rejected,
            reject_counts=self._files.counted_rejects,
        )
        return replace(self._batch, files=files, counts=counts, coverage=coverage)

    def _refuse_too_many(self, batch: Batch) -> None:
        if batch.consent.accept_rejects:
            return
        command = f"millrace rejects {self._cli_name} --stream {batch.stream}"
        where = f"`{command}` ({self._store.uri(self._files.prefix)}/rejects-*.ndjson)"
        place = f"model {batch.pipeline}.{batch.stream}"
        try:
            rejected = Rejected(
                self._files.reject_counts, batch.counts.read, batch.coverage.computed_from_all_rows, where
            )
            check_model_rejects(self._model, place, rejected)
        except TooManyRejects:
            write_refused_manifest(self._store, batch)
            raise

    def _verdicts(self) -> list[pl.Expr]:
        without_key = [reject_when(NO_KEY, key, pl.col(key).is_null()) for key in self._model.keys]
        if not isinstance(self._model.load, History):
            return without_key
        (key,) = self._model.keys
        return [
            *without_key,
            reject_when(BEYOND_RECORD_IDS, key, pl.col(key).cast(pl.Int128).abs() > self._model.load.greatest_key),
        ]


def _as_stored(rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    return rows.select(stored(rows, column) for column in columns)
