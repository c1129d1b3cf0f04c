"""How MySQL and MariaDB render values: the columns of a table, and the SELECT expression of each.

Every expression is NULL for one reason only: its text would exceed the server's max_allowed_packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millrace.base.errors import ConfigurationError, SourceMissing, UnmappableType
from millrace.base.naming import column_names, quote_in_backticks
from millrace.base.types import (
    INT16,
    MAX_PRECISION,
    MAX_SCALE,
    Column,
    DataType,
    Kind,
    from_mysql,
    mysql_type_name,
    names_by_path,
)
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import statement
from millrace.sources.rows import SourceColumn, chosen_columns

COLLATED = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})
"""Types whose values are compared by a collation, not byte by byte."""
TEXTS = COLLATED | {"json"}
"""Types whose values travel as hexadecimal digits.

To double the quotes in a text takes MariaDB the square of its length.
"""
UTF8 = "utf8mb4"
DAYS_UNTIL_1970 = 719528
"""Days from the year 0 to 1970, as TO_DAYS counts."""


def is_collated(column_type: str) -> bool:
    """Return whether a collation may take two different values of the type for one."""
    return mysql_type_name(column_type) in COLLATED


def describe_table(connection: Any, stream: Stream, target_columns: Sequence[Column] = ()) -> tuple[SourceColumn, ...]:
    """Return the columns of the table as the catalog has them, typed and named for the stream.

    The ``types`` of the stream are applied, and ``target_columns`` give columns their names. Raises SourceMissing,
    UnmappableType and ConfigurationError naming stream and column.
    """
    source = stream.reference
    with connection.cursor() as cursor:
        cursor.execute(statement("mysql_columns"), {"schema": source.schema, "name": source.name})
        found = cursor.fetchall()
    if not found:
        raise SourceMissing(
            f"there is no table {source.schema}.{source.name} that this user may read",
            place=stream.place,
            remedy="create it, grant SELECT on it, or correct the declaration or the URL",
        )
    found = chosen_columns(stream, found)
    names = column_names((name for name, *_ in found), names_by_path(target_columns))
    return tuple(_source_column(stream, names[name], name, *rest) for name, *rest in found)


def _source_column(stream: Stream, name: str, path: str, column_type: str, charset: str | None) -> SourceColumn:
    place = stream.place
    try:
        source_type = from_mysql(column_type)
    except UnmappableType as error:
        raise UnmappableType(error.problem, place=f"{place}, column {path}", remedy=error.remedy) from None
    data_type = stream.types.get(path, source_type)
    is_flag_as_number = source_type.kind is Kind.BOOLEAN and data_type == INT16
    if data_type.kind not in {source_type.kind, Kind.TEXT} and not is_flag_as_number:
        raise ConfigurationError(
            f"column {path!r} is {column_type} and cannot be declared as {data_type}",
            place=place,
            remedy="declare text(), another precision of its own type, or int16 for a tinyint(1)",
        )
    rendered = render(quote_in_backticks(path), mysql_type_name(column_type), data_type.kind, charset)
    exact, as_bytes = _is_exact(data_type, source_type, column_type), mysql_type_name(column_type) in TEXTS
    return SourceColumn(Column(name, path, data_type), rendered, exact, column_type, as_bytes)


def _is_exact(data_type: DataType, source_type: DataType, column_type: str) -> bool:
    """Return whether the type of the column holds every value that the server may hold."""
    type_name = mysql_type_name(column_type)
    if data_type.kind is Kind.DECIMAL:
        return data_type == source_type and not (type_name == "decimal" and _is_wide(column_type))
    return type_name not in TEXTS and not (data_type.kind is Kind.BOOLEAN and type_name == "tinyint")


def _is_wide(column_type: str) -> bool:
    precision, _, scale = column_type.partition("(")[2].partition(")")[0].partition(",")
    return int(precision) > MAX_PRECISION or int(scale or 0) > MAX_SCALE


def render(name: str, type_name: str, kind: Kind, charset: str | None) -> str:
    """Return the SQL expression that renders a column (``name`` quoted) as one field of CSV.

    It gives nothing for NULL, ``""`` for an empty text.
    """
    if kind is Kind.DATE or kind in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
        return _moment(name, kind)
    if type_name.endswith(("binary", "blob")) or type_name in TEXTS:
        text = name if charset == UTF8 or type_name not in TEXTS else f"CONVERT({name} USING {UTF8})"
        return f"""IF({name} IS NULL, '', CONCAT('"', HEX({text}), '"'))"""
    # A float is written with 6 digits, a double with as many as it takes. A bit is bytes unless it is a number.
    exact = {"float": f"{name} * 1e0", "bit": f"CAST({name} AS UNSIGNED)"}.get(type_name, name)
    return f"IFNULL({exact}, '')"


def _moment(name: str, kind: Kind) -> str:
    """Return the SQL of a moment as a number if the calendar has its day, else as text.

    MySQL may hold days that the calendar does not have: a zero date, a 31st of February, the year 0.
    """
    if kind is Kind.DATE:
        number = f"TO_DAYS({name}) - {DAYS_UNTIL_1970}"
    else:
        number = f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {name})"
    is_day = f"FROM_DAYS(TO_DAYS({name})) = DATE({name})"
    return f"IFNULL(IF({is_day}, {number}, CAST({name} AS CHAR)), '')"
