"""Rows against a target that stays as it is: which pass, in which type, and why the others do not."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import millrace
from millrace.base.rejects import REJECT_SCHEMA
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
    TIMESTAMP,
    TIMESTAMP_UTC,
    Column,
    DataType,
    Kind,
    decimal,
    polars_type,
    text,
)
from millrace.contract.target_fit import fit_to_target

ID = Column("id", "_id", INT64)
NAN, INFINITY = float("nan"), float("inf")
FIRST_DAY, FIRST = date(1, 1, 1), datetime.fromisoformat("0001-01-01")
MIDNIGHT = datetime.fromisoformat("2024-02-29")


def same(*values: Any) -> dict[Any, Any]:
    """Values that compare equal in both types."""
    return {value: value for value in values}


CASES: list[tuple[DataType, DataType, dict[Any, Any], list[Any]]] = [
    # the source's type, the target's, values that pass and what they are there, values that do not
    (INT64, INT32, same(2**31 - 1, -(2**31)), [2**31, -(2**31) - 1, 2**63 - 1]),
    (INT16, INT64, same(32767, -32768), []),
    (INT64, decimal(12, 2), same(9_999_999_999, -1), [10**10, -(2**63)]),
    (INT32, decimal(38, 37), same(9), [10]),
    (INT64, FLOAT64, same(2**53, -(2**63)), [2**53 + 1, 2**63 - 1]),
    (decimal(12, 2), INT16, same(Decimal("7.00")), [Decimal("7.50"), Decimal("40000.00")]),
    (decimal(20, 4), decimal(12, 2), same(Decimal("1.2300")), [Decimal("1.2350"), Decimal("12345678901.0000")]),
    (decimal(38, 0), decimal(38, 9), same(Decimal(7)), [Decimal(10**37)]),
    (decimal(38, 1), FLOAT64, {Decimal("0.3"): 0.3}, [Decimal("12345678901234567.1")]),
    (FLOAT64, INT64, same(1.0, -(2.0**63)), [1.5, NAN, INFINITY, 2.0**63]),
    (FLOAT64, FLOAT32, same(0.5, INFINITY), [0.1, 1e300]),
    (FLOAT32, FLOAT64, same(0.5, -INFINITY), []),
    (FLOAT64, decimal(38, 9), {8663010.6365: Decimal("8663010.6365")}, [1e-12, 1e30, NAN, -INFINITY]),
    (TIMESTAMP, DATE, {MIDNIGHT: MIDNIGHT.date()}, [MIDNIGHT.replace(microsecond=1)]),
    (DATE, TIMESTAMP, {FIRST_DAY: FIRST, MIDNIGHT.date(): MIDNIGHT}, []),
    (TIMESTAMP, TIMESTAMP_UTC, {}, [MIDNIGHT]),
    (TIMESTAMP_UTC, DATE, {}, [MIDNIGHT.replace(tzinfo=UTC)]),
    (TEXT, INT32, {}, ["1"]),
    (INT32, TEXT, {}, [1]),
    (BOOLEAN, INT16, {}, [True]),
    (DOCUMENT, TEXT, {}, ["{}"]),
]


def fit(
    values: list[Any], own: DataType, held: DataType | None
) -> tuple[pl.DataFrame, tuple[Column, ...], list[tuple[Any, ...]]]:
    """The values as the column ``value`` (of the field ``Value``), each in a row numbered from 0."""
    frame = pl.DataFrame({"id": range(len(values)), "value": pl.Series(values, dtype=polars_type(own))})
    known = [ID] if held is None else [ID, Column("value", "Value", held)]
    accepted, columns, rejected = fit_to_target(frame, [ID, Column("value", "Value", own)], known, ["id"], ["id"])
    assert rejected.schema == dict(REJECT_SCHEMA)
    reasons = [
        (json.loads(row["coordinates"])["id"], row["reason"], row["field"]) for row in rejected.iter_rows(named=True)
    ]
    return accepted, columns, reasons


@pytest.mark.parametrize(
    ("own", "held", "passing", "failing"), CASES, ids=[f"{own} to {held}" for own, held, *_ in CASES]
)
def test_a_value_of_another_type_passes_where_nothing_is_lost(
    own: DataType, held: DataType, passing: dict[Any, Any], failing: list[Any]
) -> None:
    accepted, columns, rejected = fit([None, *passing, *failing], own, held)
    assert columns == (ID, Column("value", "Value", held))
    assert accepted.schema["value"] == polars_type(held)
    assert accepted["value"].to_list() == [None, *passing.values()]
    first = 1 + len(passing)
    assert rejected == [(first + number, "schema_type", "Value") for number in range(len(failing))]


def test_a_value_without_a_column_is_rejected_and_the_empty_column_left_out() -> None:
    accepted, columns, rejected = fit([None, "new", None, ""], TEXT, None)
    assert (accepted.to_dict(as_series=False), columns) == ({"id": [0, 2]}, (ID,))
    assert rejected == [(1, "schema_new_column", "Value"), (3, "schema_new_column", "Value")]


def test_lengths_are_bytes() -> None:
    accepted, columns, rejected = fit([None, "abcde", "äöü", "", "äö"], TEXT, text(5))
    assert accepted["value"].to_list() == [None, "abcde", "", "äö"]
    assert columns[1].type == text(5)
    assert rejected == [(2, "schema_too_long", "Value")]
    assert fit([b"12345", b"123456"], BINARY, DataType(Kind.BINARY, length=5))[2] == [(1, "schema_too_long", "Value")]
    assert fit(["any length"], TEXT, TEXT)[2] == []


def test_without_a_target_every_row_passes() -> None:
    frame = pl.DataFrame({"id": [1], "value": ["x"]})
    columns = [ID, Column("value", "value", TEXT)]
    accepted, fitted, rejected = fit_to_target(frame, columns, [], ["id"], ["id"])
    assert accepted.equals(frame)
    assert (list(fitted), rejected.height) == (columns, 0)


def test_the_order_is_the_sources_and_absent_columns_stay_absent() -> None:
    frame = pl.DataFrame({"value": ["x"], "id": [1]})
    known = [ID, Column("gone", "gone", TEXT), Column("value", "value", TEXT)]
    accepted, columns, _ = fit_to_target(frame, [Column("value", "value", TEXT), ID], known, ["id"], ["id"])
    assert accepted.columns == [column.name for column in columns] == ["value", "id"]


def test_a_key_is_held_to_the_same_rule() -> None:
    frame = pl.DataFrame({"id": [1, 2**40]})
    accepted, _, rejected = fit_to_target(frame, [ID], [Column("id", "_id", INT32)], ["id"], ["id"])
    assert accepted["id"].to_list() == [1]
    assert rejected["reason"].to_list() == ["schema_type"]


def test_a_key_that_the_target_lacks_is_left_to_the_load() -> None:
    frame = pl.DataFrame({"id": [1], "other": [2]})
    columns = [ID, Column("other", "other", INT64)]
    accepted, fitted, rejected = fit_to_target(frame, columns, [ID], ["other"], ["other"])
    assert (accepted.columns, list(fitted), rejected.height) == (["id", "other"], columns, 0)


def test_the_reasons_are_those_of_the_page_of_types() -> None:
    page = (Path(millrace.__file__).parent.parent / "docs/types.md").read_text(encoding="utf-8")
    here = {reason for held in (None, INT32, text(0)) for _, reason, _ in fit(["x"], TEXT, held)[2]}
    assert set(re.findall(r"`(schema_\w+)`", page)) == here


@given(st.lists(st.floats()), st.sampled_from([(38, 9), (12, 2), (38, 0), (5, 5)]))
def test_a_float_never_becomes_another_decimal(values: list[float], measures: tuple[int, int]) -> None:
    accepted, _, rejected = fit(values, FLOAT64, decimal(*measures))
    refused = {number for number, *_ in rejected}
    passed = [value for number, value in enumerate(values) if number not in refused]
    assert accepted["value"].to_list() == [Decimal(repr(value)) for value in passed]
    assert not any(math.isfinite(values[number]) and values[number] == 0 for number in refused)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.sampled_from([INT16, INT32, FLOAT32, FLOAT64, decimal(9, 2)]))
def test_a_whole_number_never_becomes_another(values: list[int], held: DataType) -> None:
    accepted, _, rejected = fit(values, INT64, held)
    refused = {number for number, *_ in rejected}
    passed = [value for number, value in enumerate(values) if number not in refused]
    assert [int(value) for value in accepted["value"]] == passed
