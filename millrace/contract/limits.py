"""The largest values that a warehouse can hold, applied to a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from millrace.base.rejects import reject_when, reject_with, split_rejects
from millrace.base.types import MAX_PRECISION, Column, DataType, Kind, polars_type
from millrace.contract.document_limits import TOO_LONG, DocumentLimits
from millrace.lake.lengths import byte_length, measure_longest_bytes


@dataclass(frozen=True)
class Limits:
    """The largest values that a warehouse can hold."""

    text_bytes: int
    binary_bytes: int
    document_bytes: int
    document_text_bytes: int
    """Length of a single text within a document."""
    document_levels: int = 1_000
    """How deep arrays and objects lie in each other within a document."""
    document_digits: int = MAX_PRECISION
    """Digits of a number within a document."""
    document_exponent: int = 308
    """Power of ten of a number within a document, either way."""
    overflowing_digits: int = 0
    """A decimal of so many digits overflows below its greatest number and is kept with one digit more; 0: none does."""

    @property
    def documents(self) -> DocumentLimits:
        """The limits of what is within a document."""
        return DocumentLimits(
            self.document_text_bytes, self.document_levels, self.document_digits, self.document_exponent
        )

    def widen(self, data_type: DataType) -> DataType:
        """Return the type that holds every number of ``data_type``."""
        if data_type.kind is not Kind.DECIMAL or data_type.precision != (self.overflowing_digits or None):
            return data_type
        return replace(data_type, precision=self.overflowing_digits + 1)


_LIMIT_OF_KIND = {Kind.TEXT: "text_bytes", Kind.BINARY: "binary_bytes", Kind.DOCUMENT: "document_bytes"}


def widen_decimals(
    frame: pl.DataFrame, columns: tuple[Column, ...], limits: Limits
) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """Return the same values in types that hold every number of theirs, and the columns of these types."""
    widened = tuple(replace(column, type=limits.widen(column.type)) for column in columns)
    changed = [new for new, old in zip(widened, columns, strict=True) if new != old]
    if not changed:
        return frame, columns
    return frame.with_columns(pl.col(column.name).cast(polars_type(column.type)) for column in changed), widened


def reject_beyond_limits(
    frame: pl.DataFrame, columns: Sequence[Column], keys: Sequence[str], limits: Limits
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with values that the warehouse can hold, and the others as rejects."""
    longest = measure_longest_bytes(frame, columns)
    limit = {
        column.name: int(getattr(limits, _LIMIT_OF_KIND[column.type.kind]))
        for column in columns
        if column.name in longest
    }
    verdicts = [
        reject_when(TOO_LONG, column.field, byte_length(column) > limit[column.name])
        for column in columns
        if longest.get(column.name, 0) > limit.get(column.name, 0)
    ]
    verdicts += [
        reject_with(pl.col(column.name).map_batches(limits.documents.find_unfit, return_dtype=pl.String), column.field)
        for column in columns
        if column.type.kind is Kind.DOCUMENT
    ]
    return split_rejects(frame, verdicts, keys)
