"""Elements of an array of documents for a child without a schema: they tell its columns, as documents tell a stream's.

An element that is no document is a document with the only field ``value``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from millrace.base.naming import column_name
from millrace.base.types import INT32, Column, DataType, polars_type
from millrace.declaration.captures import SchemaPolicy
from millrace.declaration.children import ORDINAL, added_columns, redacted_columns
from millrace.declaration.elements import MISMATCH, Elements
from millrace.declaration.stream import Stream
from millrace.sources import bson_values, json_values, stored_elements
from millrace.sources.documents import Documents
from millrace.sources.json_numbers import loads

VALUE = "value"
"""The field of an element that is no document."""
ELEMENTS_AT_ONCE = 20_000
"""How many elements are taken apart at once: an array of 16 MB may have 500,000."""


@dataclass(frozen=True)
class ElementFields:
    """What the declaration of a stream says of the fields of elements, by their path within the element."""

    types: Mapping[str, DataType]
    omitted: frozenset[str]
    flatten_depth: int
    schema_policy: SchemaPolicy
    place: str
    is_of_documents: bool = True
    contract: None = None

    @classmethod
    def of(cls, stream: Stream, path: str) -> ElementFields:
        """Return what a stream says of the elements of the array at ``path``."""
        inner = f"{path}."
        types = {field.removeprefix(inner): kind for field, kind in stream.types.items() if field.startswith(inner)}
        omitted = frozenset(field.removeprefix(inner) for field in stream.omitted if field.startswith(inner))
        place = f"{stream.place}, children[{path!r}]"
        return cls(types, omitted, stream.flatten_depth, stream.schema_policy, place)

    def selects(self, _path: str) -> bool:
        """Return that every field may be replicated."""
        return True

    def redacts(self, _path: str) -> bool:
        """Return that no document is left that a mask hides: elements are masked before they are taken apart."""
        return False


class FoundElements:
    """Takes apart the arrays of one read as the source has them. A path keeps the column that it was given first."""

    def __init__(self, stream: Stream, path: str, target_columns: Sequence[Column]) -> None:
        """``target_columns`` are the columns of the child's table that elements fill."""
        self._path = path
        self._added = {column.name for column in _reserve(stream)}
        fields, known = ElementFields.of(stream, path), [*_reserve(stream), *target_columns]
        self._target_columns = {column.path: column for column in target_columns}
        if stream.reference.kind.is_queue:
            find_converters, parse_times = json_values.find_converters, json_values.parse_times
            self._documents = Documents(fields, known, json_values.TYPE_OF, find_converters, parse_times)
        else:
            self._documents = Documents(fields, known, bson_values.TYPE_OF, bson_values.find_converters)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the child's table, and those that were met."""
        met = {column.path: column for column in self._documents.columns}
        return tuple({**self._target_columns, **met}.values())

    @property
    def renamed(self) -> dict[str, str]:
        """The fields that were met and that have another column, because Millrace adds one of their name: by path."""
        return {
            column.path: column.name for column in self._documents.columns if column_name(column.path) in self._added
        }

    def take(self, arrays: Iterable[Any]) -> Iterator[tuple[pl.DataFrame, list[int], dict[int, tuple[str, str]]]]:
        """Take apart the arrays of some rows, None where a row has none; yield bounded numbers of elements.

        Each are given as a frame with the row of each element, and the rows that the columns cannot hold.
        """
        rejected: dict[int, tuple[str, str]] = {}
        elements: list[dict[str, Any]] = []
        rows: list[int] = []
        for row, array in enumerate(arrays):
            if array is not None and not isinstance(array, list):
                rejected[row] = (MISMATCH, self._path)
                continue
            for element in array or ():
                elements.append(as_document(element))
                rows.append(row)
                if len(elements) == ELEMENTS_AT_ONCE:
                    yield self._frame(elements, rows, {})
                    elements, rows = [], []
        yield self._frame(elements, rows, rejected)

    def _frame(
        self, elements: list[dict[str, Any]], rows: list[int], rejected: dict[int, tuple[str, str]]
    ) -> tuple[pl.DataFrame, list[int], dict[int, tuple[str, str]]]:
        frame, wrong = self._documents.frame(elements)
        for index, (reason, field) in wrong.items():
            rejected.setdefault(rows[index], (reason, f"{self._path}.{field}"))
        return frame, rows, rejected


def read_stored(
    stream: Stream, path: str, columns: Sequence[Column]
) -> Callable[[Sequence[str | None]], tuple[Elements, pl.DataFrame]]:
    """Return what takes apart arrays as the parent's column holds them, into these columns."""
    fields, redacted = ElementFields.of(stream, path), redacted_columns(stream, path)
    known = [*_reserve(stream), *columns]

    def read(arrays: Sequence[str | None]) -> tuple[Elements, pl.DataFrame]:
        documents = Documents(fields, known, json_values.TYPE_OF, stored_elements.find_converters)
        elements, frames = Elements({}), [_empty(columns)]
        pending: list[dict[str, Any]] = []
        for row, text in enumerate(arrays):
            found = list(map(as_document, loads(text) or ())) if text is not None else []
            elements.rows += [row] * len(found)
            elements.ordinals += range(len(found))
            pending += found
            if len(pending) >= ELEMENTS_AT_ONCE:
                frames.append(_type_stored(documents, pending, columns))
                pending = []
        frames.append(_type_stored(documents, pending, columns))
        frame = pl.concat(frames)
        nulls = [pl.lit(None, dtype=frame.schema[name]).alias(name) for name in frame.columns if name in redacted]
        return elements, frame.with_columns(nulls)

    return read


def _empty(columns: Sequence[Column]) -> pl.DataFrame:
    return pl.DataFrame(schema={column.name: polars_type(column.type) for column in columns})


def _type_stored(
    documents: Documents, elements: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> pl.DataFrame:
    """Return elements that were accepted before in these columns. A column that none of them has is NULL."""
    frame, rejected = documents.frame(elements)
    if rejected:
        raise ValueError("an array that was accepted cannot be read")
    height, typed = len(elements), {column.name: polars_type(column.type) for column in columns}
    return pl.DataFrame(
        [
            frame[name].cast(dtype) if name in frame.columns else pl.Series(name, [None] * height, dtype=dtype)
            for name, dtype in typed.items()
        ]
    )


def as_document(element: Any) -> dict[str, Any]:
    """Return an element as a document: what is none is the only field of one, and null is one without fields."""
    if isinstance(element, dict):
        return element
    return {} if element is None else {VALUE: element}


def _reserve(stream: Stream) -> list[Column]:
    """Return the columns that Millrace adds, at paths that no field has: fields of these names get others."""
    return [Column(name, f"\\{name}", INT32) for name in (*added_columns(stream), ORDINAL)]
