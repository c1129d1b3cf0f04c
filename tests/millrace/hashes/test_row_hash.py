"""The row hash: fixed for ever by vectors, recomputed from its definition, and blind to what is no change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.base.naming import ROW_HASH
from millrace.base.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOCUMENT,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMP_UTC,
    Column,
    DataType,
    decimal,
    polars_type,
)
from millrace.hashes.row_hash import HASH_LENGTH, add_row_hash, write_canonical

NOT_A_NUMBER = float("nan")
Row = dict[str, tuple[DataType, Any]]


def hashed(row: Row) -> str:
    """The hash of one row, given as name → type and value."""
    frame, columns = table(row)
    digits: str = add_row_hash(frame, columns)[ROW_HASH][0]
    return digits


def text_of(row: Row) -> str:
    """What enters the hash."""
    frame, columns = table(row)
    ordered = sorted(columns, key=lambda column: column.name)
    return "".join(value or "" for value in frame.select(map(canonical_column, ordered)).row(0))


def canonical_column(column: Column) -> pl.Expr:
    return write_canonical(column).alias(column.name)


def table(row: Row) -> tuple[pl.DataFrame, list[Column]]:
    frame = pl.DataFrame([pl.Series(name, [value], dtype=polars_type(kind)) for name, (kind, value) in row.items()])
    return frame, [Column(name, name, kind) for name, (kind, _) in row.items()]


ALL_KINDS: Row = {
    "boolean": (BOOLEAN, True),
    "int16": (INT16, -(2**15)),
    "int32": (INT32, 2**31 - 1),
    "int64": (INT64, -(2**63)),
    "float32": (FLOAT32, 0.1),
    "float64": (FLOAT64, 0.1),
    "decimal": (decimal(38, 9), Decimal("-12345678901234567890123456789.100000000")),
    "text": (TEXT, "né;a=1:b\n😀"),
    "date": (DATE, date(1969, 12, 31)),
    "time": (TIME, "24:00:00"),
    "timestamp": (TIMESTAMP, datetime(2024, 2, 29, 12, 34, 56, 123456)),  # noqa: DTZ001 (a time without zone)
    "timestamp_utc": (TIMESTAMP_UTC, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    "binary": (BINARY, b"\x00\xff"),
    "document": (DOCUMENT, '{"a":[1,null]}'),
}
CANONICAL = (
    'binary=4:00ff;boolean=1;date=-1;decimal=-12345678901234567890123456789.1;document=14:{"a":[1,null]};'
    "float32=4591870180174331904;float64=4591870180066957722;int16=-32768;int32=2147483647;"
    "int64=-9223372036854775808;text=14:né;a=1:b\n😀;time=8:24:00:00;timestamp=1709210096123456;timestamp_utc=-1;"
)
VECTORS: dict[str, tuple[Row, str]] = {
    "empty": ({"a": (TEXT, None)}, "204254712233039002205064565430793619839"),
    "empty text": ({"a": (TEXT, "")}, "116156603632309586379219685718892890859"),
    "integer": ({"a": (INT32, 1)}, "173041339266237950832811539463483448991"),
    "every kind": (ALL_KINDS, "301356027759157912395296064449268628878"),
    "long": ({"a": (TEXT, "0123456789" * 100)}, "107259775970355471287252252100995335530"),
}


@pytest.mark.parametrize(("row", "digits"), VECTORS.values(), ids=VECTORS)
def test_the_hash_never_changes(row: Row, digits: str) -> None:
    assert hashed(row) == digits
    assert len(digits) <= HASH_LENGTH


def test_the_text_that_is_hashed_is_as_documented() -> None:
    assert text_of(ALL_KINDS) == CANONICAL


def test_the_algorithm_is_xxh3_of_128_bits() -> None:
    """The algorithm's own published value for no input."""
    assert int(hashed({"a": (TEXT, None)})) == 0x99AA06D3014798D86001C324468D497F


def test_the_order_of_columns_does_not_matter() -> None:
    assert hashed(dict(reversed(ALL_KINDS.items()))) == hashed(ALL_KINDS)


def test_a_new_column_that_is_null_does_not_matter() -> None:
    for kind in (TEXT, INT32, decimal(5, 2), FLOAT64, BINARY, DOCUMENT, TIMESTAMP_UTC, DATE, BOOLEAN):
        assert hashed(ALL_KINDS | {"a_new_one": (kind, None)}) == hashed(ALL_KINDS)


