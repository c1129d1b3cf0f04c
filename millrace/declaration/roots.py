"""Roots of a model: the streams that it is computed from, directly or through other models.

A run reads all of a root (a snapshot) or only its changes. A model's function is called once per chunk of the one root
that is read as changes. The key of that root identifies the model's rows that have to change when a row of the source
changes or is deleted (docs/decisions/0019-models-that-cannot-be-declared-wrongly.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name
from millrace.declaration.model import Model
from millrace.declaration.stream import Stream


@dataclass(frozen=True)
class Roots:
    """Roots of the models of one pipeline, and the checks of these models."""

    streams: Sequence[Stream]
    """The streams of the pipeline."""
    models: Sequence[Model]
    """The models of the pipeline, each after its inputs."""
    place: str
    """The pipeline, as errors name it."""

    def of(self, model: Model) -> set[str]:
        """Return the names of all roots of a model."""
        direct = {stream.name for stream in self.streams if stream.name in model.inputs}
        return direct.union(*(self.of(other) for other in self.models if other.name in model.inputs))

    def has_all_inputs(self, model: Model) -> bool:
        """Return whether a model and every model that it is computed from have inputs that are declared."""
        names = {stream.name for stream in self.streams} | {other.name for other in self.models}
        return all(names.issuperset(one.inputs) for one in (model, *self.above(model)))

    def above(self, model: Model) -> list[Model]:
        """Return the models that a model is computed from, directly or through others, as they are ordered."""
        direct = [other for other in self.models if other.name in model.inputs]
        names = {other.name for other in direct}.union(*({far.name for far in self.above(other)} for other in direct))
        return [other for other in self.models if other.name in names]

    def changing(self, model: Model) -> list[Stream]:
        """Return the roots of a model that are read as changes, in the order in which they are declared."""
        names = self.of(model)
        return [stream for stream in self.streams if stream.name in names and not stream.is_snapshot]

    def held_up_by(self, unread: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return the streams whose changes cannot be taken while streams are ``unread``.

        Each is given with the model that takes its changes, and the snapshot that the model needs beside them: changes
        come once, and the model would miss them.
        """
        return {
            changing.name: (model.name, stream.name)
            for model in self.models
            for stream in self.streams
            if stream.is_snapshot and stream.name in unread and stream.name in self.of(model)
            for changing in self.changing(model)
        }

    def key_columns(self, model: Model) -> Mapping[str, str]:
        """Return the columns of a model with its root's key, each with the column of that key.

        There are none if no row ever leaves the model, or if every run computes all rows. Raises ConfigurationError if
        columns are missing.
        """
        changing = self.changing(model)
        if model.root_key and (model.union or len(changing) != 1):
            raise self._wrong(
                model,
                "it declares root_key, which is for models that are computed from the changes of exactly one stream",
                "leave root_key out",
            )
        if model.union or len(changing) != 1 or changing[0].load.keeps_first_rows:
            return {}
        (root,) = changing
        columns = self._read_declared(model, root) or self._of_same_name(model, root)
        if model.is_log:
            # A row of a log stays true. But if a key means a row of the source, the deletion of that row ends the key.
            return columns if columns.keys() == set(model.keys) else {}
        if not columns and not model.keeps_rows:
            raise self._wrong(
                model,
                f"it does not have the key of {root.name} ({', '.join(root.keys)}), by which its rows are found when a "
                "row there changes or is deleted",
                "add these columns to it, name columns with the same values in root_key={'column': 'key column'}, "
                f"capture {root.name} as Snapshot, or declare deletes='ignore' if rows never leave it",
            )
        return {} if model.keeps_rows else columns

    def check(self, model: Model) -> None:
        """Raise ConfigurationError if a model's inputs cannot be passed to it, or its rows could not leave it."""
        before = self.models[: list(self.models).index(model)]
        self._check_names(model, before)
        self._check_enabled(model)
        self._check_changes(model, before)
        self._check_union(model)
        if model.load.replaces_table and (changing := self.changing(model)):
            raise self._wrong(
                model,
                f"it is computed from the changes of {changing[0].name}, "
                f"and {type(model.load).__name__} needs all rows at every run",
                "declare Merge, or capture=Snapshot() for that stream",
            )
        self.key_columns(model)

    def _check_names(self, model: Model, before: Sequence[Model]) -> None:
        choices = {stream.name for stream in self.streams} | {other.name for other in before}
        for name in model.inputs:
            if name not in choices:
                raise self._wrong(
                    model,
                    f"its parameter {name!r} is neither a stream nor a model declared before it",
                    f"choose from {', '.join(sorted(choices))}",
                )

    def _check_enabled(self, model: Model) -> None:
        disabled = [stream.name for stream in self.streams if stream.name in self.of(model) and not stream.enabled]
        if disabled:
            raise self._wrong(
                model,
                f"it is computed from {' and '.join(disabled)}, which no run reads (enabled=False)",
                "enable the stream, or take out the model",
            )

    def _check_changes(self, model: Model, before: Sequence[Model]) -> None:
        changes = [stream.name for stream in self.streams if stream.name in model.inputs and not stream.is_snapshot]
        others = [other.name for other in before if other.name in model.inputs]
        if changes and len(changes + others) > 1:
            raise self._wrong(
                model,
                f"it is computed from the changes of {' and '.join(changes + others)}, which do not change together",
                "use one stream's changes; capture the others as Snapshot, or join models in a view",
            )

    def _check_union(self, model: Model) -> None:
        changing = [stream.name for stream in self.changing(model)]
        if len(changing) > 1 and not model.union:
            raise self._wrong(
                model,
                f"its inputs are computed from the changes of {' and '.join(changing)}, which do not change together: "
                "its function would get the changes of one without those of the other",
                "join the models in a view, capture the streams as Snapshot, or declare union=True and "
                "deletes='ignore' if the function only concatenates the rows of its inputs",
            )
        if model.union and len(changing) < 2:
            raise self._wrong(model, "it declares union, and its inputs do not change independently", "leave union out")
        if model.union and not model.keeps_rows:
            raise self._wrong(
                model,
                "it declares union, so it is not known from which input a row came when it has to leave",
                "declare deletes='ignore'",
            )

    def _read_declared(self, model: Model, root: Stream) -> dict[str, str]:
        named = {column: column_name(key) for column, key in model.root_key.items()}
        keys = {column_name(key) for key in root.keys}
        if named and (set(named.values()) != keys or len(named) != len(keys)):
            raise self._wrong(
                model,
                f"its root_key names {', '.join(sorted(named.values()))}, and the key of {root.name} is "
                f"{', '.join(sorted(keys))}",
                "name a column for each column of that key",
            )
        return named

    def _of_same_name(self, model: Model, root: Stream) -> dict[str, str]:
        keys = [column_name(key) for key in root.keys]
        has_all = set(keys) <= set(model.schema.column_names())
        return {key: key for key in keys} if has_all else {}

    def _wrong(self, model: Model, problem: str, remedy: str = "") -> ConfigurationError:
        return ConfigurationError(problem, place=f"{self.place}, model {model.name}", remedy=remedy)
