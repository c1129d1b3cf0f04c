"""The declaration of a derived table: a pure function over frames, the table it fills, and how.

Rules and reasons are in docs/decisions/0009-models.md.
What does not belong here: calling the function (transform.py) and any particular model (pipelines/).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace.declared import DeletePolicy, History, Merge
from millrace.errors import ConfigurationError, UnmappableType
from millrace.naming import column_name, declared_name
from millrace.types import Column, Kind, from_polars

if TYPE_CHECKING:
    import dataframely
    import polars


@dataclass(frozen=True)
class Model:
    """A table derived from streams and other models, which the parameters of ``function`` name.

    ``schema`` (dataframely) is the table: names, types, which columns are never NULL; ``key`` names its key;
    ``references`` maps columns to the models (dimensions) whose key they hold. A key that the dimension lacks gets a
    row there, with the dimension's ``unknown`` values (None: NULL). Raises ConfigurationError.
    """

    function: Callable[..., polars.DataFrame]
    schema: type[dataframely.Schema]
    key: str | Sequence[str]
    load: Merge | History = field(default_factory=Merge)
    deletes: DeletePolicy = "soft"
    references: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        declared_name(self.name, "model")
        if not self.inputs or not self.keys:
            raise self._wrong("it has no input (its function no parameter)" if self.keys else "no key is declared")
        for column in (*self.keys, *self.references, *self.unknown):
            if column not in self.schema.column_names():
                raise self._wrong(f"its schema has no column {column!r}")
        self._check_columns()
        if isinstance(self.load, History):
            self._check_history(self.load.record_id)

    def _check_columns(self) -> None:
        for name, column in self.schema.columns().items():
            if column_name(name) != name:
                raise self._wrong(f"its column {name!r} is no name, or one of our own (docs/naming.md)")
            try:
                data_type = from_polars(column.dtype)
            except UnmappableType as error:
                raise self._wrong(f"column {name}: {error.problem}") from None
            if data_type.kind is Kind.DOCUMENT:
                raise self._wrong(f"its column {name} is nested: give it as text, or as columns of its own")

    def _check_history(self, record_id: str) -> None:
        if len(self.keys) != 1 or not self.schema.columns()[self.keys[0]].dtype.is_integer():
            raise self._wrong("a history needs a key of one integer column, which its record ids are made of")
        if column_name(record_id) != record_id or record_id in self.schema.column_names():
            raise self._wrong(f"its record id {record_id!r} is no name, or one that its schema or this program has")

    @property
    def name(self) -> str:
        """Of the model and of its table."""
        return self.function.__name__

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of the key, in declared order."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the streams and models it is computed from."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of its table."""
        return tuple(Column(name, name, from_polars(one.dtype)) for name, one in self.schema.columns().items())

    @property
    def required(self) -> frozenset[str]:
        """Columns that are never NULL."""
        return frozenset(name for name, column in self.schema.columns().items() if not column.nullable)

    def check_unknown(self) -> None:
        """Raises ConfigurationError unless a row can be made of a key alone."""
        lacking = self.required - {name for name, value in self.unknown.items() if value is not None} - {*self.keys}
        if self.deletes == "hard":
            raise self._wrong("it is referred to, so that its rows must stay: declare deletes='soft' or 'ignore'")
        if isinstance(self.load, History):
            raise self._wrong("it is referred to, so that it must hold one row of a key: declare load=Merge()")
        if len(self.keys) != 1:
            raise self._wrong("it is referred to by one column, so that its key must be one")
        if lacking:
            raise self._wrong(
                f"it is referred to, and a row of its key alone needs values for {', '.join(sorted(lacking))}"
            )

    def _wrong(self, problem: str) -> ConfigurationError:
        return ConfigurationError(problem, place=f"model {self.name}")