@pytest.mark.parametrize(
    ("narrow", "wide", "value"),
    [
        (INT16, INT32, -7),
        (INT32, INT64, 2**31 - 1),
        (INT64, decimal(20, 0), -(2**63)),
        (INT64, decimal(38, 9), 1200),
        (BOOLEAN, INT16, True),
        (FLOAT32, FLOAT64, 0.5),
        (FLOAT32, FLOAT64, NOT_A_NUMBER),
        (decimal(5, 2), decimal(38, 9), Decimal("-1.50")),
        (decimal(5, 2), decimal(5, 0), Decimal("100.00")),
        (decimal(5, 2), decimal(38, 37), Decimal("0.00")),
        (TIMESTAMP, TIMESTAMP_UTC, datetime(2024, 1, 1)),  # noqa: DTZ001 (a time without zone)
    ],
)
def test_a_wider_type_does_not_matter(narrow: DataType, wide: DataType, value: Any) -> None:
    wider = value.replace(tzinfo=UTC) if wide is TIMESTAMP_UTC else value
    assert hashed({"a": (narrow, value)}) == hashed({"a": (wide, wider)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": (TEXT, None)}, {"a": (TEXT, "")}),
        ({"a": (BINARY, None)}, {"a": (BINARY, b"")}),
        ({"a": (TEXT, None), "b": (TEXT, "x")}, {"a": (TEXT, "x"), "b": (TEXT, None)}),
        ({"a": (TEXT, "x;b=1:y"), "b": (TEXT, None)}, {"a": (TEXT, "x"), "b": (TEXT, "y")}),
        ({"a": (TEXT, "1:x"), "b": (TEXT, "")}, {"a": (TEXT, "1:x;b=0:;"), "b": (TEXT, None)}),
        ({"a": (TEXT, "x")}, {"a": (TEXT, "x ")}),
        ({"a": (TEXT, "é")}, {"a": (TEXT, "e\u0301")}),
        ({"a": (FLOAT64, 0.0)}, {"a": (FLOAT64, -0.0)}),
        ({"a": (FLOAT64, NOT_A_NUMBER)}, {"a": (FLOAT64, None)}),
        ({"a": (FLOAT64, NOT_A_NUMBER)}, {"a": (FLOAT64, float("inf"))}),
        ({"a": (FLOAT64, 0.1)}, {"a": (FLOAT64, 0.1 + 2**-56)}),
        ({"a": (FLOAT64, 5e-324)}, {"a": (FLOAT64, 0.0)}),
        ({"a": (INT64, 2**53)}, {"a": (INT64, 2**53 + 1)}),
        ({"a": (decimal(38, 9), Decimal("0.000000001"))}, {"a": (decimal(38, 9), Decimal(0))}),
        ({"a": (decimal(38, 0), Decimal(10))}, {"a": (decimal(38, 0), Decimal(1))}),
        ({"a": (TIMESTAMP_UTC, datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC))},
         {"a": (TIMESTAMP_UTC, datetime(2024, 1, 1, tzinfo=UTC))}),
        ({"a": (DATE, date(1970, 1, 2))}, {"a": (DATE, date(1970, 1, 1))}),
        ({"a": (BOOLEAN, False)}, {"a": (BOOLEAN, None)}),
    ],
)  # fmt: skip
def test_a_change_shows(one: Row, other: Row) -> None:
    assert hashed(one) != hashed(other)


def test_all_nans_are_one() -> None:
    bits = pl.Series("a", [0x7FF8000000000000, 0x7FF8000000000001, 0x7FFFFFFFFFFFFFFF], dtype=pl.Int64)
    frame = pl.DataFrame([bits.reinterpret(signed=True)]).with_columns(pl.col("a").reinterpret(dtype=pl.Float64))
    negative = pl.DataFrame({"a": [-NOT_A_NUMBER]})
    columns = [Column("a", "a", FLOAT64)]
    assert add_row_hash(pl.concat([frame, negative]), columns)[ROW_HASH].n_unique() == 1


def test_rows_do_not_share_anything() -> None:
    frame = pl.DataFrame({"a": [1, 2, None], "b": ["x", None, "y"]})
    columns = [Column("a", "a", INT64), Column("b", "b", TEXT)]
    together = add_row_hash(frame, columns)[ROW_HASH]
    apart = [add_row_hash(frame[index], columns)[ROW_HASH][0] for index in range(3)]
    assert together.to_list() == apart


def test_an_empty_frame_has_the_column() -> None:
    frame, columns = table(ALL_KINDS)
    assert add_row_hash(frame.clear(), columns).schema[ROW_HASH] == pl.String()


@settings(derandomize=True, max_examples=200)
@given(
    st.lists(st.none() | st.text("ab=:;1\n\x00é", max_size=8), min_size=3, max_size=3),
    st.lists(st.none() | st.text("ab=:;1\n\x00é", max_size=8), min_size=3, max_size=3),
)
def test_no_value_imitates_another_row(one: list[str | None], other: list[str | None]) -> None:
    rows = [text_of({name: (TEXT, value) for name, value in zip("abc", row, strict=True)}) for row in (one, other)]
    assert (rows[0] == rows[1]) == (one == other)


def test_a_single_row_behind_an_empty_chunk_has_the_hash_of_its_row() -> None:
    """As a look-up gives it whose first rows were all rejected."""
    frame = pl.DataFrame({"body": ["a long text that is not kept in its view", "another"], "id": [1, 2]})
    behind = pl.concat([frame.tail(1), frame.head(1)], rechunk=False).filter(pl.Series([False, True]))
    columns = [Column("body", "body", TEXT), Column("id", "id", INT64)]
    assert behind["body"].chunk_lengths() == [0, 1]
    assert add_row_hash(behind, columns)[ROW_HASH][0] == add_row_hash(frame, columns)[ROW_HASH][0]
