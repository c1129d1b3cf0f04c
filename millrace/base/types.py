"""The type map: source type → logical type → Polars and Arrow → Redshift and Postgres.

A small closed set of logical kinds lies between sources and warehouses, so that a new source or warehouse adds one
table here and no case anywhere else. A source type whose values no kind represents exactly is refused (UnmappableType).
Single values that a kind cannot represent (infinity, NaN in a decimal) are rejected row by row when they are decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl
import pyarrow as pa
from typing_extensions import override

from millrace.base.errors import UnmappableType

MAX_PRECISION, MAX_SCALE = 38, 37
"""The most digits of a decimal, and the most digits of its fraction, in Redshift and in 128 bits."""


class Kind(StrEnum):
    """What a value is, independent of where it is stored."""

    BOOLEAN = "boolean"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    TEXT = "text"
    DATE = "date"
    TIME = "time"
    """Time of day, kept as text ``HH:MM:SS.ffffff`` because no warehouse loads times from Parquet."""
    TIMESTAMP = "timestamp"
    TIMESTAMP_UTC = "timestamp_utc"
    BINARY = "binary"
    DOCUMENT = "document"
    """Canonical JSON text: SUPER on Redshift, jsonb on Postgres."""


@dataclass(frozen=True)
class DataType:
    """A kind with its limits."""

    kind: Kind
    precision: int | None = None
    """Number of digits of a decimal."""
    scale: int | None = None
    """Number of digits of a decimal's fraction."""
    length: int | None = None
    """Greatest length of a text: characters as the source declares it, bytes once it is measured. None: no limit."""

    @override
    def __str__(self) -> str:
        measures = [str(value) for value in (self.precision, self.scale, self.length) if value is not None]
        return f"{self.kind}({','.join(measures)})" if measures else str(self.kind)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that a manifest keeps; ``DataType.from_json`` reads it."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DataType:
        """Return the type that a JSON object of ``as_json`` describes."""
        return cls(**{**value, "kind": Kind(value["kind"])})


@dataclass(frozen=True)
class Column:
    """One column of a stream or model."""

    name: str
    """Name in the warehouse."""
    path: str
    """Path in the source; '': no field of the source is known to fill it (UNKNOWN_PATH)."""
    type: DataType

    @property
    def field(self) -> str:
        """How messages name what is in it: the path in the source, or its own name."""
        return self.path or self.name


UNKNOWN_PATH = ""
"""The path of a column that only a contract or a person named: the first field of its name fills it."""


def names_by_path(columns: Iterable[Column]) -> dict[str, str]:
    """Return the column that each field fills, by the field's path."""
    return {column.path: column.name for column in columns if column.path}


def add_columns(columns: Mapping[str, Column], arriving: Iterable[Column]) -> dict[str, Column]:
    """Return columns by name, with the arriving ones that are new or that tell the path of a column without one."""
    return {
        **columns,
        **{
            column.name: column
            for column in arriving
            if column.name not in columns or (column.path and not columns[column.name].path)
        },
    }


def row_id_columns(name: str) -> list[Column]:
    """Return the row id column ``name`` as a list; an empty list if ``name`` is ''."""
    return [Column(name, name, DataType(Kind.TEXT))] if name else []


BOOLEAN = DataType(Kind.BOOLEAN)
INT16, INT32, INT64 = DataType(Kind.INT16), DataType(Kind.INT32), DataType(Kind.INT64)
FLOAT32, FLOAT64 = DataType(Kind.FLOAT32), DataType(Kind.FLOAT64)
TEXT, DATE, TIME = DataType(Kind.TEXT), DataType(Kind.DATE), DataType(Kind.TIME)
TIMESTAMP, TIMESTAMP_UTC = DataType(Kind.TIMESTAMP), DataType(Kind.TIMESTAMP_UTC)
BINARY, DOCUMENT = DataType(Kind.BINARY), DataType(Kind.DOCUMENT)


EXACT_NUMBERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL})
"""Kinds that a warehouse compares with each other without loss."""
TIME_KINDS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})
"""Kinds of dates and timestamps."""


