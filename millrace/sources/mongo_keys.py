"""Keys of documents as a change stream tells them, and as a read gives them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from millrace.base.naming import column_name
from millrace.base.types import Column, Kind
from millrace.declaration.stream import Stream
from millrace.sources.mongo_values import Decoder

LOGGED_KEY = "document key"
"""The column of keys as the log tells them: each is a document of BSON with an ``_id`` alone."""


def type_document_keys(
    stream: Stream, target_columns: Sequence[Column], keys: pl.DataFrame
) -> tuple[pl.DataFrame, bool]:
    """Give keys the types and column names of the stream, by the way that documents go.

    Return a row for each key, in their order, and whether all of them have values that these types hold and by which a
    document is found again.
    """
    chunk = Decoder(stream, target_columns).decode(b"".join(keys[LOGGED_KEY]))
    names = [column_name(key) for key in stream.keys]
    if chunk.rejected.height or not set(names) <= set(chunk.frame.columns):
        return chunk.frame, False
    typed = chunk.frame.select(names)
    kinds = {column.type.kind for column in chunk.columns if column.name in names}
    return typed, Kind.DOCUMENT not in kinds and not any(typed[name].has_nulls() for name in names)
