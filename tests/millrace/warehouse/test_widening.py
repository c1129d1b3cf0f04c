"""Which type holds which, and the narrowest that holds two: a table of cases, and the laws of any."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millrace
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
    DataType,
    decimal,
    text,
)
from millrace.warehouse.dialect import REDSHIFT_DIALECT, from_catalog
from millrace.warehouse.schema.widening import holds, supertype

SIMPLE = (BOOLEAN, INT16, INT32, INT64, FLOAT32, FLOAT64, TEXT, DATE, TIME, TIMESTAMP, TIMESTAMP_UTC, BINARY, DOCUMENT)
TYPES = st.sampled_from(SIMPLE) | st.integers(1, 38).flatmap(
    lambda precision: st.integers(0, min(precision, 37)).map(lambda scale: decimal(precision, scale))
)


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        (INT16, INT32, INT32),
        (INT32, INT64, INT64),
        (INT64, INT16, INT64),
        (INT16, decimal(5, 0), decimal(5, 0)),
        (INT16, decimal(4, 2), decimal(7, 2)),
        (INT32, decimal(12, 2), decimal(12, 2)),
        (INT64, decimal(12, 2), decimal(21, 2)),
        (decimal(12, 2), INT64, decimal(21, 2)),
        (decimal(38, 9), INT64, decimal(38, 9)),
        (decimal(38, 20), INT64, None),
        (decimal(12, 2), decimal(14, 2), decimal(14, 2)),
        (decimal(12, 2), decimal(12, 4), decimal(14, 4)),
        (decimal(14, 4), decimal(12, 2), decimal(14, 4)),
        (decimal(38, 0), decimal(38, 1), None),
        (decimal(30, 1), decimal(12, 9), decimal(38, 9)),
        (FLOAT32, FLOAT64, FLOAT64),
        (INT16, FLOAT32, FLOAT32),
        (INT32, FLOAT32, FLOAT64),
        (INT32, FLOAT64, FLOAT64),
        (FLOAT64, INT32, FLOAT64),
        (INT64, FLOAT64, None),
        (decimal(4, 2), FLOAT64, None),
        (DATE, TIMESTAMP, TIMESTAMP),
        (TIMESTAMP, DATE, TIMESTAMP),
        (DATE, TIMESTAMP_UTC, None),
        (TIMESTAMP, TIMESTAMP_UTC, None),
        (TEXT, INT32, None),
        (BOOLEAN, INT16, None),
        (TEXT, DOCUMENT, None),
        (TIME, TEXT, None),
        (text(40), text(80), text(40)),
    ],
    ids=str,
)
def test_supertype(held: DataType, wanted: DataType, expected: DataType | None) -> None:
    assert supertype(held, wanted) == expected


@given(TYPES, TYPES)
def test_a_supertype_holds_both_and_is_the_same_either_way(held: DataType, wanted: DataType) -> None:
    wider = supertype(held, wanted)
    assert wider == supertype(wanted, held)
    if wider is not None:
        assert holds(wider, held)
        assert holds(wider, wanted)
        assert supertype(wider, wanted) == wider


@given(TYPES, TYPES)
def test_what_holds_needs_no_change(held: DataType, wanted: DataType) -> None:
    assert holds(held, held)
    assert (supertype(held, wanted) == held) == holds(held, wanted)


@given(TYPES, TYPES, TYPES)
def test_holding_goes_on(widest: DataType, middle: DataType, narrow: DataType) -> None:
    """What holds a type that holds another holds that one, and no narrower supertype is left out."""
    if holds(widest, middle) and holds(middle, narrow):
        assert holds(widest, narrow)
    wider = supertype(middle, narrow)
    if holds(widest, middle) and holds(widest, narrow):
        assert wider is not None
        assert holds(widest, wider)


def test_the_page_of_types_says_the_same() -> None:
    page = (Path(millrace.__file__).parent.parent / "docs/types.md").read_text(encoding="utf-8")
    section = page.split("## When a column's type changes")[1]
    rows = re.findall(r"^\| `([A-Z].+)` \| `(.+)` \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) == 12
    for held, wanted, becomes in rows:
        wider = supertype(in_redshift(held), in_redshift(wanted))
        assert becomes == f"`{REDSHIFT_DIALECT.target_type(wider, 0)}`" if wider else becomes.startswith("refused")


def in_redshift(type_name: str) -> DataType:
    """The type that a warehouse's name stands for."""
    name, *measures = re.findall(r"[A-Z ]+|\d+", type_name)
    catalog = {"TIMESTAMP": "timestamp without time zone", "TIMESTAMPTZ": "timestamp with time zone",
               "VARCHAR": "character varying"}  # fmt: skip
    precision, scale = [*map(int, measures), None, None][:2]
    found = from_catalog(catalog.get(name, name.lower()), precision, precision, scale)
    assert found is not None
    return found
