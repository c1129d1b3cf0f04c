"""Rows of tables as CSV that a server renders, and how Polars reads it back exactly.

Integers stand for booleans, dates and timestamps (days and microseconds since 1970), so that nothing is parsed twice. A
value that its type cannot hold (NaN in a numeric, too many digits, an infinite date) is rendered as text: the chunk
that has one is read as text, converted value by value, and the row rejected.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl

from millrace.base.errors import FatalError, SourceMissing
from millrace.base.rejects import HEX, reject_when, reject_with, split_rejects
from millrace.base.single_rows import pad_single_row
from millrace.base.types import Column, Kind, polars_type
from millrace.declaration.stream import Stream
from millrace.sources.chunk import Chunk
from millrace.sources.json_text import unfit

YEARS = ("0001-01-01", "10000-01-01")
"""The first day, and the day after the last.

Drivers, the text form of Arrow and both warehouses are proven to hold the days between them.
"""
TOO_LARGE = "row_too_large"
"""The reason of a row whose server could render only its key. Such a row has one more field, which holds this text."""
SURPLUS = "\x1f"
"""The name of the additional field of a row that is too large. No column may have it."""
DATE_KINDS, TIMESTAMP_KINDS = frozenset({Kind.DATE}), frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})
NUL = "\x00"
Found = TypeVar("Found", bound="tuple[Any, ...]")
"""What a catalog says of a column, beginning with its name."""


@dataclass(frozen=True)
class SourceColumn:
    """A column of a table, with the SQL that renders it."""

    column: Column
    rendered: str
    """The SQL expression that gives its value in the SELECT."""
    exact: bool = True
    """Whether its type holds every value that the source may have in it."""
    type_name: str = ""
    """The type as SQL of the source spells it. For Postgres: the type that values are compared as, without limits."""
    as_bytes: bool = False
    """Whether it is a text that travels as hexadecimal digits of its UTF-8."""


def chosen_columns(stream: Stream, found: Iterable[Found]) -> list[Found]:
    """Return the columns of the catalog that the stream replicates; the first item of each is its name.

    Raises SourceMissing when the stream names a column that the table does not have: one that was to be left out might
    be replicated under another name.
    """
    by_name = {str(column[0]): column for column in found}
    for option, names in (("columns", stream.columns), ("omitted", stream.omitted)):
        if missing := sorted(set(names) - by_name.keys()):
            raise SourceMissing(
                f"{option} names {missing[0]!r}, and there is no such column",
                place=stream.place,
                remedy=f"choose from {', '.join(by_name)}",
            )
    return [column for name, column in by_name.items() if stream.selects(name) and name not in stream.omitted]


def empty_chunk(columns: tuple[SourceColumn, ...]) -> Chunk:
    """Return a chunk without rows that has these columns."""
    plain = tuple(column.column for column in columns)
    return Chunk(pl.DataFrame(schema={column.name: polars_type(column.type) for column in plain}), plain)


def decode(data: bytes, columns: tuple[SourceColumn, ...], stream: Stream) -> Chunk:
    """Decode rows of CSV into a typed frame; rows that do not fit their types are rejected.

    Raises FatalError when the bytes are not what the SELECT promised.
    """
    plain = tuple(column.column for column in columns)
    try:
        frame = _parse(data, columns, strict=True)
    except pl.exceptions.PolarsError:
        frame = _parse_leniently(data, columns, stream)
    verdicts = list(_verdicts(frame, columns))
    accepted, rejected = split_rejects(frame, verdicts, stream.keys, raw=lambda: _raw(data, columns))
    finished = pad_single_row(accepted).select(_finish(column) for column in plain).head(accepted.height)
    return Chunk(finished, plain, rejected)


def _text_of(column: Column) -> str:
    """Return the name of the column that keeps the text of a value before it is converted."""
    return f"text of {column.name}"


def _wire_type(column: SourceColumn, *, strict: bool) -> pl.DataType:
    kind = column.column.type.kind
    if column.as_bytes:
        return pl.String()
    if kind is Kind.DECIMAL:
        return polars_type(column.column.type) if strict and column.exact else pl.String()
    if kind in DATE_KINDS | TIMESTAMP_KINDS:
        return (pl.Int32() if kind in DATE_KINDS else pl.Int64()) if strict else pl.String()
    return {Kind.BOOLEAN: pl.Int16(), Kind.BINARY: pl.String()}.get(kind) or polars_type(column.column.type)


def _read_csv(data: bytes, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.read_csv(_without_encoding_mark(data), has_header=False, schema=dict(schema))


def _read_with_surplus(data: bytes, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Read CSV with rows that may have one more field. Few rows have it, if any."""
    with_surplus = {**schema, SURPLUS: pl.String()}
    return pl.read_csv(_without_encoding_mark(data), has_header=False, schema=with_surplus, missing_columns="insert")


def _without_encoding_mark(data: bytes) -> bytes:
    """Return the data with one more U+FEFF if its first text begins with one.

    Polars takes the first U+FEFF for a mark of the encoding and removes it, while here it belongs to the first value.
    """
    return BOM_UTF8 + data if data.startswith(BOM_UTF8) else data


def _parse(data: bytes, columns: tuple[SourceColumn, ...], *, strict: bool) -> pl.DataFrame:
    """Return the frame. Values that had to be read as text have their converted values beside them."""
    wire = {column.column.name: _wire_type(column, strict=strict) for column in columns}
    frame = _read_csv(data, wire) if strict else _read_with_surplus(data, wire)
    tried = [column for column in columns if wire[column.column.name] == pl.String() and _is_tried(column)]
    texts = [_before(column).alias(_text_of(column.column)) for column in tried]
    return (
        pad_single_row(frame).with_columns(*texts, *map(_try_to_convert, tried)).head(frame.height) if tried else frame
    )


