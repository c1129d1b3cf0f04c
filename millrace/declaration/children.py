"""Children of a stream: each array of documents that is declared fills a table of its own.

A child is a model that is computed from its stream alone, with the key of the stream and the place in the array as its
key. So its rows are replaced together with the row that holds the array, in the same commit.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name, column_name
from millrace.base.types import DataType, Kind, from_polars, polars_type
from millrace.declaration.captures import Problem
from millrace.declaration.checks import check_fields
from millrace.declaration.contract_rules import check_contract
from millrace.declaration.elements import is_of_elements, read_elements
from millrace.declaration.load_modes import Merge
from millrace.declaration.masks import Redact
from millrace.declaration.model import Model

if TYPE_CHECKING:
    from millrace.declaration.stream import Stream

ORDINAL = "ordinal"
"""The column with the place of an element in its array; the first one is 0, as in a path of MongoDB."""
_COLUMNS: Mapping[type[pl.DataType], type[dy.Column]] = {
    pl.String: dy.String,
    pl.Int16: dy.Int16,
    pl.Int32: dy.Int32,
    pl.Int64: dy.Int64,
    pl.Date: dy.Date,
}
"""The columns of a schema by the types that a key of a parent may have."""


@dataclass(frozen=True)
class Child:
    """The table of an array of documents: a row for each element, in columns that the schema names."""

    schema: type[dy.Schema]
    """The columns of the elements, as a dataframely schema; fields without a column stay in the parent's array alone.
    A field of an embedded document is a column as well: ``price.amount`` is ``price_amount``."""
    target: str = ""
    """Name of the table; '': that of the stream's table and the field, as in ``orders_items``."""

    def __post_init__(self) -> None:
        check_fields(self, "child")
        if self.target:
            check_name(self.target, "child: target")


def child_dtypes(child: Child) -> dict[str, pl.DataType]:
    """Return the types of the columns that elements fill."""
    return {name: column.dtype for name, column in child.schema.columns().items()}


def redacted_columns(stream: Stream, path: str) -> frozenset[str]:
    """Return the columns of a child that the stream masks as NULL."""
    inner = {masked.removeprefix(f"{path}."): mask for masked, mask in stream.mask.items() if masked != path}
    return frozenset(column_name(masked) for masked, mask in inner.items() if isinstance(mask, Redact))


def find_wrong_child(stream: Stream) -> Problem | None:
    """Return why a stream cannot have the children that it declares; None if it can."""
    if not stream.children:
        return None
    if not stream.is_of_documents:
        return "children are of documents, and a table has rows", "select the array as a table of its own, by a view"
    if type(stream.load) is not Merge:
        mode = type(stream.load).__name__
        return f"{mode} does not hold one row per key, and children follow their row", "declare load=Merge()"
    if stream.deletes == "ignore":
        return "children of a changed row are replaced, and deletes='ignore' keeps them", "declare 'hard' or 'soft'"
    for key in stream.keys:
        if _key_type(stream, key) is None:
            return (
                f"the type of key {key!r} is not declared, and the tables of children need it",
                f"declare types={{{key!r}: text()}}, or the type that it has: text, a whole number or a date",
            )
    for path in stream.children:
        if stream.types[path].kind is not Kind.DOCUMENT:
            return f"field {path!r} is declared as {stream.types[path]}, and has children", "take it out of types"
    found = (_find_wrong_columns(stream, path, child) for path, child in stream.children.items())
    return next(filter(None, found), None)


def _find_wrong_columns(stream: Stream, path: str, child: Child) -> Problem | None:
    reserved = {ORDINAL, *(_key_column(stream, key) for key in stream.keys)}
    masked = {column_name(at.removeprefix(f"{path}.")): at for at in stream.mask if at.startswith(f"{path}.")}
    for name, dtype in child_dtypes(child).items():
        if name in reserved:
            return f"children[{path!r}] has a column {name!r}, which Millrace adds", "take it out of the schema"
        if not is_of_elements(dtype):
            what = "nested" if dtype.is_nested() else f"of type {dtype}"
            return (
                f"column {name!r} of children[{path!r}] is {what}, which is not possible in a child",
                "take it out of the schema: the parent's column holds the whole array",
            )
        if name in masked and dtype != pl.String and not isinstance(stream.mask[masked[name]], Redact):
            return f"{masked[name]!r} is masked as text, and its column is {dtype}", "declare Redact(), or dy.String()"
    return None


def make_children(stream: Stream) -> list[Model]:
    """Return the models of the children of a stream."""
    return [_make_child(stream, path, child) for path, child in stream.children.items()]


def is_child(model: Model) -> bool:
    """Return whether a model is the child of a stream, and was not declared by itself."""
    return hasattr(model.function, "child_of")


def _make_child(stream: Stream, path: str, child: Child) -> Model:
    check_contract(child.schema, (), f"stream {stream.name}, children[{path!r}]")
    keys = {_key_column(stream, key): key for key in stream.keys}
    added = {name: _schema_column(_key_type(stream, key)) for name, key in keys.items()}
    schema: type[dy.Schema] = type(child.schema.__name__, (child.schema,), {**added, ORDINAL: dy.Int32(nullable=False)})

    def explode(**inputs: pl.DataFrame) -> pl.DataFrame:
        (rows,) = inputs.values()
        name = column_name(path)
        if name not in rows.columns:
            return schema.create_empty()
        elements = read_elements(rows[name].to_list(), path, child_dtypes(child), redacted_columns(stream, path))
        if elements.rejected:
            raise ValueError("an array that was accepted cannot be read")
        parents = rows[elements.rows] if elements.rows else rows.head(0)
        return elements.frame(child_dtypes(child)).with_columns(
            *(parents[column_name(key)].cast(schema.columns()[name].dtype).alias(name) for name, key in keys.items()),
            pl.Series(ORDINAL, elements.ordinals, dtype=pl.Int32),
        )

    function: Any = explode
    function.__name__ = child.target or f"{stream.table}_{column_name(path)}"
    function.__signature__ = inspect.Signature([inspect.Parameter(stream.name, inspect.Parameter.KEYWORD_ONLY)])
    function.child_of = stream.name
    return Model(
        function,
        schema,
        key=[*keys, ORDINAL],
        deletes=stream.deletes,
        # Of a snapshot all children are computed at every run.
        root_key={} if stream.is_snapshot else keys,
        max_delete_share=stream.max_delete_share,
    )


def _key_column(stream: Stream, key: str) -> str:
    """Return the column of a child with a key of its parent: ``orders_id`` for ``id`` and ``_id`` of orders."""
    return column_name(f"{stream.name}_{column_name(key).lstrip('_')}")


def _key_type(stream: Stream, key: str) -> DataType | None:
    """Return the declared type of a key; None if there is none, or none that a child can have."""
    declared = stream.types.get(key)
    contract = stream.contract.columns().get(column_name(key)) if stream.contract else None
    found = declared or (from_polars(contract.dtype) if contract else None)
    return found if found is not None and type(polars_type(found)) in _COLUMNS else None


def _schema_column(data_type: DataType | None) -> dy.Column:
    if data_type is None:
        raise ConfigurationError("a key has no type", place="children", remedy="declare it in types")
    return _COLUMNS[type(polars_type(data_type))](nullable=False)
