"""Rows against the target as it is, for streams whose schema changes go to quarantine: nothing is widened for them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from millrace.base.rejects import no_rejects, reject_when, split_rejects
from millrace.base.types import Column, DataType, Kind, polars_type

_NUMBERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.FLOAT32, Kind.FLOAT64, Kind.DECIMAL})
_FLOATS = frozenset({Kind.FLOAT32, Kind.FLOAT64})
_NAIVE_MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP})


def fits_target(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    known: Sequence[Column],
    keys: Sequence[str],
    coordinates: Sequence[str],
) -> tuple[pl.DataFrame, tuple[Column, ...], pl.DataFrame]:
    """The rows that the target holds as it is, in its types; their columns; and the others as rejects.

    ``known`` are the target's columns, lengths of texts in bytes; none where there is no target yet, and then every
    row passes. ``coordinates`` are the columns that tell where a row is. Reasons: ``schema_new_column`` (a value in a
    column that the target lacks), ``schema_type`` (one that the target's type does not hold exactly),
    ``schema_too_long``. A key that the target lacks stays where it is: that is no fault of a row, and the load refuses
    it.
    """
    held = {column.name: column.type for column in known}
    if not held:
        return frame, tuple(columns), no_rejects()
    kept = [column for column in columns if column.name in held or column.name in keys]
    verdicts = [_new_value(column) for column in columns if column not in kept]
    verdicts += [_verdict(column, held[column.name]) for column in kept if column.name in held]
    accepted, rejected = split_rejects(frame, [verdict for verdict in verdicts if verdict is not None], coordinates)
    fitted = tuple(Column(column.name, column.path, held.get(column.name, column.type)) for column in kept)
    own = accepted.drop(column.name for column in columns)
    return accepted.select(_fitted(column, held.get(column.name)) for column in kept).hstack(own), fitted, rejected


def _new_value(column: Column) -> pl.Expr | None:
    return reject_when("schema_new_column", column.path, pl.col(column.name).is_not_null())


def _verdict(column: Column, held: DataType) -> pl.Expr | None:
    """Which rows are rejected for the column; None where all of them pass."""
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
    """Whether the kinds mean the same: a text of digits is no number, a moment without a time zone none with it."""
    return any({own.kind, held.kind} <= family for family in (_NUMBERS, _NAIVE_MOMENTS))


def _is_exact(column: Column, held: DataType) -> pl.Expr:
    """Whether a value is what it was when it comes back from the held type."""
    if not _is_convertible(column.type, held):
        return pl.lit(value=False)
    returned = _converted(_converted(pl.col(column.name), column.type, held), held, column.type)
    return returned.eq_missing(pl.col(column.name))


def _fitted(column: Column, held: DataType | None) -> pl.Expr:
    value = pl.col(column.name)
    if held is None or _is_like(column.type, held):
        return value
    if _is_convertible(column.type, held):
        return _converted(value, column.type, held)
    return pl.lit(None, dtype=polars_type(held)).alias(column.name)


def _converted(value: pl.Expr, own: DataType, wanted: DataType) -> pl.Expr:
    """In the wanted type, null where it cannot be; what was rounded shows when it is converted back."""
    if own.kind in _FLOATS and wanted.kind is Kind.DECIMAL:
        # Through the shortest digits that give the float: Polars multiplies, and 8663010.6365 ends in 499999.
        value = value.cast(pl.String)
    return value.cast(polars_type(wanted), strict=False)
