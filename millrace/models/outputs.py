"""Batches of the processed zone while they are written: of a stream as it was landed, of a model as it is computed."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import polars as pl

from millrace.base.errors import TooManyRejects
from millrace.base.rejects import NO_KEY, reject_when, split_rejects
from millrace.base.types import Column
from millrace.contract.check import Limits, measure, within_limits
from millrace.contract.tolerance import Rejected, check_model_rejects
from millrace.declaration.load_modes import History
from millrace.declaration.model import Model
from millrace.hashes.row_hash import with_hashes
from millrace.lake.batch import Batch, RejectCount, batch_prefix
from millrace.lake.store import ObjectStore
from millrace.lake.writer import PartWriter
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
        self._prefix = batch_prefix(batch.pipeline, batch.stream, batch.read_at, attempt)
        self.rows, self.deletes, self.sample = (
            stack.enter_context(PartWriter(store, self._prefix, stem)) for stem in ("part", "delete", "sample")
        )

    def finish(self) -> Batch:
        """Close the files; the batch, whose manifest is to be saved."""
        for writer in (self.rows, self.deletes, self.sample):
            writer.close()
        return replace(
            self._batch,
            form="parquet",
            prefix=self._prefix,
            parts=tuple(self.rows.parts),
            deletes=tuple(self.deletes.parts),
            sample=tuple(self.sample.parts),
            former=(),
            origin=self._batch.manifest_key,
        )


class ModelOutput:
    """The files of a model's batch. ``batch`` is what is known before, ``root_key`` how rows that leave are told, if
    they do, ``limits`` what the warehouse can hold, ``cli_name`` how a command names the pipeline."""

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
        self._prefix = batch_prefix(batch.pipeline, batch.stream, batch.read_at, attempt)
        self._rows, self._deletes, self._root_keys = (
            stack.enter_context(PartWriter(store, self._prefix, stem)) for stem in ("part", "delete", "root-key")
        )
        self._longest_bytes: Counter[str] = Counter()
        self._reject_files: list[str] = []
        self._reject_counts: Counter[tuple[str, str]] = Counter()
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
            self._reject(one)
        others = given.rows.join(rows, on=rows.columns, how="anti", nulls_equal=True)
        return Computed(rows, pl.concat(refused), pl.concat([given.rejected, others]))

    def _reject(self, rejected: pl.DataFrame) -> None:
        """Rows that are not let in, into the lake and into the counts."""
        if not rejected.height:
            return
        key = f"{self._prefix}/rejects-{len(self._reject_files):05d}.ndjson"
        self._store.put_bytes(rejected.write_ndjson().encode(), key)
        self._reject_files.append(key)
        self._reject_counts.update(rejected.select("reason", "field").rows())

    def add(self, rows: pl.DataFrame) -> None:
        """Rows that are let in."""
        columns = self._batch.columns
        frame = self._measured(rows, columns)
        self._rows.write(with_hashes(frame, columns, self._model.load, self._model.keys), columns)

    def keep(self, rows: pl.DataFrame) -> None:
        """Rows that may come again with another chunk, and count once."""
        told_by = None if self._model.load.dated_by else list(self._model.keys)
        self._kept = [pl.concat([*self._kept, rows]).unique(told_by, keep="last", maintain_order=True)]

    def remove(self, keys: pl.DataFrame) -> None:
        """Keys of rows that are gone."""
        self._write_keys(self._deletes, keys)

    def leave(self, root_keys: pl.DataFrame) -> None:
        """Keys of the root, in the model's columns; rows that hold them and are not among those let in have left."""
        self._write_keys(self._root_keys, root_keys)

    def _write_keys(self, writer: PartWriter, keys: pl.DataFrame) -> None:
        columns = [column for column in self._batch.columns if column.name in keys.columns]
        writer.write(self._measured(keys, columns), columns)

    @property
    def has_rejects(self) -> bool:
        """Whether a row was rejected until now."""
        return bool(self._reject_files)

    def add_note(self, note: str) -> None:
        """Add what a person should know of this batch to its report."""
        self._batch = replace(self._batch, note="; ".join(filter(None, (self._batch.note, note))))

    def finish(self) -> Batch | None:
        """Close the files; the batch, whose manifest is to be saved, or None when nothing was computed.

        Raises TooManyRejects, after the rejects were kept, when there are more than the model allows.
        """
        for rows in self._kept:
            self.add(rows)
        for writer in (self._rows, self._deletes, self._root_keys):
            writer.close()
        rejected = self._reject_counts.total()
        batch = replace(
            self._batch,
            prefix=self._prefix,
            parts=tuple(self._rows.parts),
            deletes=tuple(self._deletes.parts),
            root_keys=tuple(self._root_keys.parts),
            longest_bytes=dict(self._longest_bytes),
            rejected=rejected,
            rejects=tuple(self._reject_files),
            reject_counts=tuple(RejectCount(*why, count) for why, count in sorted(self._reject_counts.items())),
            # A row that was rejected is still there, as it was.
            is_complete=self._batch.is_complete and not rejected,
        )
        batch = replace(batch, read=batch.written + batch.deleted + rejected)
        if not (batch.read or batch.root_keys or batch.is_complete or batch.is_of_all):
            return None
        self._refuse_too_many(batch)
        return batch

    def _refuse_too_many(self, batch: Batch) -> None:
        if batch.consent.accept_rejects:
            return
        command = f"millrace rejects {self._cli_name} --stream {batch.stream}"
        where = f"`{command}` ({self._store.uri(self._prefix)}/rejects-*.ndjson)"
        place = f"model {batch.pipeline}.{batch.stream}"
        try:
            rejected = Rejected(self._reject_counts, batch.read, batch.is_of_all, where)
            check_model_rejects(self._model, place, rejected)
        except TooManyRejects:
            batch.save_refused(self._store)
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

    def _measured(self, rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        """The columns as they are stored. Whatever is staged is as wide as the longest value of either file."""
        frame = rows.select(stored(rows, column) for column in columns)
        for name, length in measure(frame, columns).items():
            self._longest_bytes[name] = max(length, self._longest_bytes[name])
        return frame
