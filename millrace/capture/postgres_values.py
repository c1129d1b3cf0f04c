"""How Postgres values travel: what the SELECT renders each type as, and how Polars reads that back exactly.

Integers stand for booleans, dates and timestamps (days and microseconds since 1970), so that nothing is parsed
twice; text that may not fit its column (NaN in a numeric, too many digits) is read as text, tried, and rejected
row by row. What does not belong here: connections and windows (postgres.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from millrace.capture.chunk import Chunk
from millrace.capture.json_text import unfit
from millrace.database import statement
from millrace.errors import ConfigurationError, FatalError, UnmappableType
from millrace.naming import column_names, quote
from millrace.pipeline import Stream
from millrace.rejects import HEX, because, because_of, split
from millrace.types import Column, DataType, Kind, from_postgres, numeric_measures, polars_type

INT32_RANGE = (-(2**31), 2**31 - 1)
INT64_RANGE = (-(2**63), 2**63 - 1)
YEARS = ("0001-01-01", "10000-01-01")
"""First day and the day after the last that drivers, Arrow's text form and both warehouses are proven to hold."""
PLAIN_TEXT = frozenset({"text", "varchar", "name", "citext"})
JSON_TYPES = frozenset({"json", "jsonb"})


@dataclass(frozen=True)
class SourceColumn:
    """A column with the SQL that renders it; ``exact`` is False where single values may not fit the type;
    ``type_name`` is the source's type without limits, as SQL spells it."""

    column: Column
    rendered: str
    exact: bool = True
    type_name: str = ""


def describe(connection: Any, stream: Stream, known: Sequence[Column] = ()) -> tuple[SourceColumn, ...]:
    """The table's columns as the catalog has them, with the stream's ``types`` applied; ``known`` are the target's.

    Raises UnmappableType and ConfigurationError naming stream and column.
    """
    source = stream.reference
    with connection.cursor() as cursor:
        cursor.execute(statement("postgres_columns"), {"relation": quote(source.schema, source.name)})
        found = cursor.fetchall()
    names = column_names((name for name, *_ in found), {column.path: column.name for column in known})
    return tuple(_source_column(stream, names[name], name, *rest) for name, *rest in found)


def _source_column(
    stream: Stream, name: str, path: str, type_name: str, modifier: int, type_class: str, spelled: str
) -> SourceColumn:
    declared = stream.types.get(path)
    try:
        data_type = declared or from_postgres(type_name, modifier, type_class)
    except UnmappableType as error:
        raise UnmappableType(
            error.problem,
            place=f"stream {stream.name} ({stream.source}), column {path}",
            remedy=f"declare types={{{path!r}: text()}}, or leave the column out with a view",
        ) from None
    if declared and declared.kind not in {Kind.TEXT, from_postgres_kind(type_name)}:
        raise ConfigurationError(
            f"column {path!r} is {type_name} and cannot be declared as {declared}",
            place=f"stream {stream.name} ({stream.source})",
            remedy="declare text() or another precision of its own type",
        )
    rendered = render(quote(path), type_name, data_type.kind)
    return SourceColumn(Column(name, path, data_type), rendered, _is_exact(data_type, type_name, modifier), spelled)


def _is_exact(data_type: DataType, type_name: str, modifier: int) -> bool:
    if data_type.kind is Kind.DECIMAL:
        return numeric_measures(modifier) == (data_type.precision, data_type.scale)
    return data_type.kind is not Kind.DOCUMENT or type_name == "jsonb"


def from_postgres_kind(type_name: str) -> Kind | None:
    """The kind of a type without regard to its modifiers, None when it has none."""
    try:
        return from_postgres(type_name).kind
    except UnmappableType:
        return None


def render(name: str, type_name: str, kind: Kind) -> str:
    """The SQL expression that renders a column (``name`` quoted) so that ``decode`` reads it exactly."""
    if kind is Kind.BOOLEAN:
        return f"{name}::int"
    if kind is Kind.DATE:
        return _within_years(name, f"{name} - DATE '1970-01-01'", INT32_RANGE)
    if kind in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
        return _within_years(name, f"(extract(epoch FROM {name}) * 1000000)::bigint", INT64_RANGE)
    if kind is Kind.BINARY:
        return f"encode({name}, 'hex')"
    if kind is Kind.DOCUMENT:
        return f"{name}::text" if type_name in JSON_TYPES else f"to_json({name})::text"
    if kind in {Kind.TEXT, Kind.TIME} and type_name not in PLAIN_TEXT:
        return f"{name}::text"
    return name


def _within_years(name: str, expression: str, marks: tuple[int, int]) -> str:
    """``expression`` within YEARS, the second highest number for other finite values (whose microseconds may need
    more than 64 bits), lowest and highest for the infinite ones, NULL for NULL."""
    (first, after_last), (low, high) = YEARS, marks
    return (
        f"CASE WHEN {name} >= '{first}' AND {name} < '{after_last}' THEN {expression} "
        f"WHEN isfinite({name}) THEN {high - 1} WHEN {name} > 'epoch' THEN {high} "
        f"WHEN {name} < 'epoch' THEN '{low}' END"
    )


def nothing(columns: tuple[SourceColumn, ...]) -> Chunk:
    """No rows; what the columns are is told all the same."""
    plain = tuple(column.column for column in columns)
    return Chunk(pl.DataFrame(schema={column.name: polars_type(column.type) for column in plain}), plain)


