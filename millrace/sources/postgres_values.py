"""How Postgres renders values: the columns of a table, and the SELECT expression of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millrace.base.errors import ConfigurationError, UnmappableType
from millrace.base.naming import column_names, quote
from millrace.base.types import Column, DataType, Kind, from_postgres, names_by_path, numeric_digits
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import statement
from millrace.sources.rows import YEARS, SourceColumn, chosen_columns

PLAIN_TEXT = frozenset({"text", "varchar", "name", "citext"})
JSON_TYPES = frozenset({"json", "jsonb"})


def describe_table(connection: Any, stream: Stream, target_columns: Sequence[Column] = ()) -> tuple[SourceColumn, ...]:
    """Return the columns of the table as the catalog has them, typed and named for the stream.

    The ``types`` of the stream are applied, and ``target_columns`` give columns their names. Raises UnmappableType and
    ConfigurationError naming stream and column.
    """
    source = stream.reference
    with connection.cursor() as cursor:
        cursor.execute(statement("postgres_columns"), {"relations": [quote(source.schema, source.name)]})
        found = chosen_columns(stream, [tuple(described) for *described, _ in cursor.fetchall()])
    names = column_names((name for name, *_ in found), names_by_path(target_columns))
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
            place=f"{stream.place}, column {path}",
            remedy=f"declare types={{{path!r}: text()}}, or omitted=[{path!r}]",
        ) from None
    if declared and declared.kind not in {Kind.TEXT, from_postgres_kind(type_name)}:
        raise ConfigurationError(
            f"column {path!r} is {type_name} and cannot be declared as {declared}",
            place=stream.place,
            remedy="declare text() or another precision of its own type",
        )
    rendered = render(quote(path), type_name, data_type.kind)
    return SourceColumn(Column(name, path, data_type), rendered, _is_exact(data_type, type_name, modifier), spelled)


def _is_exact(data_type: DataType, type_name: str, modifier: int) -> bool:
    if data_type.kind is Kind.DECIMAL:
        return numeric_digits(modifier) == (data_type.precision, data_type.scale)
    return data_type.kind is not Kind.DOCUMENT or type_name == "jsonb"


def from_postgres_kind(type_name: str) -> Kind | None:
    """Return the kind of a type without regard to its modifiers; None when it has none."""
    try:
        return from_postgres(type_name).kind
    except UnmappableType:
        return None


def render(name: str, type_name: str, kind: Kind) -> str:
    """Return the SQL expression that renders a column (``name`` quoted) so that ``decode`` reads it exactly."""
    if kind is Kind.BOOLEAN:
        return f"{name}::int"
    if kind is Kind.DATE:
        return _within_years(name, f"{name} - DATE '1970-01-01'")
    if kind in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
        return _within_years(name, f"(extract(epoch FROM {name}) * 1000000)::bigint")
    if kind is Kind.BINARY:
        return f"encode({name}, 'hex')"
    if kind is Kind.DOCUMENT:
        return f"{name}::text" if type_name in JSON_TYPES else f"to_json({name})::text"
    if kind in {Kind.TEXT, Kind.TIME} and type_name not in PLAIN_TEXT:
        return f"{name}::text"
    return name


def _within_years(name: str, number: str) -> str:
    """Return the SQL of ``number`` for a value within YEARS, else of the text of the value.

    Outside YEARS the number may need more than 64 bits.
    """
    first, after_last = YEARS
    return f"CASE WHEN {name} >= '{first}' AND {name} < '{after_last}' THEN ({number})::text ELSE {name}::text END"
