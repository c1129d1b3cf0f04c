"""Transform: copy the batches of one run to the processed zone, and compute the batches of models from them.

Rows pass in bounded chunks: each is written as Parquet and given to the models that are computed from it, whose rows
are written and handed on in the same way. Only snapshots, and the rows of models over models, are held whole
(docs/decisions/0009-models.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

import polars as pl

from millrace.base.errors import ConfigurationError, FatalError
from millrace.base.naming import column_name
from millrace.contract.limits import Limits
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.lake.batch import Batch, new_attempt_prefix
from millrace.lake.batch_writer import BatchWriter
from millrace.lake.manifest import write_manifest
from millrace.lake.store import ObjectStore
from millrace.models.computed import ModelRows
from millrace.models.found_children import with_found_columns
from millrace.models.landed_stream import LandedStream
from millrace.models.model_batch import plan_model_batch
from millrace.models.model_calls import ModelCalls
from millrace.models.outputs import ModelOutput
from millrace.models.root_key import check_additive


def transform(
    pipeline: Pipeline,
    batches: Sequence[Batch],
    landing: ObjectStore,
    processed: ObjectStore,
    limits: Limits | None = None,
    only: Model | None = None,
) -> list[Batch]:
    """Copy batches from the landing zone to the processed zone, and compute every model whose inputs are among them.

    With ``only``, nothing is copied and only that model is kept. Rows of models that ``limits`` of the warehouse do not
    allow are rejected. Return the batches of the processed zone.

    Raises FatalError when a file is not what its manifest says, or a model fails or gives other than its schema;
    ConfigurationError when changes were read without a snapshot that their model needs; TooManyRejects.
    """
    pipeline = with_found_columns(pipeline, batches)
    only = only and pipeline.model(only.name)
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
        self._pipeline, self._roots, self._processed = pipeline, pipeline.roots, processed
        self._batches = {batch.stream: batch for batch in batches}

        def open_writer(batch: Batch) -> BatchWriter:
            return stack.enter_context(BatchWriter(processed, new_attempt_prefix(batch)))

        self._streams = {
            name: LandedStream(pipeline.stream(name), batch, landing, None if only else open_writer(batch))
            for name, batch in self._batches.items()
        }
        wanted = pipeline.models if only is None else [*self._roots.above(only), only]
        self._models = [model for model in wanted if _has_snapshots(pipeline, model, self._batches)]
        self._calls = ModelCalls(pipeline, self._models)
        self._outputs = {
            model.name: ModelOutput(
                batch,
                processed,
                open_writer(batch),
                model,
                self._calls.root_keys[model.name],
                limits,
                pipeline.cli_name,
            )
            for model in self._models
            if (batch := plan_model_batch(pipeline, model, self._batches))
        }
        self._whole: dict[str, pl.DataFrame] = {}
        """Snapshots, and models of snapshots alone, which are held whole."""
        self._accepted: dict[str, pl.DataFrame] = {}
        """Snapshots without the former rows of their targets."""
        self._incomplete: dict[str, str] = {}
        """Models without all of their rows, with the model that rejected rows."""

    def take_snapshots(self) -> None:
        """Hold snapshots whole, and compute the models that need nothing else, each once."""
        for name, stream in self._streams.items():
            if self._pipeline.stream(name).is_snapshot:
                frames = stream.copy_rows(feeds_models=self._feeds_models(name))
                self._accepted[name] = pl.concat([stream.empty, *frames])
                self._whole[name] = pl.concat([self._accepted[name], *stream.read_former_rows()])
        for model in self._models:
            if self._must_wait(model):
                del self._outputs[model.name]
            elif all(name in self._whole for name in model.inputs):
                output, rows = self._outputs[model.name], self._compute(model, self._whole).rows
                self._whole[model.name] = self._without_former_owners(model, rows)
                output.add(self._whole[model.name])
                self._incomplete |= {model.name: model.name} if output.has_rejects else {}

    def take_changes(self) -> None:
        """Compute all other models chunk by chunk: every model of a root is called with the chunk, after its inputs."""
        for name, stream in self._streams.items():
            deleted = stream.copy_deletes()
            stream.copy_sample()
            if name in self._whole:
                continue
            models = [model for model in self._models if name in self._roots.of(model)]
            for frame in stream.copy_rows(feeds_models=bool(models)):
                # A function is not asked what it makes of nothing.
                if (chunk := self._without(name, frame, deleted)).height:
                    self._take_chunk(name, chunk, models)
            for model in models:
                if deleted.height and (key := self._calls.root_keys[model.name]):
                    output, keys = self._outputs[model.name], key.keys_of_source(deleted, _dtypes(model))
                    (output.remove if self._calls.is_keyed_by_root(model) else output.remove_unless_added)(keys)

    def finish(self) -> list[Batch]:
        """Close every batch, then write all manifests. A model that had nothing to do has no batch."""
        models = [output.finish() for output in self._outputs.values()]
        streams = [stream.finish() for stream in self._streams.values()]
        finished = [batch for batch in (*streams, *models) if batch]
        for batch in finished:
            write_manifest(self._processed, batch)
        return finished

    def _feeds_models(self, stream: str) -> bool:
        return any(stream in self._roots.of(model) for model in self._models)

    def _without_former_owners(self, model: Model, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a model without those that only a former row makes and whose key another row has now."""
        is_repeated = pl.len().over(list(model.keys)) > 1
        if not any(self._batches[name].files.former for name in self._roots.of(model)) or model.load.dated_by:
            return rows
        repeated = rows.filter(is_repeated)
        if not repeated.height:
            return rows
        current = repeated.join(
            self._calls.call_on_whole(model, self._accepted), on=rows.columns, how="semi", nulls_equal=True
        )
        # In one piece: Polars 2.1 panics when it writes out the texts of a frame whose first piece is empty.
        return pl.concat([rows.filter(~is_repeated), current], rechunk=True)

    def _without(self, root: str, frame: pl.DataFrame, deleted: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are still in the source: keys may be found to be deleted after their rows were read."""
        keys = [column_name(key) for key in self._pipeline.stream(root).keys]
        return frame.join(deleted.select(keys), on=keys, how="anti") if deleted.height else frame

    def _take_chunk(self, root: str, chunk: pl.DataFrame, models: Sequence[Model]) -> None:
        frames, wrong = {root: chunk}, {root: chunk.clear()}
        for model in models:
            if model.union:
                self._take_each(model, frames)
            else:
                wrong_before = pl.concat(wrong[name] for name in model.inputs if name in wrong)
                frames[model.name], wrong[model.name] = self._take(model, root, frames, wrong_before)

    def _take(
        self, model: Model, root: str, frames: Mapping[str, pl.DataFrame], wrong: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Call a model with a chunk of its root; ``frames`` are the chunk, and what was made of it by its inputs.

        Return the model's rows, and the ``wrong`` rows of the chunk: what was made of them was rejected, here or
        before, and what was made of them earlier stays.
        """
        output, key, chunk = self._outputs[model.name], self._calls.root_keys[model.name], frames[root]
        check_additive(
            chunk,
            lambda part: self._calls.call_through(model, root, part, self._whole),
            key,
            self._calls.place(model),
        )
        given = self._compute(model, {**self._whole, **frames})
        if key is None:
            (output.keep if _may_come_again(model, self._pipeline.models) else output.add)(given.rows)
            return given.rows, chunk if given.rejects.height else wrong
        key.check(chunk, given.rows)
        wrong = pl.concat([wrong, key.find_sources(chunk, given.rejected_rows)])
        right = self._without(root, chunk, wrong)
        is_key = self._calls.is_keyed_by_root(model)
        output.remove_unless_added(key.keys_to_search(right, given.rows, is_key=is_key))
        output.add(given.rows)
        return given.rows, wrong

    def _take_each(self, model: Model, frames: Mapping[str, pl.DataFrame]) -> None:
        """Call a union with its inputs, one at a time."""
        for name in model.inputs:
            if name in frames:
                empty = {other: self._empty(other) for other in model.inputs if other not in self._whole}
                given = self._compute(model, {**self._whole, **empty, name: frames[name]})
                self._outputs[model.name].keep(given.rows)

    def _compute(self, model: Model, inputs: Mapping[str, pl.DataFrame]) -> ModelRows:
        """Call a model, and keep what it rejects."""
        return self._outputs[model.name].admit(self._calls.call(model, inputs))

    def _must_wait(self, model: Model) -> bool:
        """Return whether an input is a model that rejected rows, or that waits itself.

        Without these rows the model would give other rows than it should. A model of snapshots waits for a run in which
        they are right.
        """
        incomplete = {self._incomplete[name] for name in model.inputs if name in self._incomplete}
        for name in sorted(incomplete):
            if self._roots.changing(model):
                raise FatalError(
                    f"{name}, which it is computed from, rejected rows, and the changes beside it come once",
                    place=self._calls.place(model),
                    remedy=f"see `millrace rejects {self._pipeline.cli_name} --stream {name}`, then fix the model or "
                    "the data; nothing was loaded, and the changes will be read again",
                )
            self._outputs[name].add_note(f"it rejected rows: {model.name} is computed from it, and stays as it was")
            self._incomplete[model.name] = name
        return bool(incomplete)

    def _empty(self, name: str) -> pl.DataFrame:
        """Return the input of that name without rows."""
        if name in self._streams:
            return self._streams[name].empty
        schemas = {other_model.name: other_model.schema for other_model in self._pipeline.models}
        return schemas[name].create_empty() if name in schemas else pl.DataFrame()


def _has_snapshots(pipeline: Pipeline, model: Model, read: Collection[str]) -> bool:
    """Return whether all snapshots that a model is computed from, directly or through models, were read.

    Without them a model of snapshots waits for the next run, which reads all again. Raises ConfigurationError when the
    model takes changes too, because changes come once.
    """
    roots = pipeline.roots
    lacking = [
        stream.name for stream in pipeline.streams if stream.is_snapshot and stream.name in roots.of(model) - {*read}
    ]
    changed = [stream.name for stream in roots.changing(model) if stream.name in read]
    if lacking and changed:
        raise ConfigurationError(
            f"it takes the changes of {' and '.join(changed)}, and {' and '.join(lacking)} was not read",
            place=f"model {pipeline.name}.{model.name}",
            remedy="run both streams together; nothing was loaded, and the changes will be read again",
        )
    return not lacking


def _dtypes(model: Model) -> dict[str, pl.DataType]:
    return {name: column.dtype for name, column in model.schema.columns().items()}


def _may_come_again(model: Model, models: Sequence[Model]) -> bool:
    """Return whether a row may be given with several chunks, because its key is not a key of the root."""
    return model.deletes == "ignore" or any(other_model.name in model.inputs for other_model in models)