def decode(data: bytes, columns: tuple[SourceColumn, ...], stream: Stream) -> Chunk:
    """CSV rows into a typed frame; rows that do not fit their types become rejects.

    Raises FatalError when the bytes are not what the SELECT promised.
    """
    plain = tuple(column.column for column in columns)
    try:
        frame, suspects = _parse(data, columns, strict=True)
    except pl.exceptions.PolarsError:
        frame, suspects = _parse_leniently(data, columns, stream)
    accepted, rejected = split(
        frame.with_columns(suspects), _verdicts(columns, suspects), stream.keys, raw=lambda: _raw(data, columns)
    )
    return Chunk(accepted.select(_finish(column) for column in plain), plain, rejected)


def _wire_type(column: SourceColumn, *, strict: bool) -> pl.DataType:
    kind = column.column.type.kind
    if kind is Kind.DATE:
        return pl.Int32()
    if kind in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
        return pl.Int64()
    if kind is Kind.BOOLEAN:
        return pl.Int8()
    if kind is Kind.BINARY or (kind is Kind.DECIMAL and not (strict and column.exact)):
        return pl.String()
    return polars_type(column.column.type)


def _read_csv(data: bytes, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.read_csv(data, has_header=False, schema=schema)


def _parse(data: bytes, columns: tuple[SourceColumn, ...], *, strict: bool) -> tuple[pl.DataFrame, list[pl.Series]]:
    """The frame with decimals cast, and the text of those decimals that had to be read as text."""
    wire = {column.column.name: _wire_type(column, strict=strict) for column in columns}
    frame = _read_csv(data, wire)
    decimals = [
        column.column
        for column in columns
        if column.column.type.kind is Kind.DECIMAL and wire[column.column.name] == pl.String()
    ]
    suspects = [frame[column.name].alias(f"text of {column.name}") for column in decimals]
    casts = [_exact_decimal(column.name, column.type) for column in decimals]
    return frame.with_columns(casts), suspects


def _parse_leniently(
    data: bytes, columns: tuple[SourceColumn, ...], stream: Stream
) -> tuple[pl.DataFrame, list[pl.Series]]:
    try:
        return _parse(data, columns, strict=False)
    except pl.exceptions.PolarsError as error:
        raise FatalError(
            f"the rows that COPY sent cannot be read ({type(error).__name__})",
            place=f"stream {stream.name} ({stream.source})",
            remedy="see whether the database's encoding is UTF-8 and report the column types",
        ) from None


def _exact_decimal(name: str, data_type: DataType) -> pl.Expr:
    """Null unless the text fits the precision and scale digit by digit (trailing zeros aside)."""
    precision, scale = data_type.precision or 38, data_type.scale or 0
    whole = f"0*[0-9]{{0,{precision - scale}}}"
    fits = rf"^-?{whole}(\.[0-9]{{0,{scale}}}0*)?$"
    text = pl.col(name)
    trimmed = text.str.replace(rf"(\.[0-9]{{{scale}}})0+$", "$1")
    return pl.when(text.str.contains(fits)).then(trimmed).cast(pl.Decimal(precision, scale), strict=False).alias(name)


def _verdicts(columns: tuple[SourceColumn, ...], suspects: list[pl.Series]) -> list[pl.Expr]:
    """One verdict per column that may hold what its type cannot."""
    as_text = {series.name for series in suspects}
    verdicts = []
    for column in columns:
        name, path, kind = column.column.name, column.column.path, column.column.type.kind
        value, text = pl.col(name), f"text of {name}"
        if kind is Kind.DATE:
            verdicts.append(because("infinite_date", path, value.is_in(INT32_RANGE)))
            verdicts.append(because("date_out_of_range", path, value == INT32_RANGE[1] - 1))
        elif kind in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
            verdicts.append(because("infinite_timestamp", path, value.is_in(INT64_RANGE)))
            verdicts.append(because("date_out_of_range", path, value == INT64_RANGE[1] - 1))
        elif kind is Kind.DOCUMENT and not column.exact:
            verdicts.append(because_of(value.map_batches(unfit, return_dtype=pl.String), path))
        elif text in as_text:
            verdicts.append(because("number_does_not_fit", path, value.is_null() & pl.col(text).is_not_null()))
    return verdicts


def _finish(column: Column) -> pl.Expr:
    """From the wire's integers and hex to the column's own type."""
    expression = pl.col(column.name)
    if column.type.kind is Kind.BINARY:
        return expression.str.decode("hex")
    return expression.cast(polars_type(column.type))


def _raw(data: bytes, columns: tuple[SourceColumn, ...]) -> pl.DataFrame:
    """Every value as text that the source itself would read, under the source's names."""
    texts = _read_csv(data, {column.column.path: pl.String() for column in columns})
    moments = {Kind.DATE: pl.Date(), Kind.TIMESTAMP: pl.Datetime("us"), Kind.TIMESTAMP_UTC: pl.Datetime("us")}
    binary = [column.column.path for column in columns if column.column.type.kind is Kind.BINARY]
    return texts.with_columns((HEX + pl.col(name)).alias(name) for name in binary).with_columns(
        _moment(column.column.path, moments[column.column.type.kind])
        for column in columns
        if column.column.type.kind in moments
    )


def _moment(name: str, dtype: pl.DataType) -> pl.Expr:
    number = pl.col(name).cast(pl.Int64)
    low, high = INT32_RANGE if dtype == pl.Date() else INT64_RANGE
    finite = number.is_between(low + 1, high - 2)
    moment = pl.when(finite).then(number).cast(pl.Int32 if dtype == pl.Date() else pl.Int64).cast(dtype)
    words = {low: "-infinity", high: "infinity", high - 1: "out of range"}
    return pl.coalesce(moment.cast(pl.String), number.replace_strict(words, default=None, return_dtype=pl.String))