def decimal(precision: int, scale: int) -> DataType:
    """Return the type of a decimal: ``decimal(12, 2)`` has 12 digits, two of them after the point."""
    return DataType(Kind.DECIMAL, precision=precision, scale=scale)


def is_declarable(data_type: DataType) -> bool:
    """Return whether a column can have this type: a decimal has 1 to 38 digits, at most 37 of them a fraction."""
    if data_type.kind is not Kind.DECIMAL:
        return data_type.precision is data_type.scale is None and (data_type.length is None or data_type.length > 0)
    digits, fraction = data_type.precision, data_type.scale
    if digits is None or fraction is None:
        return False
    return 1 <= digits <= MAX_PRECISION and 0 <= fraction <= min(digits, MAX_SCALE)


def text(length: int | None = None) -> DataType:
    """Return the type of a text of at most ``length`` characters in the source; None: no limit."""
    return DataType(Kind.TEXT, length=length)


UNCONSTRAINED_NUMERIC = decimal(MAX_PRECISION, 9)
"""The type for NUMERIC without precision: a value that does not fit exactly is rejected, never rounded. A stream's
``types`` can declare another scale."""


# Polars and Arrow

_POLARS: dict[Kind, pl.DataType] = {
    Kind.BOOLEAN: pl.Boolean(),
    Kind.INT16: pl.Int16(),
    Kind.INT32: pl.Int32(),
    Kind.INT64: pl.Int64(),
    Kind.FLOAT32: pl.Float32(),
    Kind.FLOAT64: pl.Float64(),
    Kind.TEXT: pl.String(),
    Kind.DATE: pl.Date(),
    Kind.TIME: pl.String(),
    Kind.TIMESTAMP: pl.Datetime("us"),
    Kind.TIMESTAMP_UTC: pl.Datetime("us", "UTC"),
    Kind.BINARY: pl.Binary(),
    Kind.DOCUMENT: pl.String(),
}

