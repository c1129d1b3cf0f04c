"""How long the values of a column are, in bytes: columns of a warehouse are as wide as their longest value."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from millrace.base.single_rows import pad_single_row
from millrace.base.types import Column, Kind

MEASURED_KINDS = frozenset({Kind.TEXT, Kind.BINARY, Kind.DOCUMENT})
"""Kinds of columns with values of different lengths."""


def measure_longest_bytes(frame: pl.DataFrame, columns: Sequence[Column]) -> dict[str, int]:
    """Return the length of the longest value of every text, binary and document column; {} for a frame without rows."""
    lengths = [byte_length(column).max().fill_null(0) for column in columns if column.type.kind in MEASURED_KINDS]
    return pad_single_row(frame).select(lengths).row(0, named=True) if lengths and frame.height else {}


def byte_length(column: Column) -> pl.Expr:
    """Return an expression: the bytes of each value of a text, binary or document column."""
    value = pl.col(column.name)
    return value.bin.size("b") if column.type.kind is Kind.BINARY else value.str.len_bytes()
