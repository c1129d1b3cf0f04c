"""Single values of JSON: which Python types a column of each kind accepts, and how one is converted without loss.

JSON has no moments and few numbers: a column that was declared as a moment takes its text (ISO 8601, with T or a
blank), and one that was declared as a number takes digits.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import polars as pl

from millrace.base.types import (
    BOOLEAN,
    DOCUMENT,
    FLOAT64,
    INT64,
    MAX_PRECISION,
    TEXT,
    TIME_KINDS,
    UNCONSTRAINED_NUMERIC,
    DataType,
    Kind,
)
from millrace.sources.bson_values import (
    Converters,
    Unfit,
    decimal_text,
    document_text,
    exact_float,
    float32,
    integral,
    make_range_check,
)
from millrace.sources.json_numbers import FloatInFull

TYPE_OF: Mapping[type, DataType] = {
    bool: BOOLEAN, int: INT64, float: FLOAT64, str: TEXT, list: DOCUMENT, dict: DOCUMENT,
    FloatInFull: FLOAT64, Decimal: UNCONSTRAINED_NUMERIC,
}  # fmt: skip
"""The type of a column whose first values have this Python type."""

_DIGITS = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_DIGITS_OF_64_BITS = 19
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_LOCAL = r"^\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?$"
_OFFSET = r"[+-]\d{2}:?\d{2}$"
_FORMAT = "%Y-%m-%dT%H:%M:%S%.f"


def find_converters(data_type: DataType) -> Converters:
    """Return the Python types that go into a column, each with its conversion (None: as it is)."""
    if data_type.kind is Kind.DECIMAL:
        convert = decimal_text(data_type.precision or MAX_PRECISION, data_type.scale or 0)
        return {
            **dict.fromkeys((int, Decimal, FloatInFull), convert),
            float: lambda value: convert(repr(value)),
            str: lambda value: convert(_decimal(value)),
        }
    return _ACCEPTED.get(data_type.kind, {})


def parse_times(texts: pl.Series, data_type: DataType) -> pl.Series:
    """Parse times from their texts; null where a text is no time.

    A timestamp must have an offset if its column has a zone, and must have none otherwise.
    """
    text = texts.str.replace(" ", "T")
    if data_type.kind is Kind.DATE:
        return _where(text.str.to_date("%Y-%m-%d", strict=False), text.str.contains(_DATE))
    if data_type.kind is Kind.TIMESTAMP:
        return _where(text.str.to_datetime(_FORMAT, time_unit="us", strict=False), text.str.contains(_LOCAL))
    text = text.str.replace("Z$", "+0000")
    local = text.str.replace(_OFFSET, "")
    instants = text.str.to_datetime(f"{_FORMAT}%z", time_unit="us", time_zone="UTC", strict=False)
    return _where(instants, local.str.contains(_LOCAL) & (local != text))


def _where(moments: pl.Series, is_right: pl.Series) -> pl.Series:
    """Return the moments whose text has the right form; null for others and for the year 0, which no warehouse has."""
    return moments.set(~is_right | (moments.dt.year() < 1), None)


def _whole(bits: int, text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise Unfit("type_mismatch")
    return _integer(bits, Decimal(text))


def _integer(bits: int, number: Decimal) -> int:
    """Return a whole number. A number of very many digits is never written out."""
    if not number.is_finite() or number.adjusted() >= _DIGITS_OF_64_BITS:
        raise Unfit("number_does_not_fit")
    if number != number.to_integral_value():
        raise Unfit("type_mismatch")
    return make_range_check(bits)(int(number))


def _no_float(_: Decimal) -> float:
    raise Unfit("number_does_not_fit")


def _decimal(text: str) -> str:
    if not _DECIMAL.fullmatch(text):
        raise Unfit("type_mismatch")
    return text


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unfit("type_mismatch") from None


def _integers(bits: int) -> Mapping[type, Callable[[Any], Any]]:
    in_range = make_range_check(bits)
    exact = partial(_integer, bits)
    return {
        int: in_range,
        float: lambda value: in_range(integral(value)),
        str: partial(_whole, bits),
        Decimal: exact,
        FloatInFull: exact,
    }


_ACCEPTED: Mapping[Kind, Converters] = {
    Kind.BOOLEAN: {bool: None},
    Kind.INT16: _integers(16),
    Kind.INT32: _integers(32),
    Kind.INT64: _integers(64),
    Kind.FLOAT32: {
        float: float32,
        int: lambda value: float32(exact_float(value)),
        FloatInFull: lambda value: float32(float(value)),
        Decimal: _no_float,
    },
    Kind.FLOAT64: {float: None, int: exact_float, FloatInFull: float, Decimal: _no_float},
    Kind.TEXT: {str: None},
    **{kind: {str: None} for kind in TIME_KINDS},
    Kind.BINARY: {str: _bytes},
    Kind.DOCUMENT: dict.fromkeys(TYPE_OF, document_text),
}
