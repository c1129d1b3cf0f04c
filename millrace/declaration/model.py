"""The declaration of a derived table: a pure function over frames, the table it fills, and how.

Rules and reasons are in docs/decisions/0009-models.md.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import dataframely
import polars

from millrace.base.errors import ConfigurationError, UnmappableType
from millrace.base.naming import check_name, column_name
from millrace.base.types import TIME_KINDS, Column, Kind, from_polars
from millrace.declaration.captures import Bind, DeletePolicy
from millrace.declaration.checks import Count, Share, Text, check_distinct, check_fields
from millrace.declaration.load_modes import AnyLoadMode, Append, History, Merge, Replace, Scd2

_MOMENT = "name a column of type date or datetime"


@dataclass(frozen=True)
class Model:
    """A table derived from streams and other models, which the parameters of ``function`` name.

    ``schema`` (dataframely) is the table: names, types, which columns are never NULL; ``key`` names its key;
    ``references`` maps columns to the models (dimensions) whose key they hold. A key that the dimension lacks gets a
    row there, with the dimension's ``unknown`` values (None: NULL). ``binds`` are further columns, which hold keys of
    versions. ``max_delete_share``, ``max_rejects`` and ``max_reject_share`` as of a stream.

    A model of changes holds the key of the stream that changes, in columns of the same names, or in those that
    ``root_key`` names (column of the model → column of the stream's key): by it rows leave the model. ``union``: its
    inputs change apart, and it is called with the rows of one of them at a time, the others empty. Rules:
    docs/decisions/0019-models-that-cannot-be-declared-wrongly.md. Raises ConfigurationError.
    """

    function: Callable[..., polars.DataFrame]
    schema: type[dataframely.Schema]
    key: Text | Sequence[Text]
    load: AnyLoadMode = field(default_factory=Merge)
    deletes: DeletePolicy = "soft"
    references: Mapping[Text, Text] = field(default_factory=dict)
    unknown: Mapping[Text, Any] = field(default_factory=dict)
    binds: Sequence[Bind] = ()
    max_delete_share: Share = 0.5
    root_key: Mapping[Text, Text] = field(default_factory=dict)
    union: bool = False
    max_rejects: Count = 1_000
    max_reject_share: Share = 0.1

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
        self._check_own_columns()
        self._check_binds()
        if isinstance(self.load, History):
            self._check_history()
        if isinstance(self.load, Replace) and self.deletes == "ignore":
            raise self._wrong("Replace does not do deletes='ignore'", "leave deletes out, or declare Merge()")

    def _check_columns(self) -> None:
        for name, column in self.schema.columns().items():
            if column_name(name) != name:
                raise self._wrong(f"its column {name!r} is no name, or one of our own", "see docs/naming.md")
            try:
                data_type = from_polars(column.dtype)
            except UnmappableType as error:
                raise self._wrong(f"column {name}: {error.problem}", error.remedy) from None
            if data_type.kind is Kind.DOCUMENT:
                raise self._wrong(f"its column {name} is nested", "give it as text, or as columns of its own")

    def _check_unknown_values(self) -> None:
        """Numbers: the warehouse would refuse a wrong one at night, when the first key is missing."""
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
                    f"unknown[{name!r}] is {value!r}, and the column is of type {dtype}", "give a number that fits"
                )

    def _check_history(self) -> None:
        if len(self.keys) != 1 or not self.schema.columns()[self.keys[0]].dtype.is_integer():
            raise self._wrong(
                "a history needs a key of one integer column, which its record ids are made of", "declare such a key"
            )

    def _check_own_columns(self) -> None:
        """Those that the load mode names, and those that are bound."""
        names = self.schema.column_names()
        for name in (*(bind.column for bind in self.binds), *self.load.named):
            if column_name(name) != name or name in names:
                raise self._wrong(
                    f"its column {name!r} is no name, or one that its schema or this program has", "choose another name"
                )
        for name in self.load.asked:
            if name not in names:
                raise self._wrong(
                    f"its schema has no column {name!r}, which its load mode asks for", "add it, or name another one"
                )
        for name in self.load.ordering:
            if name in self.keys:
                raise self._wrong(
                    f"its column {name!r} puts rows of one key in order, and is of the key",
                    "take it out of the key, or name another column",
                )
        if self.load.effective and self.load.effective not in self._moments:
            raise self._wrong(f"its column {self.load.effective!r} is no date and no timestamp", _MOMENT)

    def _check_binds(self) -> None:
        if self.binds and self.load.keeps_versions:
            raise self._wrong("it keeps versions, and so cannot be bound to others", "declare Append() or Merge()")
        for bind in self.binds:
            for column in (*bind.keys, bind.at):
                if column not in self.schema.column_names():
                    raise self._wrong(
                        f"its schema has no column {column!r}, by which {bind.column!r} is bound",
                        "name one that it has",
                    )
            if bind.at not in self._moments:
                raise self._wrong(f"its column {bind.at!r} is no date and no timestamp", _MOMENT)

    @property
    def function_hash(self) -> str:
        """Of the function's statements, whatever their layout and comments; '' where its source is not there. Functions
        that it calls are not part of it."""
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
        """Rows never leave it, whatever becomes of the rows that they were made of."""
        return self.deletes == "ignore" or isinstance(self.load, Append)

    @property
    def is_log(self) -> bool:
        """Its rows are changes, each for ever true of its time."""
        return isinstance(self.load, Scd2) and self.load.changes

    @property
    def _moments(self) -> list[str]:
        return [column.name for column in self.columns if column.type.kind in TIME_KINDS]

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

    def check_can_be_referenced(self) -> None:
        """Raises ConfigurationError unless a row can be made of a key alone."""
        lacking = self.required - {name for name, value in self.unknown.items() if value is not None} - {*self.keys}
        if self.deletes == "hard":
            raise self._wrong("it is referred to, so that its rows must stay", "declare deletes='soft' or 'ignore'")
        if self.load.keeps_versions:
            raise self._wrong("it is referred to, so that it must hold one row of a key", "declare load=Merge()")
        if len(self.keys) != 1:
            raise self._wrong(
                "it is referred to by one column, so that its key must be one", "declare a key of one column"
            )
        if lacking:
            raise self._wrong(
                f"it is referred to, and a row of its key alone needs values for {', '.join(sorted(lacking))}",
                "give them in unknown={…}, or let these columns be NULL",
            )

    def _wrong(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(problem, place=f"model {self.name}", remedy=remedy)
