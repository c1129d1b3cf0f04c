"""Frames of one row, whose values Polars copies with every step, as scalars; of several rows it copies none.

A chunk has one row where that row is of megabytes.
"""

from __future__ import annotations

import polars as pl


def pad_single_row(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame; a single row with a row of NULLs after it."""
    if frame.height != 1:
        return frame
    return pl.DataFrame([_with_null(frame[name]) for name in frame.columns])


def pad_single_value(series: pl.Series) -> pl.Series:
    """The values; a single one with a NULL after it."""
    return series if len(series) != 1 else _with_null(series)


def _with_null(series: pl.Series) -> pl.Series:
    return series.clone().append(pl.Series([None], dtype=series.dtype))
