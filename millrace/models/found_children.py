"""Children without a schema: a batch of their stream tells the columns of their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from millrace.base.naming import column_name
from millrace.base.types import Column
from millrace.declaration.children import ChildModel, ordinal_column
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.lake.batch import Batch
from millrace.sources.found_elements import read_stored


def with_found_columns(pipeline: Pipeline, batches: Sequence[Batch]) -> Pipeline:
    """Return the pipeline with the columns that these batches tell of its children."""
    if not any(batch.child_columns for batch in batches):
        return pipeline
    by_stream = {batch.stream: batch for batch in batches}
    return pipeline.with_models([_with_columns(pipeline, model, by_stream) for model in pipeline.models])


def _with_columns(pipeline: Pipeline, model: Model, batches: dict[str, Batch]) -> Model:
    if not isinstance(model, ChildModel) or not model.finds_columns or model.stream not in batches:
        return model
    batch = batches[model.stream]
    keys, elements = _key_columns(model, batch), batch.child_columns.get(model.path, ())
    if len(keys) < len(model.root_columns):
        return model
    columns = (*keys, ordinal_column(), *elements)
    return model.with_columns(columns, read_stored(pipeline.stream(model.stream), model.path, elements))


def _key_columns(model: ChildModel, batch: Batch) -> list[Column]:
    """Return the columns with the key of the parent, in the types that the parent has them in."""
    of_parent = {column.name: column for column in (*batch.columns, *batch.coverage.absent_columns)}
    return [
        replace(of_parent[column_name(key)], name=name, path=name)
        for name, key in model.root_columns.items()
        if column_name(key) in of_parent
    ]
