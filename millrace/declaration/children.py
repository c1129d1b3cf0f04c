"""Children of a stream: each array of documents that is declared fills a table of its own.

A child is a model that is computed from its stream alone, with the key of the stream and the place in the array as its
key. So its rows are replaced together with the row that holds the array, in the same commit. Its columns are those of a
schema or, without one, those that the elements have (models/found_children.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name, column_name
from millrace.base.types import INT32, Column, DataType, Kind, from_polars, polars_type
from millrace.declaration.captures import Problem, SchemaPolicy
from millrace.declaration.checks import check_fields
from millrace.declaration.contract_rules import check_contract
from millrace.declaration.elements import Elements, is_of_elements, read_elements
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
_FOUND_COLUMNS: Mapping[type[pl.DataType], type[dy.Column]] = {
    **_COLUMNS,
    pl.Boolean: dy.Bool,
    pl.Float32: dy.Float32,
    pl.Float64: dy.Float64,
    pl.Binary: dy.Binary,
}
"""The columns of a schema by the types that columns may have which elements tell."""
ReadElements = Callable[[Sequence[str | None]], tuple[Elements, pl.DataFrame]]
"""Takes apart arrays, each the JSON of one row: returns the elements, and their columns as a frame."""


@dataclass(frozen=True)
class Child:
    """The table of an array of documents: a row for each element."""

    schema: type[dy.Schema] | None = None
    """The columns of the elements, as a dataframely schema; fields without a column stay in the parent's array alone.
    A field of an embedded document is a column as well: ``price.amount`` is ``price_amount``. None: every field of the
    elements becomes a column when it first comes, as in a stream of documents without contract."""
    target: str = ""
    """Name of the table; '': that of the stream's table and the field, as in ``orders_items``."""

    def __post_init__(self) -> None:
        check_fields(self, "child")
        if self.target:
            check_name(self.target, "child: target")


@dataclass(frozen=True)
class ChildModel(Model):
    """The model of a child: its rows are the elements of an array of the stream's rows."""

    stream: str = ""
    """Name of the stream."""
    path: str = ""
    """The field with the array."""
    finds_columns: bool = False
    """Whether the elements tell the columns, and no schema."""
    found_columns: tuple[Column, ...] = ()
    """The columns that the elements told, with those that Millrace adds; (): they are not known yet."""
    policy: SchemaPolicy = "evolve"
    """What new fields of elements may change in the table."""

    @property
    @override
    def columns(self) -> tuple[Column, ...]:
        return self.found_columns if self.finds_columns else super().columns

    @property
    @override
    def schema_policy(self) -> SchemaPolicy:
        return self.policy

    @property
    @override
    def function_hash(self) -> str:
        # Nobody wrote the function: another release of Millrace gives the same rows.
        return ""

    def with_columns(self, found: Sequence[Column], read: ReadElements) -> ChildModel:
        """Return the model with the columns of a batch, its key first; ``read`` takes its arrays apart."""
        typed = [(column.name, polars_type(column.type)) for column in found]
        columns = {name: _found_column(dtype, nullable=name not in self.keys) for name, dtype in typed}
        schema: type[dy.Schema] = type("Found", (dy.Schema,), columns)
        function = _make_function(self.name, self.stream, self.path, self.root_columns, schema, read)
        return replace(self, function=function, schema=schema, found_columns=tuple(found))

    @property
    def root_columns(self) -> Mapping[str, str]:
        """The columns with the key of the parent, each with the name of that key."""
        return self.function.root_columns  # type: ignore[attr-defined, no-any-return] # _make_function sets it


