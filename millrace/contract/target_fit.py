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
    location_columns: Sequence[str],
) -> tuple[pl.DataFrame, tuple[Column, ...], pl.DataFrame]:
    """Return the rows that the target can hold, in its types; their columns; and the other rows as rejects.

    ``target_columns`` have lengths of texts in bytes; there are none before the first load, and then every row passes.
    ``location_columns`` are the columns of the row location. Reasons: ``schema_new_column`` (a value in a column that
    the target lacks), ``schema_type`` (a value that the target's type does not hold exactly), ``schema_too_long``. A
    key column that the target lacks stays: no row is wrong because of it, and the load refuses it.
    """
    target_types = {column.name: column.type for column in target_columns}
    if not target_types:
        return frame, tuple(columns), no_rejects()
    writable = [column for column in columns if column.name in target_types or column.name in keys]
    verdicts = [_reject_new_value(column) for column in columns if column not in writable]
    verdicts += [_reject_unfit(column, target_types[column.name]) for column in writable if column.name in target_types]
    accepted, rejected = split_rejects(
        frame, [verdict for verdict in verdicts if verdict is not None], location_columns
    )
    fitted = tuple(Column(column.name, column.path, target_types.get(column.name, column.type)) for column in writable)
    converted = accepted.select(_convert_or_null(column, target_types.get(column.name)) for column in writable)
    others = accepted.drop(column.name for column in columns)
    return converted.hstack(others), fitted, rejected


def _reject_new_value(column: Column) -> pl.Expr | None:
    return reject_when("schema_new_column", column.field, pl.col(column.name).is_not_null())


def _reject_unfit(column: Column, target_type: DataType) -> pl.Expr | None:
    """Return which rows are rejected because of a column; None when all of them pass."""
    value = pl.col(column.name)
    if not _is_like(column.type, target_type):
        return reject_when("schema_type", column.field, value.is_not_null() & ~_is_exact(column, target_type))
    if target_type.length is None:
        return None
    size = value.bin.size("b") if target_type.kind is Kind.BINARY else value.str.len_bytes()
    return reject_when("schema_too_long", column.field, size > target_type.length)


def _is_like(column_type: DataType, target_type: DataType) -> bool:
    return (column_type.kind, column_type.precision, column_type.scale) == (
        target_type.kind,
        target_type.precision,
        target_type.scale,
    )


def _is_convertible(column_type: DataType, target_type: DataType) -> bool:
    """Return whether values of both kinds mean the same.

    A text of digits is not a number, and a timestamp without a time zone is not one with a time zone.
    """
    return any({column_type.kind, target_type.kind} <= family for family in (_NUMBERS, _NAIVE_MOMENTS))


def _is_exact(column: Column, target_type: DataType) -> pl.Expr:
    """Return whether a value is the same after it was converted to the target's type and back."""
    if not _is_convertible(column.type, target_type):
        return pl.lit(value=False)
    returned = _convert(_convert(pl.col(column.name), column.type, target_type), target_type, column.type)
    return returned.eq_missing(pl.col(column.name))


def _convert_or_null(column: Column, target_type: DataType | None) -> pl.Expr:
    value = pl.col(column.name)
    if target_type is None or _is_like(column.type, target_type):
        return value
    if _is_convertible(column.type, target_type):
        return _convert(value, column.type, target_type)
    return pl.lit(None, dtype=polars_type(target_type)).alias(column.name)


def _convert(value: pl.Expr, column_type: DataType, wanted_type: DataType) -> pl.Expr:
    """Convert to the wanted type; null if that is not possible. A rounded value shows when it is converted back."""
    if column_type.kind in _FLOATS and wanted_type.kind is Kind.DECIMAL:
        # Through the shortest digits that give the float: Polars multiplies, and 8663010.6365 ends in 499999.
        value = value.cast(pl.String)
    return value.cast(polars_type(wanted_type), strict=False)
