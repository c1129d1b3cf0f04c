"""The row hash: 128 bits over a row's values, the same on every capture path, machine and library version.

Definition (docs/decisions/0004-row-hash.md; fixed vectors in the tests): XXH3-128 of the UTF-8 text made of
``name=value;`` for every column that is not NULL, columns in the order of their names, written as a decimal
number. So NULL differs from '', a new column does not change rows in which it is NULL, and neither does a wider
type. Text, documents, times and binary (hex) carry their length in bytes before them, so that no value can imitate
another column.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import polars as pl
import polars_hash as plh

from millrace.base.naming import ROW_HASH, VERSION_HASH
from millrace.base.single_rows import pad_single_row
from millrace.base.types import Column, Kind
from millrace.declaration.load_mode_base import LoadMode

HASH_LENGTH = 39
"""Number of decimal digits of 2**128."""

_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.BOOLEAN, Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})
_MEASURED = frozenset({Kind.TEXT, Kind.TIME, Kind.DOCUMENT, Kind.BINARY})


def add_row_hash(frame: pl.DataFrame, columns: Sequence[Column], name: str = ROW_HASH) -> pl.DataFrame:
    """Return the frame with a last column ``name``: the row hash as decimal text of at most 39 digits."""
    parts = _parts(frame, columns)
    is_complete = not any(frame[column.name].null_count() for column in columns)
    row = parts[0] if is_complete and parts else pl.concat_str(parts, ignore_nulls=True)
    hashes = pad_single_row(frame).select(row.alias(name)).select(plh.col(name).nchash.xxh3_128().cast(pl.String))
    return frame.hstack([hashes.to_series().head(frame.height)])


def add_hashes(frame: pl.DataFrame, columns: Sequence[Column], load: LoadMode, keys: Sequence[str]) -> pl.DataFrame:
    """Return the frame with its row hash and, if the load mode keeps versions, a hash of the tracked columns.

    Load modes that make versions by content compare the second hash.
    """
    hashed = add_row_hash(frame, columns)
    tracked = load.tracked_of([column.name for column in columns], keys)
    if tracked is None:
        return hashed
    chosen = [column for column in columns if column.name in tracked]
    if not chosen:
        return hashed.with_columns(pl.lit("").alias(VERSION_HASH))
    return add_row_hash(hashed, chosen, VERSION_HASH)


def _parts(frame: pl.DataFrame, columns: Sequence[Column]) -> list[pl.Expr]:
    """Return the expressions of a row's text.

    Neighbours without NULLs are written by one expression, which takes half the time; the text is the same.
    """
    parts: list[pl.Expr] = []
    ordered = sorted(columns, key=lambda column: column.name)
    for complete, group in groupby(ordered, key=lambda column: not frame[column.name].null_count()):
        neighbours = list(group)
        parts += [write_canonical(*neighbours)] if complete else [write_canonical(column) for column in neighbours]
    return parts


def write_canonical(*columns: Column) -> pl.Expr:
    """Return an expression: the text ``name=value;`` of each column as it enters the hash, null if a value is NULL."""
    template = "".join(f"{column.name}={'{}:{}' if column.type.kind in _MEASURED else '{}'};" for column in columns)
    return pl.format(template, *(value for column in columns for value in _values(column)))


def _values(column: Column) -> list[pl.Expr]:
    value, kind = pl.col(column.name), column.type.kind
    if kind in _INTEGERS:
        return [value.cast(pl.Int64)]
    if kind is Kind.DATE:
        return [value.cast(pl.Int32)]
    if kind is Kind.DECIMAL:
        return [_without_trailing_zeros(value, column.type.scale or 0)]
    if kind in {Kind.FLOAT32, Kind.FLOAT64}:
        return [_bits(value)]
    text = value.bin.encode("hex") if kind is Kind.BINARY else value
    return [text.str.len_bytes(), text]


def _without_trailing_zeros(value: pl.Expr, scale: int) -> pl.Expr:
    """Return an expression: a decimal as text, the same for ``1.50`` and ``1.5000``."""
    text = value.cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if scale else text


def _bits(value: pl.Expr) -> pl.Expr:
    """Return an expression: a float's 64 bits as an integer, the same for all NaNs.

    Versions of libraries print floats differently, but their bits stay the same.
    """
    wide = value.cast(pl.Float64)
    return pl.when(wide.is_nan()).then(float("nan")).otherwise(wide).reinterpret(dtype=pl.Int64)
