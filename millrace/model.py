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
from millrace.errors import ConfigurationError
from millrace.naming import declared_name
from millrace.types import Column, from_polars

if TYPE_CHECKING:
    import dataframely
    import polars


@dataclass(frozen=True)
class Model:
    """A table derived from streams and other models, which the parameters of ``function`` name.

    ``schema`` (dataframely) is the table: names, types, which columns are never NULL; ``key`` names its key;
    ``references`` maps columns to the models (dimensions) whose key they hold. A key that the dimension lacks gets a
    row there, with the dimension's ``unknown`` values.
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
        for column in (*self.keys, *self.references, *self.unknown):
            if column not in self.schema.column_names():
                raise self._wrong(f"its schema has no column {column!r}")
        if isinstance(self.load, History) and not self._is_numbered:
            raise self._wrong("a history needs a key of one integer column, which its record ids are made of")

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
        """Of its table. Raises UnmappableType for a type that no warehouse has."""
        return tuple(Column(name, name, from_polars(one.dtype)) for name, one in self.schema.columns().items())

    @property
    def required(self) -> frozenset[str]:
        """Columns that are never NULL."""
        return frozenset(name for name, column in self.schema.columns().items() if not column.nullable)

    def check_unknown(self) -> None:
        """Raises ConfigurationError unless a row can be made of a key alone."""
        lacking = self.required - {*self.keys, *self.unknown}
        if self.deletes == "hard":
            raise self._wrong("it is referred to, so that its rows must stay: declare deletes='soft' or 'ignore'")
        if lacking or len(self.keys) != 1:
            raise self._wrong(
                f"it is referred to, and a row of its key alone needs values for {', '.join(sorted(lacking))}"
            )

    @property
    def _is_numbered(self) -> bool:
        return len(self.keys) == 1 and self.schema.columns()[self.keys[0]].dtype.is_integer()

    def _wrong(self, problem: str) -> ConfigurationError:
        return ConfigurationError(problem, place=f"model {self.name}")