def _parse_leniently(data: bytes, columns: tuple[SourceColumn, ...], stream: Stream) -> pl.DataFrame:
    try:
        frame = _parse(data, columns, strict=False)
        if set(frame[SURPLUS].unique()) <= {None, TOO_LARGE}:
            return frame
        problem = "more fields than columns"
    except pl.exceptions.PolarsError as error:
        problem = type(error).__name__
    raise FatalError(
        f"the rows that the source sent cannot be read ({problem})",
        place=stream.place,
        remedy="see whether the database's encoding is UTF-8 and report the column types",
    )


def _is_tried(column: SourceColumn) -> bool:
    return column.as_bytes or column.column.type.kind in {Kind.DECIMAL} | DATE_KINDS | TIMESTAMP_KINDS


def _before(column: SourceColumn) -> pl.Expr:
    """Return the text of a value before it is converted; for a text in hexadecimal digits only whether there is one."""
    text = pl.col(column.column.name)
    return pl.when(text.is_not_null()).then(pl.lit("")) if column.as_bytes else text


def _try_to_convert(column: SourceColumn) -> pl.Expr:
    value, kind = pl.col(column.column.name), column.column.type.kind
    if column.as_bytes:
        return _as_text(value)
    if kind is Kind.DECIMAL:
        return _exact_decimal(column.column)
    return value.cast(pl.Int32 if kind in DATE_KINDS else pl.Int64, strict=False)


def _as_text(digits: pl.Expr) -> pl.Expr:
    """Decode the hexadecimal digits of a text; null where the bytes are not UTF-8."""
    return digits.str.decode("hex").cast(pl.String, strict=False)


def _exact_decimal(column: Column) -> pl.Expr:
    """Convert a text to a decimal; null unless it fits precision and scale digit by digit (trailing zeros aside)."""
    precision, scale = column.type.precision or 38, column.type.scale or 0
    whole = f"0*[0-9]{{0,{precision - scale}}}"
    fits = rf"^-?{whole}(\.[0-9]{{0,{scale}}}0*)?$"
    text = pl.col(column.name)
    trimmed = text.str.replace(rf"(\.[0-9]{{{scale}}})0+$", "$1")
    cast = pl.when(text.str.contains(fits)).then(trimmed).cast(pl.Decimal(precision, scale), strict=False)
    return cast.alias(column.name)


def _verdicts(frame: pl.DataFrame, columns: tuple[SourceColumn, ...]) -> Iterator[pl.Expr]:
    """Yield the verdicts on the columns that may hold a value that their type cannot hold."""
    if SURPLUS in frame.columns:
        yield reject_when(TOO_LARGE, "", pl.col(SURPLUS).is_not_null())
    for column in columns:
        value, kind, path = pl.col(column.column.name), column.column.type.kind, column.column.path
        text = pl.col(_text_of(column.column))
        if _text_of(column.column) in frame.columns:
            unheld = value.is_null() & text.is_not_null()
            yield reject_with(pl.when(unheld).then(_why(column, text)), path)
        if kind is Kind.DOCUMENT and not column.exact:
            yield reject_with(value.map_batches(unfit, return_dtype=pl.String), path)
        elif kind is Kind.TEXT and not column.exact:
            yield reject_when("nul_character", path, value.str.contains(NUL, literal=True))
        elif kind is Kind.BOOLEAN and not column.exact:
            yield reject_when("type_mismatch", path, ~value.is_between(0, 1))


def _why(column: SourceColumn, text: pl.Expr) -> pl.Expr:
    """Return the reason why a value could not be converted."""
    kind = column.column.type.kind
    if column.as_bytes:
        return pl.lit("undecodable")
    if kind is Kind.DECIMAL:
        return pl.lit("number_does_not_fit")
    infinite = "infinite_date" if kind in DATE_KINDS else "infinite_timestamp"
    return (
        pl.when(text.str.contains("infinity", literal=True))
        .then(pl.lit(infinite))
        .when(text.str.contains(r"^\d{4}-(00|\d\d-00)"))
        .then(pl.lit("zero_date"))
        .otherwise(pl.lit("date_out_of_range"))
    )


def _finish(column: Column) -> pl.Expr:
    """Convert the integers and hexadecimal digits of the CSV to the type of the column."""
    expression = pl.col(column.name)
    if column.type.kind is Kind.BINARY:
        return expression.str.decode("hex")
    return expression.cast(polars_type(column.type))


def _raw(data: bytes, columns: tuple[SourceColumn, ...]) -> pl.DataFrame:
    """Return every value as text that the source itself would read, under the names of the source."""
    texts = _read_with_surplus(data, {column.column.path: pl.String() for column in columns})
    return texts.select(_as_source(column).alias(column.column.path) for column in columns)


def _as_source(column: SourceColumn) -> pl.Expr:
    text, kind = pl.col(column.column.path), column.column.type.kind
    if column.as_bytes or kind is Kind.BINARY:
        return pl.coalesce(*[_as_text(text)] if column.as_bytes else [], HEX + text)
    if kind not in DATE_KINDS | TIMESTAMP_KINDS:
        return text
    number, moment = (pl.Int32, pl.Date) if kind in DATE_KINDS else (pl.Int64, pl.Datetime("us"))
    return pl.coalesce(text.cast(number, strict=False).cast(moment).cast(pl.String), text)
