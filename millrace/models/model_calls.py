"""Calls of models' functions: with which inputs a model is called, and by which key its rows are found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.models.computed import ModelRows, compute
from millrace.models.root_key import RootKey


class ModelCalls:
    """Calls the functions of these models of a pipeline."""

    def __init__(self, pipeline: Pipeline, models: Sequence[Model]) -> None:
        self._pipeline = pipeline
        self._models = {model.name: model for model in models}
        self.root_keys = {model.name: self._root_key(model) for model in models}
        """The key of the root that each model's rows hold; None: they hold no key of a root."""

    def place(self, model: Model) -> str:
        """Return how errors name a model."""
        return f"model {self._pipeline.name}.{model.name}"

    def call(self, model: Model, inputs: Mapping[str, pl.DataFrame]) -> ModelRows:
        """Call a model's function with its inputs, which are among ``inputs`` by name."""
        key = self.root_keys[model.name]
        located_by = key.columns if key else {name: name for name in model.keys}
        return compute(model, {name: inputs[name] for name in model.inputs}, self.place(model), located_by)

    def call_through(
        self, model: Model, root: str, rows: pl.DataFrame, whole: Mapping[str, pl.DataFrame]
    ) -> pl.DataFrame:
        """Return what a model gives for some rows of its root, through the models between them.

        ``whole`` are inputs that are held whole.
        """
        between = [name for name in model.inputs if name not in whole and name != root]
        inputs = {name: self.call_through(self._models[name], root, rows, whole) for name in between}
        return self.call(model, {**whole, root: rows, **inputs}).rows

    def call_on_whole(self, model: Model, whole: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """Return what a model gives for streams that are held whole, through the models between them."""
        between = {name: self.call_on_whole(self._models[name], whole) for name in model.inputs if name in self._models}
        return self.call(model, {**whole, **between}).rows

    def is_keyed_by_root(self, model: Model) -> bool:
        """Whether the key of a model is the key of its root."""
        return self._pipeline.roots.key_columns(model).keys() == set(model.keys)

    def _root_key(self, model: Model) -> RootKey | None:
        roots = self._pipeline.roots
        columns = roots.key_columns(model)
        return RootKey(columns, roots.changing(model)[0].name, self.place(model)) if columns else None
