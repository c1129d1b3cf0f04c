"""BSON becomes rows: PyMongo's C code decodes one raw batch at a time, and invalid BSON is rejected.

Why not pymongoarrow: docs/decisions/0005-bson.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bson
import polars as pl
from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from millrace.base.naming import ROW_ID, elements_column
from millrace.base.rejects import NO_LOCATION, REJECT_SCHEMA
from millrace.base.types import TIMESTAMP_UTC, Column
from millrace.declaration.stream import Stream, steps_of
from millrace.sources.bson_values import TYPE_OF, find_converters
from millrace.sources.chunk import Chunk
from millrace.sources.documents import Documents
from millrace.sources.object_ids import DOCUMENT_KEY, is_object_id_cursor

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, uuid_representation=UuidRepresentation.STANDARD
)
EXTENDED_JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    uuid_representation=UuidRepresentation.STANDARD,
)
"""The form of rejected documents in the lake: every value can be read back as it was."""
AS_IT_WAS = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""Options to read keys of rejected documents: binary values keep their subtype, also those of UUIDs."""
ARRAY = "a"
"""The field of the BSON in which a frame holds an array."""
SIZE_BYTES, SMALLEST_BYTES = 4, 5
STRING = b"\x02"
ID_BYTES = {b"\x01": 8, b"\x07": 12, b"\x09": 8, b"\x10": 4, b"\x12": 8, b"\x13": 16}
"""The length of an ``_id`` by its type: double, ObjectId, date, int, long, decimal."""


class Decoder:
    """Decodes the raw batches of one read."""

    def __init__(self, stream: Stream, target_columns: Sequence[Column]) -> None:
        self._documents = Documents(stream, target_columns, TYPE_OF, find_converters)
        self._arrays = {elements_column(path): steps_of(path) for path in stream.found_children}
        if stream.capture.cursor_column and not is_object_id_cursor(stream):
            self._documents.declare(stream.capture.cursor_column, TIMESTAMP_UTC)

    def decode(self, raw: bytes) -> Chunk:
        """Decode a raw batch into typed rows and rejects."""
        documents, undecodable = decode_documents(raw)
        frame, rejected = self._documents.frame(documents)
        frame = frame.with_columns(pl.Series(ROW_ID, [_row_id(document) for document in documents], dtype=pl.String))
        frame = frame.with_columns(
            pl.Series(name, [_encode_at(document, steps) for document in documents], dtype=pl.Binary)
            for name, steps in self._arrays.items()
        )
        if rejected:
            keep = pl.Series([index not in rejected for index in range(len(documents))], dtype=pl.Boolean)
            frame = frame.filter(keep)
        rows = [_reject(documents[index], *why) for index, why in rejected.items()] + undecodable
        rejects = pl.DataFrame(rows, schema=dict(REJECT_SCHEMA))
        return Chunk(frame, self._documents.columns, rejects, self._documents.omitted)


def _encode_at(document: Mapping[str, Any], steps: Sequence[str]) -> bytes | None:
    """Return the value at a path as BSON, so that a frame holds it with its types; None: the document has none."""
    value: Any = document
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return None if value is None else bson.encode({ARRAY: value}, codec_options=OPTIONS)


def decode_array(value: bytes | None) -> Any:
    """Return the value of a document that a frame holds as BSON."""
    return None if value is None else bson.decode(value, OPTIONS)[ARRAY]


def _row_id(document: Mapping[str, Any]) -> str:
    """Return the row id of a document: its ``_id`` with the type.

    An ObjectId and its text are two ids, but one value of the column.
    """
    value = document.get(DOCUMENT_KEY)
    return f"{type(value).__name__}:{value}"


def decode_documents(raw: bytes) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Decode a raw batch: return the documents, and rejects of those that are not valid BSON.

    Documents are decoded one by one only if the batch fails as a whole.
    """
    try:
        return bson.decode_all(raw, OPTIONS), []
    except (BSONError, ValueError, OverflowError):
        return _decode_singly(raw)


def _decode_singly(raw: bytes) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    documents, rejected, offset = [], [], 0
    while offset < len(raw):
        size = max(int.from_bytes(raw[offset : offset + SIZE_BYTES], "little"), SMALLEST_BYTES)
        document_bytes = raw[offset : offset + size]
        try:
            documents.append(bson.decode(document_bytes, OPTIONS))
        except (BSONError, ValueError, OverflowError):
            rejected.append(
                {
                    "reason": "undecodable",
                    "field": "",
                    "coordinates": _id_of(document_bytes),
                    "row": document_bytes.hex(),
                }
            )
        offset += size
    return documents, rejected


def _id_of(raw: bytes) -> str:
    """Return the row location of a document that may be broken behind its first field, the ``_id``."""
    kind, name, value = raw[4:5], raw[5:9], raw[9:]
    size = ID_BYTES.get(kind, 4 + int.from_bytes(value[:4], "little") if kind == STRING else 0)
    first = kind + name + value[:size] + b"\x00"
    try:
        document = bson.decode((len(first) + SIZE_BYTES).to_bytes(SIZE_BYTES, "little") + first, OPTIONS)
    except (BSONError, ValueError, OverflowError):
        return NO_LOCATION
    return json_util.dumps(document, json_options=EXTENDED_JSON) if DOCUMENT_KEY in document else NO_LOCATION


def _reject(document: Mapping[str, Any], reason: str, field: str) -> dict[str, str]:
    return {
        "reason": reason,
        "field": field,
        "coordinates": json_util.dumps({DOCUMENT_KEY: document.get(DOCUMENT_KEY)}, json_options=EXTENDED_JSON),
        "row": json_util.dumps(document, json_options=EXTENDED_JSON),
    }