def child_dtypes(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Return the types of the columns that elements fill."""
    return {name: column.dtype for name, column in schema.columns().items()}


def redacted_columns(stream: Stream, path: str) -> frozenset[str]:
    """Return the columns of a child that the stream masks as NULL."""
    inner = {masked.removeprefix(f"{path}."): mask for masked, mask in stream.mask.items() if masked != path}
    return frozenset(column_name(masked) for masked, mask in inner.items() if isinstance(mask, Redact))


def find_wrong_child(stream: Stream) -> Problem | None:
    """Return why a stream cannot have the children that it declares; None if it can."""
    if not stream.child_tables:
        return None
    if not stream.is_of_documents:
        return "children are of documents, and a table has rows", "select the array as a table of its own, by a view"
    if type(stream.load) is not Merge:
        mode = type(stream.load).__name__
        return f"{mode} does not hold one row per key, and children follow their row", "declare load=Merge()"
    if stream.deletes == "ignore":
        return "children of a changed row are replaced, and deletes='ignore' keeps them", "declare 'hard' or 'soft'"
    for path in stream.child_tables:
        if stream.types[path].kind is not Kind.DOCUMENT:
            return f"field {path!r} is declared as {stream.types[path]}, and has children", "take it out of types"
    found = (_find_wrong_schema(stream, path, child) for path, child in stream.child_tables.items())
    return next(filter(None, found), None)


def _find_wrong_schema(stream: Stream, path: str, child: Child) -> Problem | None:
    if child.schema is None:
        return None
    for key in stream.keys:
        if _key_type(stream, key) is None:
            return (
                f"the type of key {key!r} is not declared, and the schema of children[{path!r}] needs it",
                f"declare types={{{key!r}: text()}}, or the type that it has: text, a whole number or a date",
            )
    reserved = {ORDINAL, *(_key_column(stream, key) for key in stream.keys)}
    masked = {column_name(at.removeprefix(f"{path}.")): at for at in stream.mask if at.startswith(f"{path}.")}
    for name, dtype in child_dtypes(child.schema).items():
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
    return [_make_child(stream, path, child) for path, child in stream.child_tables.items()]


def added_columns(stream: Stream) -> dict[str, str]:
    """Return the columns of a child with the key of its parent, each with the name of that key."""
    return {_key_column(stream, key): key for key in stream.keys}


def ordinal_column() -> Column:
    """Return the column with the place of an element in its array."""
    return Column(ORDINAL, ORDINAL, INT32)


def _make_child(stream: Stream, path: str, child: Child) -> ChildModel:
    keys = added_columns(stream)
    if child.schema is None:
        names = {name: dy.String(nullable=False) for name in (*keys, ORDINAL)}
        schema: type[dy.Schema] = type("Unknown", (dy.Schema,), names)
        read: ReadElements = _refuse_to_read
    else:
        schema, read = _declared_schema(stream, path, child.schema), _reader(stream, path, child.schema)
    return ChildModel(
        _make_function(child.target or f"{stream.table}_{column_name(path)}", stream.name, path, keys, schema, read),
        schema,
        key=[*keys, ORDINAL],
        deletes=stream.deletes,
        # Of a snapshot all children are computed at every run.
        root_key={} if stream.is_snapshot else keys,
        max_delete_share=stream.max_delete_share,
        stream=stream.name,
        path=path,
        finds_columns=child.schema is None,
        policy=stream.schema_policy if child.schema is None else "evolve",
    )


def _declared_schema(stream: Stream, path: str, schema: type[dy.Schema]) -> type[dy.Schema]:
    """Return the schema of a child with the columns that Millrace adds."""
    check_contract(schema, (), f"stream {stream.name}, children[{path!r}]")
    added = {name: _key_schema_column(_key_type(stream, key)) for name, key in added_columns(stream).items()}
    return type(schema.__name__, (schema,), {**added, ORDINAL: dy.Int32(nullable=False)})


def _reader(stream: Stream, path: str, schema: type[dy.Schema]) -> ReadElements:
    """Return what takes arrays apart by a declared schema."""
    dtypes, redacted = child_dtypes(schema), redacted_columns(stream, path)

    def read(arrays: Sequence[str | None]) -> tuple[Elements, pl.DataFrame]:
        elements = read_elements(arrays, path, dtypes, redacted)
        return elements, elements.frame(dtypes)

    return read


def _refuse_to_read(_arrays: Sequence[str | None]) -> tuple[Elements, pl.DataFrame]:
    raise ValueError("the columns of the elements are not known yet")


def _make_function(
    name: str, stream: str, path: str, keys: Mapping[str, str], schema: type[dy.Schema], read: ReadElements
) -> Any:
    """Return the function of a child's model. It is given the rows of the stream, and returns their elements."""

    def explode(**inputs: pl.DataFrame) -> pl.DataFrame:
        (rows,) = inputs.values()
        if column_name(path) not in rows.columns:
            return schema.create_empty()
        elements, frame = read(rows[column_name(path)].to_list())
        if elements.rejected:
            raise ValueError("an array that was accepted cannot be read")
        # The keys alone: an array of 5 MB with 100,000 elements, repeated for each of them, took 20 GB.
        parents = rows.select(map(column_name, keys.values()))[pl.Series(elements.rows, dtype=pl.UInt32)]
        return frame.with_columns(
            *(parents[column_name(key)].cast(schema.columns()[name].dtype).alias(name) for name, key in keys.items()),
            pl.Series(ORDINAL, elements.ordinals, dtype=pl.Int32),
        )

    function: Any = explode
    function.__name__ = name
    function.__signature__ = inspect.Signature([inspect.Parameter(stream, inspect.Parameter.KEYWORD_ONLY)])
    function.root_columns = keys
    return function


def _key_column(stream: Stream, key: str) -> str:
    """Return the column of a child with a key of its parent: ``orders_id`` for ``id`` and ``_id`` of orders."""
    return column_name(f"{stream.name}_{column_name(key).lstrip('_')}")


def _key_type(stream: Stream, key: str) -> DataType | None:
    """Return the declared type of a key; None if there is none, or none that a child can have."""
    declared = stream.types.get(key)
    contract = stream.contract.columns().get(column_name(key)) if stream.contract else None
    found = declared or (from_polars(contract.dtype) if contract else None)
    return found if found is not None and type(polars_type(found)) in _COLUMNS else None


def _key_schema_column(data_type: DataType | None) -> dy.Column:
    if data_type is None:
        raise ConfigurationError("a key has no type", place="children", remedy="declare it in types")
    return _COLUMNS[type(polars_type(data_type))](nullable=False)


def _found_column(dtype: pl.DataType, *, nullable: bool) -> dy.Column:
    """Return the column of a schema for a column that elements told."""
    if isinstance(dtype, pl.Decimal):
        return dy.Decimal(dtype.precision, dtype.scale, nullable=nullable)
    if isinstance(dtype, pl.Datetime):
        return dy.Datetime(time_unit="us", time_zone=dtype.time_zone, nullable=nullable)
    return _FOUND_COLUMNS[type(dtype)](nullable=nullable)
