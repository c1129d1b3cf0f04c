"""The batch of a model while it is computed: rows are accepted or rejected, and written to the processed zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from millrace.base.errors import TooManyRejects
from millrace.base.rejects import NO_KEY, reject_when, split_rejects
from millrace.base.types import Column
from millrace.contract.limits import Limits, reject_beyond_limits
from millrace.contract.tolerance import RejectedRows, check_model_rejects
from millrace.declaration.model import Model
from millrace.hashes.row_hash import add_hashes
from millrace.lake.batch import Batch, BatchCounts, BatchFiles
from millrace.lake.batch_writer import BatchWriter, FileKind
from millrace.lake.manifest import write_refused_manifest
from millrace.lake.store import ObjectStore
from millrace.models.computed import ModelRows, cast_for_lake, rename_locations
from millrace.models.root_key import RootKey

BEYOND_RECORD_IDS = "beyond_record_ids"
"""The reason of a row with a key that is too large to make a record id of it."""


class ModelOutput:
    """Builds the batch of a model: ``admit`` rows, ``add`` them, ``remove`` keys, then ``finish``.

    ``batch`` is the planned batch, ``writer`` writes its files into ``store``, ``root_key`` is the key by which deleted
    rows are found, ``limits`` are those of the warehouse, and ``cli_name`` is how a command names the pipeline.
    """

    def __init__(
        self,
        batch: Batch,
        store: ObjectStore,
        writer: BatchWriter,
        model: Model,
        root_key: RootKey | None,
        limits: Limits | None,
        cli_name: str,
    ) -> None:
        self._batch, self._store, self._model, self._root_key, self._limits = batch, store, model, root_key, limits
        self._cli_name, self._files = cli_name, writer
        self._kept: list[pl.DataFrame] = []

    def admit(self, given: ModelRows) -> ModelRows:
        """Reject the rows that the warehouse or the load mode cannot hold. Return what is left of ``given``."""
        located_by = self._root_key.columns if self._root_key else {key: key for key in self._model.keys}
        rows, unnumbered = split_rejects(given.rows, self._reject_reasons(), list(located_by))
        refused = [given.rejects, rename_locations(unnumbered, located_by)]
        if self._limits is not None:
            rows, too_long = reject_beyond_limits(rows, self._batch.columns, list(located_by), self._limits)
            refused.append(rename_locations(too_long, located_by))
        for rejected in refused:
            self._files.write_rejects(rejected)
        others = given.rows.join(rows, on=rows.columns, how="anti", nulls_equal=True)
        return ModelRows(rows, pl.concat(refused), pl.concat([given.rejected_rows, others]))

    def add(self, rows: pl.DataFrame) -> None:
        """Write rows that were admitted."""
        columns = self._batch.columns
        frame = _cast_for_lake(rows, columns)
        self._files.write("part", add_hashes(frame, columns, self._model.load, self._model.keys), columns)

    def keep(self, rows: pl.DataFrame) -> None:
        """Keep rows that may come again with another chunk, and count once; they are written at the end."""
        same_by = None if self._model.load.dated_by else list(self._model.keys)
        self._kept = [pl.concat([*self._kept, rows]).unique(same_by, keep="last", maintain_order=True)]

    def remove(self, keys: pl.DataFrame) -> None:
        """Write keys of the model whose rows are deleted."""
        self._write_keys("delete", keys)

    def remove_unless_added(self, root_keys: pl.DataFrame) -> None:
        """Write keys of the root, in the model's columns: rows that hold them are deleted, unless they are added."""
        self._write_keys("root-key", root_keys)

    def _write_keys(self, kind: FileKind, keys: pl.DataFrame) -> None:
        columns = [column for column in self._batch.columns if column.name in keys.columns]
        self._files.write(kind, _cast_for_lake(keys, columns), columns)

    @property
    def has_rejects(self) -> bool:
        """Whether a row was rejected until now."""
        return self._files.reject_counts.total() > 0

    def add_note(self, note: str) -> None:
        """Add what a person should know of this batch to its report."""
        self._batch = replace(self._batch, note="; ".join(filter(None, (self._batch.note, note))))

    def finish(self) -> Batch | None:
        """Close the files and return the batch, whose manifest is not written yet; None when nothing was computed.

        Raises TooManyRejects, after the rejects were kept, when there are more than the model allows.
        """
        for rows in self._kept:
            self.add(rows)
        batch = self._make_batch(self._files.finish())
        is_of_everything = batch.coverage.absent_means_deleted or batch.coverage.computed_from_all_rows
        if not (batch.counts.read or batch.files.root_keys or is_of_everything):
            return None
        self._refuse_too_many(batch)
        return batch

    def _make_batch(self, files: BatchFiles) -> Batch:
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
            rejected = RejectedRows(
                self._files.reject_counts, batch.counts.read, batch.coverage.computed_from_all_rows, where
            )
            check_model_rejects(self._model, place, rejected)
        except TooManyRejects:
            write_refused_manifest(self._store, batch)
            raise

    def _reject_reasons(self) -> list[pl.Expr]:
        without_key = [reject_when(NO_KEY, key, pl.col(key).is_null()) for key in self._model.keys]
        greatest_key = self._model.load.greatest_key
        if greatest_key is None:
            return without_key
        (key,) = self._model.keys
        return [
            *without_key,
            reject_when(BEYOND_RECORD_IDS, key, pl.col(key).cast(pl.Int128).abs() > greatest_key),
        ]


def _cast_for_lake(rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    return rows.select(cast_for_lake(rows, column) for column in columns)
