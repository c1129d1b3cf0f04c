"""Roots of a model: the streams that it is computed from, by whatever way, and which declarations they allow.

A root is whole (a snapshot) or comes as changes. A model is called once per chunk of the one root that changes; by that
root's key its rows are found again when the source's row changes or goes
(docs/decisions/0019-models-that-cannot-be-declared-wrongly.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name
from millrace.declaration.load_modes import Append, Replace
from millrace.declaration.model import Model
from millrace.declaration.stream import Stream


@dataclass(frozen=True)
class Roots:
    """Of the models of one pipeline; ``place`` names it in errors."""

    streams: Sequence[Stream]
    models: Sequence[Model]
    place: str

    def of(self, model: Model) -> set[str]:
        """Names of all of a model's roots."""
        above = [one for one in self.models if one.name in model.inputs]
        own = {stream.name for stream in self.streams if stream.name in model.inputs}
        return own.union(*(self.of(one) for one in above))

    def above(self, model: Model) -> list[Model]:
        """The models that a model is computed from, by whatever way, in declared order."""
        direct = [one for one in self.models if one.name in model.inputs]
        names = {one.name for one in direct}.union(*({other.name for other in self.above(one)} for one in direct))
        return [one for one in self.models if one.name in names]

    def changing(self, model: Model) -> list[Stream]:
        """Those that come as changes, in declared order."""
        names = self.of(model)
        return [stream for stream in self.streams if stream.name in names and not stream.is_snapshot]

    def key_columns(self, model: Model) -> Mapping[str, str]:
        """Columns of a model that hold its root's key, and which column of the key each is; none where no row ever
        leaves, or all rows are computed each time. Raises ConfigurationError."""
        changing = self.changing(model)
        if model.root_key and (model.union or len(changing) != 1):
            raise self._wrong(model, "it declares root_key, and not one stream's changes are its input")
        if model.union or len(changing) != 1 or isinstance(changing[0].load, Append):
            return {}
        (root,) = changing
        columns = self._declared(model, root) or self._of_same_name(model, root)
        if model.is_log:
            # A row of a log is true for ever; but where a key is a row of the source, its end is one of the key.
            return columns if columns.keys() == set(model.keys) else {}
        if not columns and not model.keeps_rows:
            raise self._wrong(
                model,
                f"it does not hold the key of {root.name} ({', '.join(root.keys)}), by which its rows are found when a "
                "row there changes or goes",
                "add these columns to it, name those that hold them in root_key={'column': 'key column'}, capture "
                f"{root.name} as Snapshot, or declare deletes='ignore' if rows never leave it",
            )
        return {} if model.keeps_rows else columns

    def check(self, model: Model) -> None:
        """Raises ConfigurationError when a model's inputs cannot be given to it, or its rows could not leave it."""
        before = self.models[: list(self.models).index(model)]
        self._check_names(model, before)
        self._check_changes(model, before)
        self._check_union(model)
        if isinstance(model.load, Replace) and (changing := self.changing(model)):
            raise self._wrong(
                model,
                f"it is computed from the changes of {changing[0].name}, and Replace needs all rows",
                "declare Merge, or capture=Snapshot() for that stream",
            )
        self.key_columns(model)

    def _check_names(self, model: Model, before: Sequence[Model]) -> None:
        known = {stream.name for stream in self.streams} | {one.name for one in before}
        for name in model.inputs:
            if name not in known:
                raise self._wrong(
                    model,
                    f"its parameter {name!r} is neither a stream nor a model declared before it",
                    f"choose from {', '.join(sorted(known))}",
                )

    def _check_changes(self, model: Model, before: Sequence[Model]) -> None:
        changes = [one.name for one in self.streams if one.name in model.inputs and not one.is_snapshot]
        others = [one.name for one in before if one.name in model.inputs]
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
                "it would be given one of them without the other",
                "join the models in a view, capture the streams as Snapshot, or declare union=True and "
                "deletes='ignore' if it puts the rows of its inputs one after the other",
            )
        if model.union and len(changing) < 2:
            raise self._wrong(model, "it declares union, and its inputs do not change apart", "leave union out")
        if model.union and not model.keeps_rows:
            raise self._wrong(
                model,
                "it declares union, and which input a row came from is not known when it has to leave",
                "declare deletes='ignore'",
            )

    def _declared(self, model: Model, root: Stream) -> dict[str, str]:
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
