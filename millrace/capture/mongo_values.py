"""How BSON becomes columns: decode, flatten, type, and reject row by row what a column cannot hold exactly.

A raw batch is decoded by PyMongo's C code and taken apart column by column. A column's type is, in this order:
the stream's declaration, the contract, the target's column, what the first chunk holds; a value of another type is
converted only where nothing is lost. Why not pymongoarrow: docs/decisions/0005-bson.md.
What does not belong here: queries and positions (mongo.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import bson
import polars as pl
from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from millrace.capture.bson_values import TYPE_OF, Converters, Unfit, accepted
from millrace.capture.chunk import Chunk
from millrace.naming import IDENTITY, column_name, column_names
from millrace.pipeline import Stream
from millrace.rejects import NOWHERE, REJECT_SCHEMA
from millrace.types import FLOAT64, TIMESTAMP_UTC, Column, DataType, Kind, from_polars, polars_type

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, uuid_representation=UuidRepresentation.STANDARD
)
EXTENDED_JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    uuid_representation=UuidRepresentation.STANDARD,
)
"""How rejected documents are kept, so that every value can be read back as it was."""
DOCUMENT_KEY = "_id"
NUL = "\x00"
SIZE_BYTES, SMALLEST_BYTES = 4, 5
STRING = b"\x02"
ID_BYTES = {b"\x01": 8, b"\x07": 12, b"\x09": 8, b"\x10": 4, b"\x12": 8, b"\x13": 16}
"""Length of an ``_id`` by its type: double, ObjectId, date, int, long, decimal."""

Rejected = dict[int, tuple[str, str]]
"""Reason and field by index of the document."""


class Decoder:
    """Decodes the raw batches of one read; a path keeps the column it was given first.

    ``known`` are the target's columns: their fields keep these names, and these types unless the contract says other.
    """

    def __init__(self, stream: Stream, known: Sequence[Column]) -> None:
        self._stream = stream
        self._known = {column.name: column.type for column in known} | _of_contract(stream)
        self._columns: dict[str, Column] = {}
        self._names = {column.path: column.name for column in known}
        self._name([stream.capture.cursor])
        self._register(stream.capture.cursor, TIMESTAMP_UTC)

    def decode(self, raw: bytes) -> Chunk:
        """One raw batch as typed rows and rejects."""
        documents, undecodable = _decode(raw)
        values: dict[str, list[Any]] = {}
        self._flatten(documents, "", self._stream.flatten_depth, values)
        self._name(values)
        rejected: Rejected = {}
        series = [self._series(path, column, rejected) for path, column in values.items()]
        frame = self._complete([one for one in series if one is not None], len(documents)).with_columns(
            pl.Series(IDENTITY, [_identity(document) for document in documents], dtype=pl.String)
        )
        columns = tuple(self._columns.values())
        if rejected:
            keep = pl.Series([index not in rejected for index in range(len(documents))], dtype=pl.Boolean)
            frame = frame.filter(keep)
        rows = [_reject(documents[index], *why) for index, why in rejected.items()] + undecodable
        return Chunk(frame, columns, pl.DataFrame(rows, schema=dict(REJECT_SCHEMA)))

    def _flatten(
        self, documents: Sequence[Mapping[str, Any] | None], prefix: str, depth: int, into: dict[str, list[Any]]
    ) -> None:
        """Fill ``into`` with one list of values per path; embedded documents open up ``depth`` levels."""
        for field in dict.fromkeys(chain.from_iterable(document for document in documents if document)):
            path = f"{prefix}{_escaped(field)}"
            values = [document.get(field) if document else None for document in documents]
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
        converters = accepted(column.type)
        if any(converters.get(kind, _convert) is not None for kind in kinds):
            values = _convert(values, converters, column, rejected)
        series = _typed(values, column)
        if column.type.kind is Kind.TEXT:
            for index in series.str.contains(NUL, literal=True).fill_null(False).arg_true():
                rejected.setdefault(index, ("nul_character", path))
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


def _identity(document: Mapping[str, Any]) -> str:
    """With the type: an ObjectId and its text are two ids, and one value of the column."""
    value = document.get(DOCUMENT_KEY)
    return f"{type(value).__name__}:{value}"


def _escaped(field: str) -> str:
    """A dot in a field's name is no step into a document: ``a.b`` is ``a\\.b`` in a path."""
    return field.replace("\\", "\\\\").replace(".", "\\.") if "." in field or "\\" in field else field


def _of_contract(stream: Stream) -> dict[str, DataType]:
    if stream.contract is None:
        return {}
    return {name: from_polars(column.dtype) for name, column in stream.contract.columns().items()}


def _decode(raw: bytes) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Documents, and as rejects those that are no valid BSON (found one by one only when the batch fails)."""
    try:
        return bson.decode_all(raw, OPTIONS), []
    except (BSONError, ValueError, OverflowError):
        return _decode_singly(raw)


def _decode_singly(raw: bytes) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    documents, rejected, offset = [], [], 0
    while offset < len(raw):
        size = max(int.from_bytes(raw[offset : offset + SIZE_BYTES], "little"), SMALLEST_BYTES)
        one = raw[offset : offset + size]
        try:
            documents.append(bson.decode(one, OPTIONS))
        except (BSONError, ValueError, OverflowError):
            rejected.append({"reason": "undecodable", "field": "", "coordinates": _id_of(one), "row": one.hex()})
        offset += size
    return documents, rejected


def _id_of(raw: bytes) -> str:
    """The coordinates of a document of which no more than its first field, the ``_id``, may be sound."""
    kind, name, value = raw[4:5], raw[5:9], raw[9:]
    size = ID_BYTES.get(kind, 4 + int.from_bytes(value[:4], "little") if kind == STRING else 0)
    first = kind + name + value[:size] + b"\x00"
    try:
        document = bson.decode((len(first) + SIZE_BYTES).to_bytes(SIZE_BYTES, "little") + first, OPTIONS)
    except (BSONError, ValueError, OverflowError):
        return NOWHERE
    return json_util.dumps(document, json_options=EXTENDED_JSON) if DOCUMENT_KEY in document else NOWHERE


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


def _reject(document: Mapping[str, Any], reason: str, field: str) -> dict[str, str]:
    return {
        "reason": reason,
        "field": field,
        "coordinates": json_util.dumps({DOCUMENT_KEY: document.get(DOCUMENT_KEY)}, json_options=EXTENDED_JSON),
        "row": json_util.dumps(document, json_options=EXTENDED_JSON),
    }
