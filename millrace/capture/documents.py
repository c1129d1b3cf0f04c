"""How documents become columns: flatten, name, type, and reject row by row what a column cannot hold exactly.

Documents are taken apart column by column. A column's type is, in this order: the stream's declaration, the contract,
the target's column, what the first documents hold; a value of another type is converted only where nothing is lost.
What does not belong here: how bytes become documents (mongo_values.py, messages.py), single values (bson_values.py,
json_values.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import polars as pl

from millrace.capture.bson_values import TYPE_OF, Converters, Unfit
from millrace.naming import column_name, column_names
from millrace.pipeline import Stream
from millrace.types import FLOAT64, MOMENTS, Column, DataType, Kind, from_polars, polars_type

NUL = "\x00"

Rejected = dict[int, tuple[str, str]]
"""Reason and field by index of the document."""


class Documents:
    """Takes apart the documents of one read; a path keeps the column it was given first.

    ``known`` are the target's columns: their fields keep these names, and these types unless the contract says other.
    ``accepted`` gives the Python types that go into a column, each with its conversion; ``parsed`` makes moments of
    texts, null where one is none, for documents that know moments as texts only.
    """

    def __init__(
        self,
        stream: Stream,
        known: Sequence[Column],
        accepted: Callable[[DataType], Converters],
        parsed: Callable[[pl.Series, DataType], pl.Series] | None = None,
    ) -> None:
        self._stream, self._accepted, self._parsed = stream, accepted, parsed
        self._known = {column.name: column.type for column in known} | of_contract(stream)
        self._columns: dict[str, Column] = {}
        self._names = {column.path: column.name for column in known}

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column met so far, in one order."""
        return tuple(self._columns.values())

    def declare(self, path: str, data_type: DataType) -> None:
        """The column of a path, before the first document; the type is that of last resort."""
        self._name([path])
        self._register(path, data_type)

    def frame(self, documents: Sequence[Mapping[str, Any]]) -> tuple[pl.DataFrame, Rejected]:
        """A row for each document, with every column known so far; and which of them are rejected."""
        values: dict[str, list[Any]] = {}
        self._flatten(documents, "", self._stream.flatten_depth, values)
        self._name(values)
        rejected: Rejected = {}
        series = [self._series(path, column, rejected) for path, column in values.items()]
        return self._complete([one for one in series if one is not None], len(documents)), rejected

    def _flatten(
        self, documents: Sequence[Mapping[str, Any] | None], prefix: str, depth: int, into: dict[str, list[Any]]
    ) -> None:
        """Fill ``into`` with one list of values per path; embedded documents open up ``depth`` levels."""
        for field in dict.fromkeys(chain.from_iterable(document for document in documents if document)):
            path = f"{prefix}{_escaped(field)}"
            if path in self._stream.omitted:
                continue
            values = _values_of(field, documents)
            if depth and dict in set(map(type, values)) and not self._is_document(path):
                embedded = [value if type(value) is dict else None for value in values]
                self._flatten(embedded, f"{path}.", depth - 1, into)
                values = [None if type(value) is dict else value for value in values]
            into[path] = values

    def _is_document(self, path: str) -> bool:
        declared = self._stream.types.get(path) or self._known.get(column_name(path))
        return declared is not None and declared.kind is Kind.DOCUMENT

    def _series(self, path: str, values: list[Any], rejected: Rejected) -> pl.Series | None:
        kinds = set(map(type, values)) - {type(None)}
        if not kinds and path not in self._columns:
            return None
        column = self._columns.get(path) or self._register(path, _infer(values))
        converters = self._accepted(column.type)
        if any(converters.get(kind, _convert) is not None for kind in kinds):
            values = _convert(values, converters, column, rejected)
        series = self._typed(values, column, rejected)
        if column.type.kind is Kind.TEXT:
            for index in series.str.contains(NUL, literal=True).fill_null(False).arg_true():
                rejected.setdefault(index, ("nul_character", path))
        return series

    def _typed(self, values: list[Any], column: Column, rejected: Rejected) -> pl.Series:
        if self._parsed is None or column.type.kind not in MOMENTS:
            return _typed(values, column)
        texts = pl.Series(column.name, values, dtype=pl.String)
        series = self._parsed(texts, column.type)
        for index in (series.is_null() & texts.is_not_null()).arg_true():
            rejected.setdefault(index, ("type_mismatch", column.path))
        return series

    def _name(self, paths: Iterable[str]) -> None:
        """Give new paths their columns' names, whatever the order in which fields appear."""
        self._names |= column_names(paths, self._names)

    def _register(self, path: str, inferred: DataType) -> Column:
        name = self._names[path]
        data_type = self._stream.types.get(path) or self._known.get(name) or inferred
        return self._columns.setdefault(path, Column(name, path, data_type))

    def _complete(self, series: Sequence[pl.Series], height: int) -> pl.DataFrame:
        """The frame with every column known so far, in one order, so that files of a read look alike."""
        present = {one.name: one for one in series}
        return pl.DataFrame(
            [
                present.get(column.name, pl.repeat(None, height, dtype=polars_type(column.type), eager=True)).alias(
                    column.name
                )
                for column in self._columns.values()
            ]
        )


def _values_of(field: str, documents: Sequence[Any]) -> list[Any]:
    """Of each document, None where it lacks the field; most often none does."""
    try:
        return list(map(itemgetter(field), documents))
    except (KeyError, TypeError):
        return [document.get(field) if document else None for document in documents]


def of_contract(stream: Stream) -> dict[str, DataType]:
    """The types that the contract names, by column."""
    if stream.contract is None:
        return {}
    return {name: from_polars(column.dtype) for name, column in stream.contract.columns().items()}


def _escaped(field: str) -> str:
    """A dot in a field's name is no step into a document: ``a.b`` is ``a\\.b`` in a path."""
    return field.replace("\\", "\\\\").replace(".", "\\.") if "." in field or "\\" in field else field


def _infer(values: list[Any]) -> DataType:
    """The type most values have; whole numbers among fractions are fractions."""
    counted = Counter(TYPE_OF.get(type(value)) for value in values if value is not None)
    counted.pop(None, None)
    if not counted:
        return DataType(Kind.DOCUMENT)
    if {kind.kind for kind in counted if kind} == {Kind.INT64, Kind.FLOAT64}:
        return FLOAT64
    return next(data_type for data_type, _ in counted.most_common(1) if data_type)


def _convert(values: list[Any], converters: Converters, column: Column, rejected: Rejected) -> list[Any]:
    """The values in the column's type; the rows of those that have no place there are noted in ``rejected``."""
    converted = []
    for index, value in enumerate(values):
        try:
            converter = converters[type(value)] if value is not None else None
            converted.append(converter(value) if converter else value)
        except KeyError:
            rejected.setdefault(index, ("type_mismatch", column.path))
            converted.append(None)
        except Unfit as error:
            rejected.setdefault(index, (error.reason, column.path))
            converted.append(None)
    return converted


def _typed(values: list[Any], column: Column) -> pl.Series:
    dtype = polars_type(column.type)
    if column.type.kind is Kind.TIMESTAMP_UTC:
        return pl.Series(column.name, values, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")
    if column.type.kind is Kind.DECIMAL:
        return pl.Series(column.name, values, dtype=pl.String).cast(dtype)
    return pl.Series(column.name, values, dtype=dtype)
