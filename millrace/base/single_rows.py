"""Pad frames of one row.

Polars treats the values of a single row as scalars and copies them with every step; the values of several rows it does
not copy. A chunk has a single row if that row has megabytes.
"""

from __future__ import annotations

import polars as pl


def pad_single_row(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame, with a row of NULLs added if it has a single row."""
    if frame.height != 1:
        return frame
    return pl.DataFrame([_with_null(frame[name]) for name in frame.columns])


def pad_single_value(series: pl.Series) -> pl.Series:
    """Return the values, with a NULL added if there is a single one."""
    return series if len(series) != 1 else _with_null(series)


def _with_null(series: pl.Series) -> pl.Series:
    # In one chunk: Polars' format panics on a series of several chunks that begins with an empty one.
    return series.rechunk().clone().append(pl.Series([None], dtype=series.dtype))