# Views, as Polars has them, are written without a copy.
_ARROW: dict[Kind, pa.DataType] = {
    Kind.BOOLEAN: pa.bool_(),
    Kind.INT16: pa.int16(),
    Kind.INT32: pa.int32(),
    Kind.INT64: pa.int64(),
    Kind.FLOAT32: pa.float32(),
    Kind.FLOAT64: pa.float64(),
    Kind.TEXT: pa.string_view(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.string_view(),
    # Redshift loads microseconds adjusted to UTC, also into TIMESTAMP; unadjusted ones are unproven.
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Kind.TIMESTAMP_UTC: pa.timestamp("us", tz="UTC"),
    Kind.BINARY: pa.binary_view(),
    # JSON text would land in SUPER as one unparsed string; bytes go through VARBYTE and JSON_PARSE.
    Kind.DOCUMENT: pa.binary_view(),
}


def polars_type(data_type: DataType) -> pl.DataType:
    """Return the type of a column in the frames between capture and lake."""
    if data_type.kind is Kind.DECIMAL:
        return pl.Decimal(data_type.precision, data_type.scale or 0)
    return _POLARS[data_type.kind]


def arrow_type(data_type: DataType) -> pa.DataType:
    """Return the type of a column in Parquet, as COPY needs it."""
    if data_type.kind is Kind.DECIMAL:
        return pa.decimal128(data_type.precision or MAX_PRECISION, data_type.scale or 0)
    return _ARROW[data_type.kind]


def from_polars(dtype: pl.DataType) -> DataType:
    """Return the logical type of a Polars type (of a contract or a model). Raises UnmappableType."""
    if isinstance(dtype, pl.Decimal):
        return decimal(dtype.precision or MAX_PRECISION, dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return TIMESTAMP_UTC if dtype.time_zone else TIMESTAMP
    if isinstance(dtype, pl.List | pl.Array | pl.Struct):
        return DOCUMENT
    widened: dict[type[pl.DataType], DataType] = {
        pl.Boolean: BOOLEAN, pl.Int8: INT16, pl.Int16: INT16, pl.Int32: INT32, pl.Int64: INT64,
        pl.UInt8: INT16, pl.UInt16: INT32, pl.UInt32: INT64, pl.UInt64: decimal(20, 0),
        pl.Float32: FLOAT32, pl.Float64: FLOAT64, pl.String: TEXT, pl.Categorical: TEXT, pl.Enum: TEXT,
        pl.Date: DATE, pl.Time: TIME, pl.Binary: BINARY,
    }  # fmt: skip
    for polars_class, data_type in widened.items():
        if isinstance(dtype, polars_class):
            return data_type
    raise UnmappableType(f"Polars type {dtype} has no type in the warehouse", remedy="cast it in the model")


# Sources

_POSTGRES: dict[str, DataType] = {
    "bool": BOOLEAN, "int2": INT16, "int4": INT32, "int8": INT64, "oid": INT64,
    "float4": FLOAT32, "float8": FLOAT64, "text": TEXT, "name": text(63), "char": text(4), "uuid": text(36),
    "date": DATE, "time": TIME, "timestamp": TIMESTAMP, "timestamptz": TIMESTAMP_UTC,
    "bytea": BINARY, "json": DOCUMENT, "jsonb": DOCUMENT, "xml": TEXT,
    "timetz": text(21), "interval": text(64), "inet": text(45), "cidr": text(45),
    "macaddr": text(17), "macaddr8": text(23), "bit": TEXT, "varbit": TEXT, "ltree": TEXT, "citext": TEXT,
}  # fmt: skip

_POSTGRES_BY_CLASS: dict[str, DataType] = {"e": text(), "r": text(), "m": text(), "c": DOCUMENT}
"""Types by pg_type.typtype: enums, ranges and multiranges are text, composites are documents."""

VARCHAR_HEADER = 4
"""Number of bytes of a header that pg_attribute.atttypmod includes for varchar and numeric."""


def from_postgres(type_name: str, modifier: int = -1, type_class: str = "b") -> DataType:
    """Return the logical type of a Postgres type.

    ``type_name`` is pg_type.typname (for a domain that of its base type), ``modifier`` pg_attribute.atttypmod,
    ``type_class`` pg_type.typtype. Raises UnmappableType for a type whose values no column represents exactly: money is
    written in the server's locale, geometric types have no canonical text.
    """
    if type_name.startswith("_") and type_class == "b" and type_name != "_money":
        return DOCUMENT
    if type_name in {"varchar", "bpchar"}:
        return text(modifier - VARCHAR_HEADER if modifier >= VARCHAR_HEADER else None)
    if type_name == "numeric":
        return _postgres_numeric(modifier)
    found = _POSTGRES.get(type_name) or _POSTGRES_BY_CLASS.get(type_class)
    if found is None:
        raise UnmappableType(
            f"Postgres type {type_name!r} has no type in the warehouse",
            remedy="leave the column out (omitted), or cast it in a view to a type of docs/types.md",
        )
    return found


def _postgres_numeric(modifier: int) -> DataType:
    measures = numeric_digits(modifier)
    if measures is None:
        return UNCONSTRAINED_NUMERIC
    precision, scale = measures
    return decimal(min(precision, MAX_PRECISION), min(scale, MAX_SCALE))


def numeric_digits(modifier: int) -> tuple[int, int] | None:
    """Return how many digits, and digits after the point, a Postgres NUMERIC has; None without limits.

    A negative scale counts as 0 digits after the point; there are never more digits after the point than digits.
    """
    if modifier < VARCHAR_HEADER:
        return None
    packed = modifier - VARCHAR_HEADER
    precision, scale = (packed >> 16) & 0xFFFF, packed & 0x7FF
    if scale >= 1024:  # negative scale, stored in eleven bits
        return precision + (2048 - scale), 0
    return max(precision, scale), scale


_MYSQL: dict[str, DataType] = {
    "tinyint": INT16, "smallint": INT16, "mediumint": INT32, "int": INT32, "bigint": INT64, "year": INT16,
    "float": FLOAT32, "double": FLOAT64, "date": DATE, "datetime": TIMESTAMP, "timestamp": TIMESTAMP_UTC,
    "time": text(17), "json": DOCUMENT,
    "tinytext": text(255), "text": TEXT, "mediumtext": TEXT, "longtext": TEXT, "set": TEXT, "enum": TEXT,
    "binary": BINARY, "varbinary": BINARY, "tinyblob": BINARY, "blob": BINARY, "mediumblob": BINARY,
    "longblob": BINARY, "uuid": text(36), "inet4": text(15), "inet6": text(39),
}  # fmt: skip
_MYSQL_UNSIGNED = {"smallint": INT32, "mediumint": INT32, "int": INT64, "bigint": decimal(20, 0)}


_MYSQL_COLUMN_TYPE = re.compile(r"(?P<name>[a-z0-9]+)(\((?P<measures>[^)]*)\))?(?P<rest>.*)", re.DOTALL)


def mysql_type_name(column_type: str) -> str:
    """Return the name of a MySQL column type: ``int`` for ``int(10) unsigned``."""
    match = _MYSQL_COLUMN_TYPE.match(column_type.lower())
    return match["name"] if match else column_type


def from_mysql(column_type: str) -> DataType:
    """Return the logical type of a MySQL ``information_schema.columns.column_type`` such as ``int(10) unsigned``.

    MySQL's ``time`` may exceed 24 hours or be negative, so it is text. Raises UnmappableType (spatial types).
    """
    match = _MYSQL_COLUMN_TYPE.match(column_type.lower())
    name = mysql_type_name(column_type)
    measures = [int(part) for part in (match["measures"] or "").split(",") if part.isdigit()] if match else []
    if name == "tinyint" and measures == [1]:
        return BOOLEAN
    if name == "bit":
        return BOOLEAN if measures in ([], [1]) else decimal(20, 0)
    if name in {"char", "varchar"}:
        return text(max(measures[0], 1) if measures else 1)
    if name == "decimal":
        precision, scale = [*measures, *(10, 0)[len(measures) :]]
        return decimal(min(precision, MAX_PRECISION), min(scale, MAX_SCALE))
    found = _MYSQL.get(name)
    if match and "unsigned" in match["rest"]:
        found = _MYSQL_UNSIGNED.get(name, found)
    if found is None:
        raise UnmappableType(
            f"MySQL type {column_type!r} has no type in the warehouse",
            remedy="leave the column out (omitted)",
        )
    return found


BSON: dict[str, DataType] = {
    "double": FLOAT64, "string": TEXT, "object": DOCUMENT, "array": DOCUMENT, "binData": BINARY,
    "objectId": text(24), "bool": BOOLEAN, "date": TIMESTAMP_UTC, "int": INT64, "long": INT64,
    "decimal": UNCONSTRAINED_NUMERIC, "timestamp": text(32), "regex": TEXT, "uuid": text(36),
}  # fmt: skip
"""Types by BSON type name (as ``$type`` returns it; ``uuid`` is binData of subtype 4). Both integer widths are one
type, because writers mix them freely. Values of other types (javascript, symbol, dbPointer, minKey, maxKey) are
rejected row by row."""


# Warehouses

REDSHIFT: dict[Kind, str] = {
    Kind.BOOLEAN: "BOOLEAN", Kind.INT16: "SMALLINT", Kind.INT32: "INTEGER", Kind.INT64: "BIGINT",
    Kind.FLOAT32: "REAL", Kind.FLOAT64: "DOUBLE PRECISION", Kind.DECIMAL: "NUMERIC({precision},{scale})",
    Kind.TEXT: "VARCHAR({length})", Kind.DATE: "DATE", Kind.TIME: "TIME", Kind.TIMESTAMP: "TIMESTAMP",
    Kind.TIMESTAMP_UTC: "TIMESTAMPTZ", Kind.BINARY: "VARBYTE({length})", Kind.DOCUMENT: "SUPER",
}  # fmt: skip
"""Redshift's type per kind. VARCHAR and VARBYTE count bytes: their length is measured, never guessed."""

POSTGRES: dict[Kind, str] = {
    **REDSHIFT, Kind.TEXT: "TEXT", Kind.BINARY: "BYTEA", Kind.DOCUMENT: "JSONB",
}  # fmt: skip


def warehouse_type(names: dict[Kind, str], data_type: DataType) -> str:
    """Return the SQL type of a logical type, such as ``NUMERIC(12,2)``; ``names`` is ``REDSHIFT`` or ``POSTGRES``."""
    return names[data_type.kind].format(**vars(data_type))
