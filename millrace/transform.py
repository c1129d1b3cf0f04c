"""Transform: the batches of one run into the processed zone, as they are and as what the models make of them.

Rows pass in bounded chunks: each is written as Parquet and given to the models that are computed from it, whose rows
are written and handed on likewise. Only snapshots, and the rows of models over models, are held whole
(docs/decisions/0009-models.md).
What does not belong here: any particular model (pipelines/), and what becomes of the batches (warehouse/).
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import dataframely as dy
import polars as pl

from millrace.consent import NO_CONSENT, Consent
from millrace.contract.check import measure
from millrace.errors import ConfigurationError, FatalError
from millrace.lake.batch import Batch, Part, batch_prefix
from millrace.lake.formats import FORMATS, typed
from millrace.lake.store import ObjectStore
from millrace.lake.writer import PartWriter
from millrace.load_modes import LoadMode, Merge
from millrace.model import Model
from millrace.naming import column_name
from millrace.pipeline import Pipeline
from millrace.shape.computed import computed, stored
from millrace.shape.row_hash import with_hashes
from millrace.space import TemporaryFolder, temporary_space
from millrace.types import Column, polars_type


def transform(
    pipeline: Pipeline, batches: Sequence[Batch], landing: ObjectStore, processed: ObjectStore
) -> list[Batch]:
    """The batches of ``landing`` as they lie in ``processed``, and one of every model whose inputs are among them.

    Raises FatalError when a file is not what its manifest says, or a model fails or gives other than its schema;
    ConfigurationError when changes were read without a snapshot that their model needs.
    """
    with ExitStack() as stack:
        run = _Transform(pipeline, batches, landing, processed, stack)
        run.take_snapshots()
        run.take_changes()
        return run.finish()


class _Transform:
    def __init__(
        self,
        pipeline: Pipeline,
        batches: Sequence[Batch],
        landing: ObjectStore,
        processed: ObjectStore,
        stack: ExitStack,
    ) -> None:
        self._pipeline, self._landing = pipeline, landing
        self._batches = {batch.stream: batch for batch in batches}
        self._streams = {batch.stream: _Output(batch, processed, stack) for batch in batches}
        self._snapshots: dict[str, pl.DataFrame] = {}
        self._models: list[Model] = []
        for model in pipeline.models:
            self._models += [model] if self._is_possible(model) else []
        self._outputs = {
            model.name: _Output(self._model_batch(model), processed, stack, model)
            for model in self._models
            if self._sources(model)
        }

    def take_snapshots(self) -> None:
        """Hold them, and compute what needs nothing else."""
        for name, batch in self._batches.items():
            if self._pipeline.stream(name).is_snapshot:
                self._snapshots[name] = pl.concat([_without_rows(batch), *self._rows(batch)])
        for model in self._models:
            if all(name in self._snapshots for name in model.inputs):
                self._give(model, {})

    def take_changes(self) -> None:
        """Everything else, chunk by chunk."""
        for name, batch in self._batches.items():
            if name not in self._snapshots:
                for frame in self._rows(batch):
                    self._hand_on(name, frame)
            self._remove(batch)

    def finish(self) -> list[Batch]:
        """Close and save every batch; of a model that had nothing to do there is none."""
        finished = (output.finish() for output in (*self._streams.values(), *self._outputs.values()))
        return [batch for batch in finished if batch]

    def _rows(self, batch: Batch) -> Iterator[pl.DataFrame]:
        """The rows of a batch with all of its columns, each chunk written to the processed zone on its way."""
        whole = _without_rows(batch)
        for part in batch.parts:
            for frame in _read(batch, part, self._landing):
                self._streams[batch.stream].rows.write(frame, batch.columns)
                yield pl.concat([whole, frame], how="diagonal").select(whole.columns)

    def _remove(self, batch: Batch) -> None:
        """Keys that left the source, also from the models that have this key."""
        keys = [column_name(key) for key in self._pipeline.stream(batch.stream).keys]
        for part in batch.deletes:
            for frame in _read(batch, part, self._landing):
                self._streams[batch.stream].deletes.write(frame, batch.columns)
                for model in self._models:
                    if batch.stream in model.inputs and sorted(model.keys) == sorted(keys):
                        self._outputs[model.name].remove(frame)
        for part in batch.sample:
            for frame in _read(batch, part, self._landing):
                self._streams[batch.stream].sample.write(frame, batch.columns)

    def _hand_on(self, name: str, frame: pl.DataFrame) -> None:
        """Rows of a stream or model to the models that are computed from them."""
        for model in self._models:
            if name in model.inputs and model.name in self._outputs:
                self._give(model, {name: frame})

    def _give(self, model: Model, given: Mapping[str, pl.DataFrame]) -> None:
        schemas = {one.name: one.schema for one in self._pipeline.models}
        inputs = {
            name: given[name] if name in given else self._snapshots.get(name, _empty(schemas.get(name)))
            for name in model.inputs
        }
        rows = computed(model, inputs, f"model {self._pipeline.name}.{model.name}")
        if any(name in schemas for name in model.inputs):
            self._outputs[model.name].keep(rows)
        else:
            self._outputs[model.name].add(rows)
        self._hand_on(model.name, rows)

    def _is_possible(self, model: Model) -> bool:
        """Whether its snapshots were read. Without them a model of snapshots waits for the next run, which reads all
        again; but changes come once."""
        snapshots = [stream.name for stream in self._pipeline.streams if stream.is_snapshot]
        lacking = [name for name in model.inputs if name in snapshots and name not in self._batches]
        changed = [batch.stream for batch in self._sources(model) if batch.stream not in snapshots]
        if lacking and changed:
            raise ConfigurationError(
                f"it takes the changes of {changed[0]}, and {lacking[0]} was not read",
                place=f"model {self._pipeline.name}.{model.name}",
                remedy="run both streams together; nothing was loaded, and the changes will be read again",
            )
        return not lacking

    def _sources(self, model: Model) -> list[Batch]:
        """The batches that a model is computed from, by whatever way."""
        found = [self._batches[name] for name in model.inputs if name in self._batches]
        above = [one for one in self._models if one.name in model.inputs]
        return [*found, *(batch for one in above for batch in self._sources(one))]

    def _model_batch(self, model: Model) -> Batch:
        """Of the same inputs always under the same id, so that it is applied once; its rows are yet to come."""
        sources = self._sources(model)
        read_at = max(batch.read_at for batch in sources)
        inputs = "\n".join([model.name, *sorted(batch.batch_id for batch in sources)])
        batch_id = f"{read_at:%Y%m%dT%H%M%S.%fZ}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
        return Batch(
            pipeline=self._pipeline.name,
            stream=model.name,
            batch_id=batch_id,
            kind="model",
            read_at=read_at,
            begun_at=min(batch.begun_at for batch in sources),
            effective_at=max(batch.effective_at for batch in sources),
            lower=None,
            position=None,
            columns=model.columns,
            parts=(),
            read=0,
            rejected=0,
            prefix="",
            is_whole=True,
            is_complete=self._is_complete(model),
            zones=tuple(sorted({zone for batch in sources for zone in batch.zones})),
            by_value=any(batch.by_value for batch in sources),
            is_of_all=all(batch.holds_all for batch in sources),
            consent=Consent(**{name: any(vars(batch.consent)[name] for batch in sources) for name in vars(NO_CONSENT)}),
        )

    def _is_complete(self, model: Model) -> bool:
        """Whether it is computed from everything there is."""
        models = {one.name: one for one in self._models}
        return all(
            self._batches[name].is_complete
            if name in self._batches
            else name in models and self._is_complete(models[name])
            for name in model.inputs
        )


class _Output:
    """The files of a batch in the processed zone, a stream's or a model's. ``batch`` is what is known before."""

    def __init__(self, batch: Batch, store: ObjectStore, stack: ExitStack, model: Model | None = None) -> None:
        self._batch, self._store, self._model = batch, store, model
        self._load: LoadMode = model.load if model else Merge()
        self._keys = model.keys if model else ()
        # Of its own for every attempt: an object is never written twice.
        attempt = f"{batch.batch_id}-{secrets.token_hex(4)}"
        self._prefix = batch_prefix(batch.pipeline, batch.stream, batch.read_at, attempt)
        self.rows, self.deletes, self.sample = (
            stack.enter_context(PartWriter(store, self._prefix, stem)) for stem in ("part", "delete", "sample")
        )
        self._longest_bytes: Counter[str] = Counter(batch.longest_bytes)
        self._kept: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Rows of a model."""
        columns = self._batch.columns
        frame = self._measured(rows, columns)
        self.rows.write(with_hashes(frame, columns, self._load, self._keys), columns)

    def remove(self, rows: pl.DataFrame) -> None:
        """Keys that a model has no more; ``rows`` have other columns as well."""
        keys = [column for column in self._batch.columns if column.name in self._keys]
        self.deletes.write(self._measured(rows, keys), keys)

    def keep(self, rows: pl.DataFrame) -> None:
        """Rows of a model that may come again with another chunk."""
        told_by = None if self._load.dated_by else list(self._keys)
        self._kept = [pl.concat([*self._kept, rows]).unique(told_by, keep="last", maintain_order=True)]

    def _measured(self, rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        """The columns as they are stored. Whatever is staged is as wide as the longest value of either file."""
        frame = rows.select(stored(rows, column) for column in columns)
        for name, length in measure(frame, columns).items():
            self._longest_bytes[name] = max(length, self._longest_bytes[name])
        return frame

    def finish(self) -> Batch | None:
        """Close the files and save the manifest; None when a model gave nothing."""
        for rows in self._kept:
            self.add(rows)
        for writer in (self.rows, self.deletes, self.sample):
            writer.close()
        batch = replace(
            self._batch,
            form="parquet",
            prefix=self._prefix,
            parts=tuple(self.rows.parts),
            deletes=tuple(self.deletes.parts),
            sample=tuple(self.sample.parts),
            longest_bytes=dict(self._longest_bytes),
            origin=self._batch.manifest_key if self._batch.prefix else "",
        )
        if self._model:
            batch = replace(batch, read=batch.written + batch.deleted)
            if not batch.read and not batch.is_complete:
                return None
        batch.save(self._store)
        return batch


def _read(batch: Batch, part: Part, store: ObjectStore) -> Iterator[pl.DataFrame]:
    """The rows of a file. Raises FatalError when it is not the one that was written."""
    with TemporaryFolder() as directory, temporary_space(part.key):
        path = directory / "part"
        store.get_file(part.key, path)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise FatalError(
                    "the object is not the one that was written: its checksum differs",
                    place=store.uri(part.key),
                    remedy="find out who changed it; run again to read the same changes again",
                )
        yield from FORMATS[batch.form].read(path, typed(part.columns, batch.columns))


def _without_rows(batch: Batch) -> pl.DataFrame:
    return pl.DataFrame(schema={column.name: polars_type(column.type) for column in batch.columns})


def _empty(schema: type[dy.Schema] | None) -> pl.DataFrame:
    return pl.DataFrame() if schema is None else schema.create_empty()
