"""Decoding the rows of tables: NULL and '', what does not fit, JSON that no warehouse takes, broken bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from millrace import Incremental, Snapshot, Stream
from millrace.base.errors import ConfigurationError, FatalError, MillraceError
from millrace.base.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOCUMENT,
    FLOAT64,
    INT64,
    TEXT,
    TIMESTAMP_UTC,
    Column,
    DataType,
    decimal,
    text,
)
from millrace.sources.chunk import Chunk
from millrace.sources.json_text import unfit
from millrace.sources.postgres_values import describe_table, render
from millrace.sources.rows import TOO_LARGE, SourceColumn, decode


def stream(**options: Any) -> Stream:
    return Stream("things", "postgres:public.things", "id", Incremental("stamped"), **options)


def decoded(rows: str, *, exact: bool = True, **types: DataType) -> Chunk:
    """CSV rows of a table with an ``id`` and these columns."""
    columns = tuple(
        SourceColumn(Column(name, name, kind), name, exact) for name, kind in {"id": INT64, **types}.items()
    )
    return decode(rows.encode(), columns, stream())


def reasons(chunk: Chunk) -> list[tuple[Any, str, str]]:
    rows = chunk.rejected.iter_rows(named=True)
    return [(json.loads(row["coordinates"])["id"], row["reason"], row["field"]) for row in rows]


def test_null_and_empty_stay_apart_in_every_place() -> None:
    chunk = decoded('1,,""\n2,"",\n3,,\n4,"",""\n', a=TEXT, b=TEXT)
    assert chunk.frame["a"].to_list() == [None, "", None, ""]
    assert chunk.frame["b"].to_list() == ["", None, None, ""]


def test_text_is_taken_as_it_is() -> None:
    chunk = decoded('1," a,""b""\r\n\\N",NULL\n2,#no comment,\\.\n', a=TEXT, b=TEXT)
    assert chunk.frame["a"].to_list() == [' a,"b"\r\n\\N', "#no comment"]
    assert chunk.frame["b"].to_list() == ["NULL", "\\."]


@pytest.mark.parametrize(
    "value", ["\ufeff", "\ufeffone", "\ufeff\ufeff", '"\ufeffone"', "\\.", "#one", "NULL", " one "]
)
@pytest.mark.parametrize("exact", [True, False])
def test_the_first_value_of_a_chunk_is_read_as_any_other(value: str, exact: bool) -> None:
    columns = (SourceColumn(Column("name", "name", TEXT), "name"), SourceColumn(Column("n", "n", INT64), "n", exact))
    chunk = decode(f"{value},1\n{value},2\n".encode(), columns, stream())
    assert chunk.frame["name"].to_list() == [value.strip('"')] * 2


def test_the_first_value_of_a_rejected_row_is_kept_whole() -> None:
    columns = (SourceColumn(Column("name", "name", TEXT), "name"), SourceColumn(Column("n", "n", DATE), "n"))
    chunk = decode("\ufeffone,infinity\n".encode(), columns, Stream("t", "postgres:public.t", "name", Snapshot()))
    assert json.loads(chunk.rejected["coordinates"][0]) == {"name": "\ufeffone"}


@pytest.mark.parametrize("exact", [True, False])
def test_a_decimal_is_read_digit_by_digit(exact: bool) -> None:
    chunk = decoded("1,-99999999999999999999999999999.999999999\n2,0.000000001\n3,\n", exact=exact, n=decimal(38, 9))
    assert chunk.frame["n"].to_list() == [Decimal("-99999999999999999999999999999.999999999"), Decimal("1E-9"), None]
    assert chunk.frame.schema["n"] == pl.Decimal(38, 9)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("1.50", "1.5"), ("1.5000000", "1.5"), ("-0.01", "-0.01"), ("00123.40", "123.4"), ("999.99", "999.99"), ("0", "0"),
     ("1000", None), ("0.001", None), ("999.991", None), ("NaN", None), ("Infinity", None), ("1e2", None)],
)  # fmt: skip
def test_a_number_fits_exactly_or_is_rejected(written: str, expected: str | None) -> None:
    chunk = decoded(f"7,{written}\n", exact=False, n=decimal(5, 2))
    if expected is None:
        assert reasons(chunk) == [(("7"), "number_does_not_fit", "n")]
    else:
        assert chunk.frame["n"].to_list() == [Decimal(expected)]


def test_a_number_that_breaks_the_quick_way_bends_no_other_row() -> None:
    chunk = decoded("1,1.25,5\n2,NaN,6\n3,,7\n", n=decimal(5, 2), m=decimal(10, 0))
    assert chunk.frame.rows() == [(1, Decimal("1.25"), Decimal(5)), (3, None, Decimal(7))]
    assert reasons(chunk) == [("2", "number_does_not_fit", "n")]
    assert json.loads(chunk.rejected["row"][0]) == {"id": "2", "n": "NaN", "m": "6"}


@pytest.mark.parametrize(
    ("kind", "written", "reason"),
    [
        (DATE, "infinity", "infinite_date"),
        (DATE, "-infinity", "infinite_date"),
        (DATE, "4714-11-24 BC", "date_out_of_range"),
        (DATE, "0000-00-00", "zero_date"),
        (DATE, "2024-01-00", "zero_date"),
        (DATE, "2024-02-31", "date_out_of_range"),
        (TIMESTAMP_UTC, "infinity", "infinite_timestamp"),
        (TIMESTAMP_UTC, "-infinity", "infinite_timestamp"),
        (TIMESTAMP_UTC, "294276-12-31 23:59:59.999999+00", "date_out_of_range"),
        (TIMESTAMP_UTC, "2024-00-01 00:00:00", "zero_date"),
    ],
)
def test_a_moment_that_is_text_is_rejected(kind: DataType, written: str, reason: str) -> None:
    chunk = decoded(f"1,0\n2,{written}\n3,\n", t=kind)
    assert chunk.frame["id"].to_list() == [1, 3]
    assert reasons(chunk) == [("2", reason, "t")]
    assert json.loads(chunk.rejected["row"][0]) == {"id": "2", "t": written}


def test_a_row_of_which_only_the_key_came_is_rejected() -> None:
    chunk = decoded(f'1,"a"\n2,,{TOO_LARGE}\n3,\n', t=TEXT)
    assert chunk.frame.rows() == [(1, "a"), (3, None)]
    assert reasons(chunk) == [("2", TOO_LARGE, "")]


def test_text_that_holds_nul_and_booleans_that_are_none_are_rejected() -> None:
    chunk = decoded('1,"a\x00b",1\n2,"",2\n3,,0\n', exact=False, t=TEXT, b=BOOLEAN)
    assert chunk.frame.rows() == [(3, None, False)]
    assert reasons(chunk) == [("1", "nul_character", "t"), ("2", "type_mismatch", "b")]


def test_the_first_column_that_is_wrong_is_the_reason() -> None:
    chunk = decoded("1,NaN,NaN\n", exact=False, n=decimal(5, 2), m=decimal(5, 2))
    assert reasons(chunk) == [("1", "number_does_not_fit", "n")]


def test_booleans_and_bytes() -> None:
    chunk = decoded('1,1,00ff\n2,0,""\n3,,\n', b=BOOLEAN, x=BINARY)
    assert chunk.frame["b"].to_list() == [True, False, None]
    assert chunk.frame["x"].to_list() == [b"\x00\xff", b"", None]


@pytest.mark.parametrize("data", [b"1,2,3\n", b"x,1.0\n", b"1,abc\n", b'1,"1.0\n', b"1,\xff\n"])
def test_bytes_that_are_no_rows_are_fatal(data: bytes) -> None:
    columns = tuple(SourceColumn(Column(name, name, kind), name) for name, kind in {"id": INT64, "f": FLOAT64}.items())
    with pytest.raises(FatalError, match=r"stream things .*cannot be read.*Remedy"):
        decode(data, columns, stream())


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (None, None),
        ("{}", None),
        ('"\\u00e9 \\\\u0000 \\\\\\\\u0000 \\ud83d\\ude00"', None),
        ('"\\\\ud800"', None),
        ('"\\u0000"', "nul_character"),
        ('"a\\\\\\u0000"', "nul_character"),
        ('{"\\u0000":1}', "nul_character"),
        ('"\\ud800"', "no_json_form"),
        ('"\\ud800x"', "no_json_form"),
        ('["\\uDC00\\uD800"]', "no_json_form"),
    ],
)
def test_json_that_no_warehouse_takes(document: str | None, reason: str | None) -> None:
    assert unfit(pl.Series(["1", document, "2"], dtype=pl.String)).to_list() == [None, reason, None]


def test_json_is_looked_at_where_it_may_be_unfit() -> None:
    rows = '1,"""\\u0000"""\n2,"""\\ud800"""\n3,"""\\u00e9"""\n'
    chunk = decoded(rows, exact=False, d=DOCUMENT)
    assert chunk.frame["id"].to_list() == [3]
    assert reasons(chunk) == [("1", "nul_character", "d"), ("2", "no_json_form", "d")]


@pytest.mark.parametrize(
    ("type_name", "data_type", "rendered"),
    [
        ("text", TEXT, '"c"'), ("varchar", TEXT, '"c"'), ("int8", INT64, '"c"'), ("bool", BOOLEAN, '"c"::int'),
        ("uuid", text(36), '"c"::text'), ("bpchar", text(3), '"c"::text'), ("bytea", BINARY, "encode(\"c\", 'hex')"),
        ("json", DOCUMENT, '"c"::text'), ("_int4", DOCUMENT, 'to_json("c")::text'), ("int8", TEXT, '"c"::text'),
    ],
)  # fmt: skip
def test_rendering(type_name: str, data_type: DataType, rendered: str) -> None:
    assert render('"c"', type_name, data_type.kind) == rendered


@pytest.mark.parametrize(
    ("sql_type", "declared"),
    [("int", decimal(38, 0)), ("text", INT64), ("numeric", FLOAT64), ("timestamp", TIMESTAMP_UTC), ("point", DOCUMENT)],
)
def test_a_declaration_that_cannot_be_is_refused(engine: Any, sql_type: str, declared: DataType) -> None:
    engine.source(f"CREATE TABLE things (id int, stamped timestamptz, c {sql_type})")
    with pytest.raises(MillraceError, match=r"stream things .*column.*c'? .*cannot be declared as .*Remedy") as raised:
        describe_table(engine.connect_source(), stream(types={"c": declared}))
    assert isinstance(raised.value, ConfigurationError)
