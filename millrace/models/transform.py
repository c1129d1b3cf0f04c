"""Transform: the batches of one run into the processed zone, as they are and as what the models make of them.

Rows pass in bounded chunks: each is written as Parquet and given to the models that are computed from it, whose rows
are written and handed on likewise. Only snapshots, and the rows of models over models, are held whole
(docs/decisions/0009-models.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

import polars as pl

from millrace.base.disk import TemporaryFolder, translate_full_disk
from millrace.base.errors import ConfigurationError, FatalError
from millrace.base.naming import column_name
from millrace.base.types import polars_type
from millrace.contract.check import Limits
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.lake.batch import Batch, Part
from millrace.lake.formats import FORMATS, typed
from millrace.lake.manifest import write_manifest
from millrace.lake.store import ObjectStore
from millrace.models.computed import Computed, compute
from millrace.models.model_batch import model_batch
from millrace.models.outputs import ModelOutput, StreamOutput
from millrace.models.readings import NONE, NUMBER, numbered, outdated
from millrace.models.root_key import RootKey, check_additive


def transform(
    pipeline: Pipeline,
    batches: Sequence[Batch],
    landing: ObjectStore,
    processed: ObjectStore,
    limits: Limits | None = None,
    only: Model | None = None,
) -> list[Batch]:
    """The batches of ``landing`` as they lie in ``processed``, and one of every model whose inputs are among them; of
    ``only`` one model alone. Rows of models that ``limits`` of the warehouse do not allow are rejected.

    Raises FatalError when a file is not what its manifest says, or a model fails or gives other than its schema;
    ConfigurationError when changes were read without a snapshot that their model needs; TooManyRejects.
    """
    with ExitStack() as stack:
        run = _Transform(pipeline, batches, landing, processed, limits, stack, only)
        run.take_snapshots()
        run.take_changes()
        return [batch for batch in run.finish() if only is None or batch.stream == only.name]


class _Transform:
    def __init__(
        self,
        pipeline: Pipeline,
        batches: Sequence[Batch],
        landing: ObjectStore,
        processed: ObjectStore,
        limits: Limits | None,
        stack: ExitStack,
        only: Model | None,
    ) -> None:
        self._pipeline, self._roots, self._copies = pipeline, pipeline.roots, only is None
        self._landing, self._processed = landing, processed
        self._batches = {batch.stream: batch for batch in batches}
        self._streams = {batch.stream: StreamOutput(batch, processed, stack) for batch in batches}
        self._whole: dict[str, pl.DataFrame] = {}
        self._let_in: dict[str, pl.DataFrame] = {}
        self._short: dict[str, str] = {}
        self._models: list[Model] = []
        for model in pipeline.models if only is None else [*self._roots.above(only), only]:
            self._models += [model] if self._is_possible(model) else []
        self._root_keys = {model.name: self._root_key(model) for model in self._models}
        self._outputs = {
            model.name: ModelOutput(
                batch, processed, stack, model, self._root_keys[model.name], limits, pipeline.cli_name
            )
            for model in self._models
            if (batch := model_batch(pipeline, model, self._batches))
        }

    def take_snapshots(self) -> None:
        """Hold them, and compute what needs nothing else: each model once, with all of its inputs whole."""
        for name, batch in self._batches.items():
            if self._pipeline.stream(name).is_snapshot:
                self._let_in[name] = pl.concat([_without_rows(batch), *self._rows(batch)])
                self._whole[name] = pl.concat([self._let_in[name], *self._former(batch)])
        for model in self._models:
            if self._waits(model):
                del self._outputs[model.name]
            elif all(name in self._whole for name in model.inputs):
                output, rows = self._outputs[model.name], self._computed(model, self._whole).rows
                self._whole[model.name] = self._without_former_owners(model, rows)
                output.add(self._whole[model.name])
                self._short |= {model.name: model.name} if output.has_rejects else {}

    def take_changes(self) -> None:
        """Everything else, chunk by chunk: all models of a root, each after its inputs."""
        for name, batch in self._batches.items():
            deleted = pl.concat([_without_rows(batch), *self._copied(batch, "delete")], how="diagonal")
            list(self._copied(batch, "sample"))
            if name in self._whole:
                continue
            models = [one for one in self._models if name in self._roots.of(one)]
            for frame in self._rows(batch):
                # A function is not asked what it makes of nothing.
                if (chunk := self._without(name, frame, deleted)).height:
                    self._take_chunk(name, chunk, models)
            for model in models:
                if deleted.height and (key := self._root_keys[model.name]):
                    output, keys = self._outputs[model.name], key.of_source(deleted, _dtypes(model))
                    (output.remove if self._is_keyed_by_root(model) else output.leave)(keys)

    def finish(self) -> list[Batch]:
        """Close every batch, then save all; of a model that had nothing to do there is none."""
        models = [output.finish() for output in self._outputs.values()]
        streams = [output.finish() for output in self._streams.values()]
        finished = [*(streams if self._copies else []), *(batch for batch in models if batch)]
        for batch in finished:
            write_manifest(self._processed, batch)
        return finished

    def _rows(self, batch: Batch) -> Iterator[pl.DataFrame]:
        """The rows of a batch with all of its columns, each chunk written to the processed zone on its way; of those
        that were read more than once the one that counts."""
        whole, outdated = _without_rows(batch), self._outdated(batch)
        for frame in numbered(self._copied(batch, "part")):
            counting = frame.join(outdated, on=NUMBER, how="anti") if outdated.height else frame
            yield pl.concat([whole, counting], how="diagonal").select(whole.columns)

    def _outdated(self, batch: Batch) -> pl.DataFrame:
        """The numbers of the rows that a model must not get. Every row of a log is one of its own."""
        stream = self._pipeline.stream(batch.stream)
        is_fed = any(stream.name in self._roots.of(model) for model in self._models)
        if not batch.row_id_column or not is_fed or stream.load.dated_by:
            return NONE
        stamp = column_name(stream.capture.stamp) if stream.capture.stamp else ""
        latest = stamp if stamp in [column.name for column in batch.columns] else ""
        frames = (frame for part in batch.files.rows for frame in _read(batch, part, self._landing))
        return outdated(frames, batch.written, batch.row_id_column, latest)

    def _former(self, batch: Batch) -> Iterator[pl.DataFrame]:
        """The rows that the target keeps of those that were not let in."""
        whole = _without_rows(batch)
        for part in batch.files.former:
            for frame in _read(batch, part, self._landing):
                yield pl.concat([whole, frame], how="diagonal").select(whole.columns)

    def _without_former_owners(self, model: Model, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of a model without those that only a former row makes, whose key another row has by now."""
        is_repeated = pl.len().over(list(model.keys)) > 1
        if not any(self._batches[name].files.former for name in self._roots.of(model)) or model.load.dated_by:
            return rows
        repeated = rows.filter(is_repeated)
        if not repeated.height:
            return rows
        current = repeated.join(self._made_of_let_in(model), on=rows.columns, how="semi", nulls_equal=True)
        # In one piece: Polars 2.1 panics when it writes out the texts of a frame whose first piece is empty.
        return pl.concat([rows.filter(~is_repeated), current], rechunk=True)

    def _made_of_let_in(self, model: Model) -> pl.DataFrame:
        """What a model gives of the rows alone that were let in."""
        above = {one.name: self._made_of_let_in(one) for one in self._models if one.name in model.inputs}
        return self._call(model, {**self._let_in, **above}).rows

    def _copied(self, batch: Batch, kind: Literal["part", "delete", "sample"]) -> Iterator[pl.DataFrame]:
        """The frames of a batch's files of one kind, each after it was written to the processed zone."""
        output = self._streams[batch.stream]
        for part in {"part": batch.files.rows, "delete": batch.files.deletes, "sample": batch.files.sample}[kind]:
            for frame in _read(batch, part, self._landing):
                if self._copies:
                    output.files.write(kind, frame, batch.columns)
                yield frame

    def _without(self, root: str, frame: pl.DataFrame, deleted: pl.DataFrame) -> pl.DataFrame:
        """The rows that are still there: that a key is gone was seen after rows were read."""
        keys = [column_name(key) for key in self._pipeline.stream(root).keys]
        return frame.join(deleted.select(keys), on=keys, how="anti") if deleted.height else frame

    def _take_chunk(self, root: str, chunk: pl.DataFrame, models: Sequence[Model]) -> None:
        frames, wrong = {root: chunk}, {root: chunk.clear()}
        for model in models:
            if model.union:
                self._take_each(model, frames)
            else:
                known = pl.concat(wrong[name] for name in model.inputs if name in wrong)
                frames[model.name], wrong[model.name] = self._take(model, root, frames, known)

    def _take(
        self, model: Model, root: str, frames: Mapping[str, pl.DataFrame], wrong: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """What a model makes of a chunk of its root, whose rows are also in ``frames`` as its inputs made them; and the
        ``wrong`` rows of the chunk: what was made of them was rejected, here or before, and what was made of them
        earlier stays."""
        output, key, chunk = self._outputs[model.name], self._root_keys[model.name], frames[root]
        check_additive(chunk, lambda part: self._composed(model, root, part), key, self._place(model))
        given = self._computed(model, {**self._whole, **frames})
        if key is None:
            (output.keep if _may_come_again(model, self._pipeline.models) else output.add)(given.rows)
            return given.rows, chunk if given.rejected.height else wrong
        key.check(chunk, given.rows)
        wrong = pl.concat([wrong, key.made_into(chunk, given.rejected)])
        output.leave(key.left(self._without(root, chunk, wrong), given.rows, self._is_keyed_by_root(model)))
        output.add(given.rows)
        return given.rows, wrong

    def _take_each(self, model: Model, frames: Mapping[str, pl.DataFrame]) -> None:
        """A union is given its inputs one at a time."""
        for name in model.inputs:
            if name in frames:
                empty = {other: self._empty(other) for other in model.inputs if other not in self._whole}
                given = self._computed(model, {**self._whole, **empty, name: frames[name]})
                self._outputs[model.name].keep(given.rows)

    def _computed(self, model: Model, inputs: Mapping[str, pl.DataFrame]) -> Computed:
        return self._outputs[model.name].admit(self._call(model, inputs))

    def _call(self, model: Model, inputs: Mapping[str, pl.DataFrame]) -> Computed:
        key = self._root_keys[model.name]
        known_by = key.columns if key else {name: name for name in model.keys}
        return compute(model, {name: inputs[name] for name in model.inputs}, self._place(model), known_by)

    def _composed(self, model: Model, root: str, part: pl.DataFrame) -> pl.DataFrame:
        """What a model gives for some rows of its root, by way of the models between them."""
        models = {one.name: one for one in self._models}
        between = [name for name in model.inputs if name not in self._whole and name != root]
        inputs = {name: self._composed(models[name], root, part) for name in between}
        return self._call(model, {**self._whole, root: part, **inputs}).rows

    def _waits(self, model: Model) -> bool:
        """Whether an input is a model that rejected rows, or waits itself: without these rows it would give others than
        it should. What is computed from snapshots waits for a run in which they are right."""
        short = {self._short[name] for name in model.inputs if name in self._short}
        for name in sorted(short):
            if self._roots.changing(model):
                raise FatalError(
                    f"{name}, which it is computed from, rejected rows, and the changes beside it come once",
                    place=self._place(model),
                    remedy=f"see `millrace rejects {self._pipeline.cli_name} --stream {name}`, then fix the model or "
                    "the data; nothing was loaded, and the changes will be read again",
                )
            self._outputs[name].add_note(f"it rejected rows: {model.name} is computed from it, and stays as it was")
            self._short[model.name] = name
        return bool(short)

    def _empty(self, name: str) -> pl.DataFrame:
        """The input of that name without rows."""
        if name in self._batches:
            return _without_rows(self._batches[name])
        schemas = {one.name: one.schema for one in self._pipeline.models}
        return schemas[name].create_empty() if name in schemas else pl.DataFrame()

    def _root_key(self, model: Model) -> RootKey | None:
        columns = self._roots.key_columns(model)
        return RootKey(columns, self._roots.changing(model)[0].name, self._place(model)) if columns else None

    def _is_keyed_by_root(self, model: Model) -> bool:
        return self._roots.key_columns(model).keys() == set(model.keys)

    def _place(self, model: Model) -> str:
        return f"model {self._pipeline.name}.{model.name}"

    def _is_possible(self, model: Model) -> bool:
        """Whether the snapshots that it is computed from, by whatever way, were read. Without them a model of snapshots
        waits for the next run, which reads all again; but changes come once."""
        roots = self._roots.of(model)
        lacking = [
            one.name for one in self._pipeline.streams if one.is_snapshot and one.name in roots - {*self._batches}
        ]
        changed = [one.name for one in self._roots.changing(model) if one.name in self._batches]
        if lacking and changed:
            raise ConfigurationError(
                f"it takes the changes of {' and '.join(changed)}, and {' and '.join(lacking)} was not read",
                place=self._place(model),
                remedy="run both streams together; nothing was loaded, and the changes will be read again",
            )
        return not lacking


def _read(batch: Batch, part: Part, store: ObjectStore) -> Iterator[pl.DataFrame]:
    """The rows of a file. Raises FatalError when it is not the one that was written."""
    with TemporaryFolder() as directory, translate_full_disk(part.key):
        path = directory / "part"
        store.get_file(part.key, path)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise FatalError(
                    "the object is not the one that was written: its checksum differs",
                    place=store.uri(part.key),
                    remedy="find out who changed it; run again to read the same changes again",
                )
        yield from FORMATS[batch.files.form].read(path, typed(part.columns, batch.columns))


def _without_rows(batch: Batch) -> pl.DataFrame:
    columns = (*batch.columns, *batch.coverage.absent_columns)
    return pl.DataFrame(schema={column.name: polars_type(column.type) for column in columns})


def _dtypes(model: Model) -> dict[str, pl.DataType]:
    return {name: column.dtype for name, column in model.schema.columns().items()}


def _may_come_again(model: Model, models: Sequence[Model]) -> bool:
    """Whether a row may be given with several chunks, as its key is not one of the root's."""
    return model.deletes == "ignore" or any(one.name in model.inputs for one in models)
