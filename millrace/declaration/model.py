"""The declaration of a model: a pure function over frames, the table that it fills, and how.

docs/decisions/0009-models.md has the rules and their reasons.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import Any

import dataframely
import polars

from millrace.base.errors import ConfigurationError, UnmappableType
from millrace.base.naming import check_name, column_name
from millrace.base.types import TIME_KINDS, Column, Kind, from_polars
from millrace.declaration.captures import Bind, DeletePolicy, SchemaPolicy
from millrace.declaration.checks import Count, Share, Text, check_distinct, check_fields
from millrace.declaration.load_mode_base import LoadMode
from millrace.declaration.load_modes import Merge

_NAME_A_TIME = "name a column of type date or datetime"


@dataclass(frozen=True)
class Model:
    """A table that a function computes from streams and other models.

    Which declarations are possible: docs/decisions/0019-models-that-cannot-be-declared-wrongly.md. An impossible one
    raises ConfigurationError.
    """

    function: Callable[..., polars.DataFrame]
    """Computes the rows. Its name is the model's; its parameters name the streams and models that it gets."""
    schema: type[dataframely.Schema]
    """The table, as a dataframely schema: names and types of the columns, and which of them are never NULL."""
    key: Text | Sequence[Text]
    """The column or columns that identify a row."""
    load: LoadMode = field(default_factory=Merge)
    """How the rows of a batch become rows of the table."""
    deletes: DeletePolicy = "soft"
    """What happens to a row that the function no longer returns, or that was made from a row deleted in the source."""
    references: Mapping[Text, Text] = field(default_factory=dict)
    """Maps columns to the models (dimensions) that have these values as their key. A key that the dimension does not
    have yet gets a row there, with the ``unknown`` values of the dimension."""
    unknown: Mapping[Text, Any] = field(default_factory=dict)
    """Values by column (None: NULL) for a row of which only the key is known, because another model refers to it."""
    binds: Sequence[Bind] = ()
    """Further columns, each with the surrogate key of a version of another model."""
    max_delete_share: Share = 0.5
    """The largest share of more than 100 rows that one run may delete, mark or close; above it the run fails."""
    root_key: Mapping[Text, Text] = field(default_factory=dict)
    """Maps columns of the model to columns of the key of the stream that it is computed from, if their names differ. By
    this key the rows are found that have to leave the model when a row of the stream changes or is deleted."""
    union: bool = False
    """The inputs change independently: the function gets rows of one input at a time, the others are empty."""
    max_rejects: Count = 1_000
    """The largest number of rejected rows of one run; above it the run fails."""
    max_reject_share: Share = 0.1
    """The largest share of rejected rows of one run (ten rows are always allowed); above it the run fails."""

    def __post_init__(self) -> None:
        if not isinstance(self.function, FunctionType):
            raise ConfigurationError(
                f"function is {self.function!r}", place="model", remedy="give a function, whose name is the model's"
            )
        check_fields(self, f"model {self.name}")
        check_name(self.name, "model")
        check_distinct(self.keys, "key column", f"model {self.name}")
        check_distinct((bind.column for bind in self.binds), "bound column", f"model {self.name}")
        if not self.inputs:
            raise self._wrong("it has no input", "name streams or models as the parameters of its function")
        if not self.keys:
            raise self._wrong("no key is declared", "declare key=, one column or several")
        for column in (*self.keys, *self.references, *self.unknown, *self.root_key):
            if column not in self.schema.column_names():
                raise self._wrong(f"its schema has no column {column!r}", "add it, or name another one")
        self._check_columns()
        self._check_unknown_values()
        self._check_further_columns()
        self._check_binds()
        if found := self.load.problem_with_model(self):
            raise self._wrong(*found)

    def _check_columns(self) -> None:
        for name, column in self.schema.columns().items():
            if column_name(name) != name:
                raise self._wrong(
                    f"its column {name!r} is not a valid name, or is reserved for Millrace", "see docs/naming.md"
                )
            try:
                data_type = from_polars(column.dtype)
            except UnmappableType as error:
                raise self._wrong(f"column {name}: {error.problem}", error.remedy) from None
            if data_type.kind is Kind.DOCUMENT:
                raise self._wrong(f"its column {name} is nested", "return it as text, or as several columns")

    def _check_unknown_values(self) -> None:
        """Check values of numeric columns: the warehouse would refuse a wrong one only when a key is first missing."""
        for name, value in self.unknown.items():
            dtype = self.schema.columns()[name].dtype
            if value is None or not dtype.is_numeric():
                continue
            try:
                is_number = not isinstance(value, bool) and bool(polars.Series([str(value)]).cast(dtype).len())
            except polars.exceptions.PolarsError:
                is_number = False
            if not is_number:
                raise self._wrong(
                    f"unknown[{name!r}] is {value!r}, and the column has type {dtype}", "declare a number that fits"
                )

    def _check_further_columns(self) -> None:
        """Check the columns that the load mode adds or needs, and the bound ones."""
        names = self.schema.column_names()
        for name in (*(bind.column for bind in self.binds), *self.load.named):
            if column_name(name) != name or name in names:
                raise self._wrong(
                    f"its column {name!r} is not a valid name, or its schema or Millrace has such a column",
                    "choose another name",
                )
        for name in self.load.asked:
            if name not in names:
                raise self._wrong(
                    f"its schema has no column {name!r}, which its load mode needs", "add it, or name another one"
                )
        for name in self.load.ordering:
            if name in self.keys:
                raise self._wrong(
                    f"its column {name!r} orders the rows of one key, and is itself a column of the key",
                    "remove it from the key, or name another column",
                )
        if self.load.effective and self.load.effective not in self._moments:
            raise self._wrong(f"its column {self.load.effective!r} is not a date or timestamp", _NAME_A_TIME)

    def _check_binds(self) -> None:
        if self.binds and self.load.keeps_versions:
            raise self._wrong("it keeps versions, so it cannot be bound to other models", "declare Append() or Merge()")
        for bind in self.binds:
            for column in (*bind.keys, bind.at):
                if column not in self.schema.column_names():
                    raise self._wrong(
                        f"its schema has no column {column!r}, by which {bind.column!r} is bound",
                        "name a column of the schema",
                    )
            if bind.at not in self._moments:
                raise self._wrong(f"its column {bind.at!r} is not a date or timestamp", _NAME_A_TIME)

    @property
    def function_hash(self) -> str:
        """Hash of the function's statements, without layout and comments; '' if its source cannot be read.

        Functions that it calls are not part of the hash.
        """
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(self.function)))
        except (OSError, SyntaxError):
            return ""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]

    @property
    def keeps_rows(self) -> bool:
        """Whether rows stay in the model even if the rows that they were made from are deleted."""
        return self.load.deletes(self.deletes) == "ignore"

    @property
    def schema_policy(self) -> SchemaPolicy:
        """What a load may change in the table: every column that the schema gained is added."""
        return "evolve"

    @property
    def is_log(self) -> bool:
        """Whether rows are changes that stay true for their time, not states."""
        return self.load.is_log

    @property
    def _moments(self) -> list[str]:
        return [column.name for column in self.columns if column.type.kind in TIME_KINDS]

    @property
    def name(self) -> str:
        """Name of the model and of its table."""
        return self.function.__name__

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of the key, in the order in which they are declared."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the streams and models that the model is computed from."""
        return _parameters_of(self.function)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the model's table."""
        return tuple(Column(name, name, from_polars(column.dtype)) for name, column in self.schema.columns().items())

    @property
    def required(self) -> frozenset[str]:
        """Columns that are never NULL."""
        return frozenset(name for name, column in self.schema.columns().items() if not column.nullable)

    def check_can_be_referenced(self) -> None:
        """Raise ConfigurationError unless other models may refer to this one.

        Then a row must be possible of which only the key is known.
        """
        missing = self.required - {name for name, value in self.unknown.items() if value is not None} - {*self.keys}
        if self.deletes == "hard":
            raise self._wrong("another model refers to it, so its rows must stay", "declare deletes='soft' or 'ignore'")
        if self.load.keeps_versions:
            raise self._wrong("another model refers to it, so it must have one row per key", "declare load=Merge()")
        if len(self.keys) != 1:
            raise self._wrong(
                "another model refers to it by one column, so its key must be one column", "declare a key of one column"
            )
        if missing:
            raise self._wrong(
                "another model refers to it, and a row of which only the key is known needs values for "
                f"{', '.join(sorted(missing))}",
                "declare them in unknown={…}, or allow NULL in these columns",
            )

    def _wrong(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(problem, place=f"model {self.name}", remedy=remedy)


@cache
def _parameters_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters; a run asks for them some thousand times."""
    return tuple(inspect.signature(function).parameters)
