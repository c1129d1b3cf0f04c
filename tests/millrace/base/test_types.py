"""The one type map: every branch of every source, every warehouse, and what is refused."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from millrace.base.errors import UnmappableType
from millrace.base.types import (
    BINARY,
    BOOLEAN,
    BSON,
    DATE,
    DOCUMENT,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    POSTGRES,
    REDSHIFT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMP_UTC,
    UNCONSTRAINED_NUMERIC,
    DataType,
    Kind,
    arrow_type,
    decimal,
    from_mysql,
    from_polars,
    from_postgres,
    numeric_digits,
    polars_type,
    text,
    warehouse_type,
)


def numeric(precision: int, scale: int = 0) -> int:
    """pg_attribute.atttypmod of NUMERIC(precision, scale)."""
    return ((precision << 16) | (scale & 0x7FF)) + 4


@pytest.mark.parametrize(
    ("name", "modifier", "type_class", "expected"),
    [
        ("bool", -1, "b", BOOLEAN), ("int2", -1, "b", INT16), ("int4", -1, "b", INT32), ("int8", -1, "b", INT64),
        ("oid", -1, "b", INT64), ("float4", -1, "b", FLOAT32), ("float8", -1, "b", FLOAT64),
        ("text", -1, "b", TEXT), ("name", -1, "b", text(63)), ("char", -1, "b", text(4)), ("uuid", -1, "b", text(36)),
        ("varchar", -1, "b", TEXT), ("varchar", 4 + 10, "b", text(10)), ("bpchar", 4 + 3, "b", text(3)),
        ("bpchar", -1, "b", TEXT), ("citext", -1, "b", TEXT), ("ltree", -1, "b", TEXT), ("xml", -1, "b", TEXT),
        ("date", -1, "b", DATE), ("time", 3, "b", TIME), ("timestamp", 0, "b", TIMESTAMP),
        ("timestamptz", 6, "b", TIMESTAMP_UTC), ("timetz", -1, "b", text(21)), ("interval", -1, "b", text(64)),
        ("bytea", -1, "b", BINARY), ("json", -1, "b", DOCUMENT), ("jsonb", -1, "b", DOCUMENT),
        ("inet", -1, "b", text(45)), ("cidr", -1, "b", text(45)), ("macaddr", -1, "b", text(17)),
        ("macaddr8", -1, "b", text(23)), ("bit", 8, "b", TEXT), ("varbit", -1, "b", TEXT),
        ("_int4", -1, "b", DOCUMENT), ("_text", -1, "b", DOCUMENT), ("__mood", -1, "b", DOCUMENT),
        ("mood", -1, "e", TEXT), ("_mood", -1, "e", TEXT), ("place", -1, "c", DOCUMENT), ("_place", -1, "c", DOCUMENT),
        ("int4range", -1, "r", TEXT), ("_mine", -1, "r", TEXT), ("tstzmultirange", -1, "m", TEXT),
        ("numeric", -1, "b", UNCONSTRAINED_NUMERIC), ("numeric", numeric(12, 2), "b", decimal(12, 2)),
        ("numeric", numeric(10), "b", decimal(10, 0)), ("numeric", numeric(38, 9), "b", decimal(38, 9)),
        ("numeric", numeric(38, 38), "b", decimal(38, 37)), ("numeric", numeric(37, 37), "b", decimal(37, 37)),
        ("numeric", numeric(50, 4), "b", decimal(38, 4)), ("numeric", numeric(1000, 0), "b", decimal(38, 0)),
        ("numeric", numeric(60, 45), "b", decimal(38, 37)), ("numeric", numeric(3, -2), "b", decimal(5, 0)),
        ("numeric", numeric(2, 5), "b", decimal(5, 5)), ("numeric", numeric(37, -1000), "b", decimal(38, 0)),
    ],
)  # fmt: skip
def test_postgres(name: str, modifier: int, type_class: str, expected: DataType) -> None:
    assert from_postgres(name, modifier, type_class) == expected


@pytest.mark.parametrize(
    "name",
    ["money", "_money", "point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery", "hstore",
     "pg_lsn", "xid8", "geometry", "vector", ""],
)  # fmt: skip
def test_postgres_types_that_are_refused(name: str) -> None:
    with pytest.raises(UnmappableType, match=rf"Postgres type '{name}' has no type.*Remedy: .*docs/types.md"):
        from_postgres(name)


@pytest.mark.parametrize(
    ("modifier", "expected"),
    [(-1, None), (numeric(12, 2), (12, 2)), (numeric(50, 45), (50, 45)), (numeric(3, -2), (5, 0)),
     (numeric(2, 5), (5, 5))],
)  # fmt: skip
def test_what_a_numeric_of_postgres_takes(modifier: int, expected: tuple[int, int] | None) -> None:
    assert numeric_digits(modifier) == expected


@pytest.mark.parametrize(
    ("column_type", "expected"),
    [
        ("tinyint(1)", BOOLEAN), ("tinyint", INT16), ("tinyint(4)", INT16), ("tinyint unsigned", INT16),
        ("tinyint(3) unsigned zerofill", INT16), ("smallint", INT16), ("smallint(5) unsigned", INT32),
        ("mediumint", INT32), ("mediumint unsigned", INT32), ("int", INT32), ("int(11)", INT32),
        ("int(10) unsigned", INT64), ("INT UNSIGNED", INT64), ("bigint", INT64), ("bigint(20)", INT64),
        ("bigint(20) unsigned", decimal(20, 0)), ("year", INT16), ("year(4)", INT16),
        ("float", FLOAT32), ("double", FLOAT64), ("double(10,2)", FLOAT64), ("float unsigned", FLOAT32),
        ("decimal(12,2)", decimal(12, 2)), ("decimal(10)", decimal(10, 0)), ("decimal", decimal(10, 0)),
        ("decimal(12,2) unsigned", decimal(12, 2)), ("decimal(38,30)", decimal(38, 30)),
        ("decimal(65,30)", decimal(38, 30)), ("decimal(65,0)", decimal(38, 0)),
        ("bit(1)", BOOLEAN), ("bit", BOOLEAN), ("bit(8)", decimal(20, 0)), ("bit(64)", decimal(20, 0)),
        ("char(36)", text(36)), ("char", text(1)), ("varchar(255)", text(255)), ("varchar(0)", text(1)),
        ("tinytext", text(255)), ("text", TEXT), ("mediumtext", TEXT), ("longtext", TEXT),
        ("enum('a','b')", TEXT), ("enum('unsigned','(1)')", TEXT), ("set('a','b')", TEXT),
        ("date", DATE), ("datetime", TIMESTAMP), ("datetime(6)", TIMESTAMP), ("timestamp", TIMESTAMP_UTC),
        ("timestamp(6)", TIMESTAMP_UTC), ("time", text(17)), ("time(6)", text(17)), ("json", DOCUMENT),
        ("binary(16)", BINARY), ("varbinary(255)", BINARY), ("tinyblob", BINARY), ("blob", BINARY),
        ("mediumblob", BINARY), ("longblob", BINARY),
    ],
)  # fmt: skip
def test_mysql(column_type: str, expected: DataType) -> None:
    assert from_mysql(column_type) == expected


@pytest.mark.parametrize("column_type", ["geometry", "point", "polygon", "vector(3)", "", "(3)"])
def test_mysql_types_that_are_refused(column_type: str) -> None:
    with pytest.raises(UnmappableType, match=r"MySQL type .* has no type in the warehouse.*Remedy"):
        from_mysql(column_type)


def test_bson() -> None:
    assert {name: str(data_type) for name, data_type in BSON.items()} == {
        "double": "float64", "string": "text", "object": "document", "array": "document", "binData": "binary",
        "objectId": "text(24)", "bool": "boolean", "date": "timestamp_utc", "int": "int64", "long": "int64",
        "decimal": "decimal(38,9)", "timestamp": "text(32)", "regex": "text", "uuid": "text(36)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (pl.Boolean(), BOOLEAN), (pl.Int8(), INT16), (pl.Int16(), INT16), (pl.Int32(), INT32), (pl.Int64(), INT64),
        (pl.UInt8(), INT16), (pl.UInt16(), INT32), (pl.UInt32(), INT64), (pl.UInt64(), decimal(20, 0)),
        (pl.Float32(), FLOAT32), (pl.Float64(), FLOAT64), (pl.String(), TEXT), (pl.Categorical(), TEXT),
        (pl.Enum(["a"]), TEXT), (pl.Date(), DATE), (pl.Time(), TIME), (pl.Binary(), BINARY),
        (pl.Decimal(12, 2), decimal(12, 2)), (pl.Decimal(None, 4), decimal(38, 4)),
        (pl.Datetime("us"), TIMESTAMP), (pl.Datetime("ns"), TIMESTAMP), (pl.Datetime("ms", "UTC"), TIMESTAMP_UTC),
        (pl.Datetime("us", "Asia/Kolkata"), TIMESTAMP_UTC), (pl.List(pl.Int8()), DOCUMENT),
        (pl.Array(pl.Int8(), 2), DOCUMENT), (pl.Struct({"a": pl.Int8()}), DOCUMENT),
    ],
)  # fmt: skip
def test_polars(dtype: pl.DataType, expected: DataType) -> None:
    assert from_polars(dtype) == expected


@pytest.mark.parametrize("dtype", [pl.Duration("us"), pl.Null(), pl.Object()])
def test_polars_types_that_are_refused(dtype: pl.DataType) -> None:
    with pytest.raises(UnmappableType, match="Polars type"):
        from_polars(dtype)


LOGICAL = [
    (BOOLEAN, pl.Boolean(), pa.bool_(), "BOOLEAN", "BOOLEAN"),
    (INT16, pl.Int16(), pa.int16(), "SMALLINT", "SMALLINT"),
    (INT32, pl.Int32(), pa.int32(), "INTEGER", "INTEGER"),
    (INT64, pl.Int64(), pa.int64(), "BIGINT", "BIGINT"),
    (FLOAT32, pl.Float32(), pa.float32(), "REAL", "REAL"),
    (FLOAT64, pl.Float64(), pa.float64(), "DOUBLE PRECISION", "DOUBLE PRECISION"),
    (decimal(12, 2), pl.Decimal(12, 2), pa.decimal128(12, 2), "NUMERIC(12,2)", "NUMERIC(12,2)"),
    (decimal(20, 0), pl.Decimal(20, 0), pa.decimal128(20, 0), "NUMERIC(20,0)", "NUMERIC(20,0)"),
    (text(10), pl.String(), pa.string_view(), "VARCHAR(10)", "TEXT"),
    (DATE, pl.Date(), pa.date32(), "DATE", "DATE"),
    (TIME, pl.String(), pa.string_view(), "TIME", "TIME"),
    (TIMESTAMP, pl.Datetime("us"), pa.timestamp("us", "UTC"), "TIMESTAMP", "TIMESTAMP"),
    (TIMESTAMP_UTC, pl.Datetime("us", "UTC"), pa.timestamp("us", "UTC"), "TIMESTAMPTZ", "TIMESTAMPTZ"),
    (DataType(Kind.BINARY, length=7), pl.Binary(), pa.binary_view(), "VARBYTE(7)", "BYTEA"),
    (DOCUMENT, pl.String(), pa.binary_view(), "SUPER", "JSONB"),
]


@pytest.mark.parametrize(("logical", "polars", "arrow", "redshift", "postgres"), LOGICAL, ids=str)
def test_a_logical_type_everywhere(
    logical: DataType, polars: pl.DataType, arrow: pa.DataType, redshift: str, postgres: str
) -> None:
    assert polars_type(logical) == polars
    assert arrow_type(logical) == arrow
    assert warehouse_type(REDSHIFT, logical) == redshift
    assert warehouse_type(POSTGRES, logical) == postgres


def test_no_kind_is_left_out() -> None:
    assert {logical.kind for logical, *_ in LOGICAL} == set(Kind) == set(REDSHIFT) == set(POSTGRES)


@pytest.mark.parametrize("data_type", [logical for logical, *_ in LOGICAL] + [TEXT, UNCONSTRAINED_NUMERIC], ids=str)
def test_a_type_comes_back_from_json(data_type: DataType) -> None:
    assert DataType.from_json(data_type.as_json()) == data_type
    assert None not in data_type.as_json().values()


def test_a_type_reads_well() -> None:
    assert [str(one) for one in (INT16, decimal(12, 2), text(5), TEXT)] == ["int16", "decimal(12,2)", "text(5)", "text"]
