"""Fit rows to a target that must stay as it is: the schema policy ``quarantine`` widens nothing for them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from millrace.base.rejects import no_rejects, reject_when, split_rejects
from millrace.base.types import Column, DataType, Kind, polars_type

_NUMBERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.FLOAT32, Kind.FLOAT64, Kind.DECIMAL})
_FLOATS = frozenset({Kind.FLOAT32, Kind.FLOAT64})
_NAIVE_MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP})


def fit_to_target(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    target_columns: Sequence[Column],
    keys: Sequence[str],
    coordinates: Sequence[str],
) -> tuple[pl.DataFrame, tuple[Column, ...], pl.DataFrame]:
    """Return the rows that the target can hold, in its types; their columns; and the other rows as rejects.

    ``target_columns`` have lengths of texts in bytes; there are none before the first load, and then every row passes.
    ``coordinates`` are the columns of the row location. Reasons: ``schema_new_column`` (a value in a column that the
    target lacks), ``schema_type`` (a value that the target's type does not hold exactly), ``schema_too_long``. A key
    column that the target lacks stays: no row is wrong because of it, and the load refuses it.
    """
    held = {column.name: column.type for column in target_columns}
    if not held:
        return frame, tuple(columns), no_rejects()
    kept = [column for column in columns if column.name in held or column.name in keys]
    verdicts = [_reject_new_value(column) for column in columns if column not in kept]
    verdicts += [_reject_unfit(column, held[column.name]) for column in kept if column.name in held]
    accepted, rejected = split_rejects(frame, [verdict for verdict in verdicts if verdict is not None], coordinates)
    fitted = tuple(Column(column.name, column.path, held.get(column.name, column.type)) for column in kept)
    converted = accepted.select(_convert_or_null(column, held.get(column.name)) for column in kept)
    others = accepted.drop(column.name for column in columns)
    return converted.hstack(others), fitted, rejected


def _reject_new_value(column: Column) -> pl.Expr | None:
    return reject_when("schema_new_column", column.path, pl.col(column.name).is_not_null())


def _reject_unfit(column: Column, held: DataType) -> pl.Expr | None:
    """Return which rows are rejected because of a column; None when all of them pass."""
    value = pl.col(column.name)
    if not _is_like(column.type, held):
        return reject_when("schema_type", column.path, value.is_not_null() & ~_is_exact(column, held))
    if held.length is None:
        return None
    size = value.bin.size("b") if held.kind is Kind.BINARY else value.str.len_bytes()
    return reject_when("schema_too_long", column.path, size > held.length)


def _is_like(own: DataType, held: DataType) -> bool:
    return (own.kind, own.precision, own.scale) == (held.kind, held.precision, held.scale)


def _is_convertible(own: DataType, held: DataType) -> bool:
    """Return whether values of both kinds mean the same.

    A text of digits is not a number, and a timestamp without a time zone is not one with a time zone.
    """
    return any({own.kind, held.kind} <= family for family in (_NUMBERS, _NAIVE_MOMENTS))


def _is_exact(column: Column, held: DataType) -> pl.Expr:
    """Return whether a value is the same after it was converted to the target's type and back."""
    if not _is_convertible(column.type, held):
        return pl.lit(value=False)
    returned = _convert(_convert(pl.col(column.name), column.type, held), held, column.type)
    return returned.eq_missing(pl.col(column.name))


def _convert_or_null(column: Column, held: DataType | None) -> pl.Expr:
    value = pl.col(column.name)
    if held is None or _is_like(column.type, held):
        return value
    if _is_convertible(column.type, held):
        return _convert(value, column.type, held)
    return pl.lit(None, dtype=polars_type(held)).alias(column.name)


def _convert(value: pl.Expr, own: DataType, wanted: DataType) -> pl.Expr:
    """Convert to the wanted type; null if that is not possible. A rounded value shows when it is converted back."""
    if own.kind in _FLOATS and wanted.kind is Kind.DECIMAL:
        # Through the shortest digits that give the float: Polars multiplies, and 8663010.6365 ends in 499999.
        value = value.cast(pl.String)
    return value.cast(polars_type(wanted), strict=False)
