"""Mask values where they are read: in rows, and in the rows that were rejected before they were typed.

The hash is SHA-256 of the key, a separator and the value, and again of the key, a separator and that digest, cut to 128
bits: nested with a key as HMAC (RFC 2104), so that nobody without the key can try out values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import orjson
import polars as pl
import polars_hash as plh

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name
from millrace.base.rejects import FILE_IS_GONE
from millrace.base.single_rows import pad_single_row
from millrace.base.types import Column, Kind, text
from millrace.declaration.masks import HASH_CHARACTERS, HIDDEN, Hash, Mask, Partial, Redact, variable_of_key
from millrace.declaration.stream import Stream
from millrace.sources.bson_values import document_text
from millrace.sources.chunk import Chunk
from millrace.sources.documents import escape_step
from millrace.sources.json_numbers import loads

_SEPARATOR = "\x1f"


def mask_chunk(chunk: Chunk, stream: Stream, keys: Mapping[str, str]) -> Chunk:
    """Return a chunk with masked values, in its rows and in its rejects; ``keys`` are those of hashes, by name.

    Raises ConfigurationError when a mask is for text and the column is not, or when a key is missing.
    """
    if not stream.mask and not (stream.is_of_documents and (stream.omitted or stream.columns)):
        return chunk
    frame, columns = chunk.frame, []
    for column in chunk.columns:
        mask = stream.find_mask(column.path)
        if mask is not None:
            frame = frame.with_columns(_mask_column(frame, column, mask, stream, keys))
            columns.append(column if isinstance(mask, Redact) else Column(column.name, column.path, text()))
            continue
        if column.type.kind is Kind.DOCUMENT and any(path.startswith(f"{column.path}.") for path in stream.mask):
            frame = frame.with_columns(_mask_documents(frame[column.name], column.path, stream))
        columns.append(column)
    return Chunk(frame, tuple(columns), hide_in_rejects(chunk.rejected, stream), chunk.omitted)


def hide_in_rejects(rejected: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Return rejects whose rows show no masked value, and no field that the stream leaves out.

    A row that could not be decoded at all is hidden as a whole.
    """
    if not rejected.height:
        return rejected
    rows = [_hide_in_row(row, stream) for row in rejected["row"]]
    return rejected.with_columns(pl.Series("row", rows, pl.String))


def hide_in_stored_rejects(rejected: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Return rejects of an earlier read whose rows show nothing that the stream masks or leaves out now.

    The fields of their rows are those of the source, or the columns that they became. Messages stay as they came.
    """
    if not stream.capture.keeps_rows or not (stream.mask or stream.omitted or stream.columns):
        return rejected
    hidden = [column_name(path) for path in (*stream.mask, *stream.omitted)]
    chosen = [column_name(path) for path in stream.columns]
    rows = [
        row if reason == FILE_IS_GONE else _hide_in_stored_row(row, stream, hidden, chosen)
        for reason, row in rejected.select("reason", "row").rows()
    ]
    return rejected.with_columns(pl.Series("row", rows, pl.String))


def _hide_in_stored_row(row: str, stream: Stream, hidden: Sequence[str], chosen: Sequence[str]) -> str:
    try:
        fields = orjson.loads(row)
    except orjson.JSONDecodeError:
        return HIDDEN
    if not isinstance(fields, dict):
        return HIDDEN
    for field, value in fields.items():
        name = column_name(field)
        is_chosen = not chosen or any(_is_within(name, other) for other in chosen)
        # A document that stays whole is a text in a typed row.
        holds_hidden = isinstance(value, str) and any(_is_within(other, name) for other in hidden)
        if not is_chosen or holds_hidden or any(_is_within(name, other) for other in hidden):
            fields[field] = HIDDEN
        elif isinstance(value, dict | list):
            fields[field] = hide_fields(value, f"{escape_step(field)}.", stream)
    return orjson.dumps(fields).decode()


def _is_within(column: str, other: str) -> bool:
    """Return whether a column may hold the field of another one, or a field within it."""
    return column == other or column.startswith(f"{other}_")


def _mask_documents(values: pl.Series, path: str, stream: Stream) -> pl.Series:
    """Return documents that stay whole with ``****`` for masked fields, whatever their mask is."""
    masked = [value and document_text(hide_fields(loads(value), f"{path}.", stream)) for value in values]
    return pl.Series(values.name, masked, pl.String)


def _mask_column(frame: pl.DataFrame, column: Column, mask: Mask, stream: Stream, keys: Mapping[str, str]) -> pl.Series:
    values, value = frame[column.name], pl.col(column.name)
    match mask:
        case Redact():
            return pl.Series(column.name, [None] * values.len(), values.dtype)
        case Partial(visible):
            _require_text(column, stream)
            tail = pl.when(value.str.len_chars() > visible).then(value.str.tail(visible)).otherwise(pl.lit(""))
            shown = pl.when(value.is_not_null()).then(pl.concat_str(pl.lit(HIDDEN), tail))
            return frame.select(shown.alias(column.name)).to_series()
        case Hash(name):
            _require_text(column, stream)
            return _hash(values, _find_key(name, keys, stream))
        case unknown:
            assert_never(unknown)


def _hash(values: pl.Series, key: str) -> pl.Series:
    frame = pad_single_row(values.to_frame("value"))
    for _ in range(2):
        keyed = frame.select(pl.concat_str(pl.lit(f"{key}{_SEPARATOR}"), "value").alias("value"))
        frame = keyed.select(plh.col("value").chash.sha2_256().alias("value"))
    return frame["value"].str.head(HASH_CHARACTERS).head(values.len()).alias(values.name)


def _find_key(name: str, keys: Mapping[str, str], stream: Stream) -> str:
    if not keys.get(name):
        raise ConfigurationError(
            f"the key {name!r} of its hashes is not known",
            place=stream.place,
            remedy=f"set {variable_of_key(name)}, then run `python -m millrace.blocks.bootstrap`",
        )
    return keys[name]


def _require_text(column: Column, stream: Stream) -> None:
    if column.type.kind is not Kind.TEXT:
        raise ConfigurationError(
            f"column {column.path!r} is {column.type}, and its mask is for text",
            place=stream.place,
            remedy=f"declare types={{{column.path!r}: text()}}, or mask={{{column.path!r}: Redact()}}",
        )


def _hide_in_row(row: str, stream: Stream) -> str:
    try:
        value = orjson.loads(row)
    except orjson.JSONDecodeError:
        return HIDDEN
    if not isinstance(value, dict):
        return HIDDEN
    return orjson.dumps(hide_fields(value, "", stream)).decode()


def hide_fields(value: Any, prefix: str, stream: Stream) -> Any:
    """Return the value with ``****`` for masked fields, without fields that are left out, at any depth."""
    if isinstance(value, list):
        return [hide_fields(one, prefix, stream) for one in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for field, inner in value.items():
        path = f"{prefix}{field}" if not stream.is_of_documents else f"{prefix}{escape_step(field)}"
        if path in stream.mask:
            shown[field] = HIDDEN
        elif not (stream.is_of_documents and (path in stream.omitted or not (prefix or stream.selects(path)))):
            shown[field] = hide_fields(inner, f"{path}.", stream)
    return shown
