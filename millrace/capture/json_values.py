"""Single values of JSON: which Python types a column of each kind accepts, and how one is converted without loss.

JSON has no moments and few numbers: a column that was declared as a moment takes its text (ISO 8601, with T or a
blank), and one that was declared as a number takes digits. What does not belong here: messages as a whole
(messages.py).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from millrace.capture.bson_values import (
    Converters,
    Unfit,
    decimal_text,
    document_text,
    exact_float,
    float32,
    integral,
    ranged,
)
from millrace.types import BOOLEAN, DOCUMENT, FLOAT64, INT64, MAX_PRECISION, TEXT, DataType, Kind

TYPE_OF: Mapping[type, DataType] = {
    bool: BOOLEAN, int: INT64, float: FLOAT64, str: TEXT, list: DOCUMENT, dict: DOCUMENT,
}  # fmt: skip
"""The type of a column whose values are of this Python type."""

_DIGITS = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})?", re.ASCII
)


def accepted(data_type: DataType) -> Converters:
    """The Python types that go into a column, each with its conversion (None: as it is)."""
    if data_type.kind is Kind.DECIMAL:
        convert = decimal_text(data_type.precision or MAX_PRECISION, data_type.scale or 0)
        return {int: convert, float: lambda value: convert(repr(value)), str: lambda value: convert(_decimal(value))}
    return _ACCEPTED.get(data_type.kind, {})


def _whole(bits: int, text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise Unfit("type_mismatch")
    return ranged(bits)(int(text))


def _decimal(text: str) -> str:
    if not _DECIMAL.fullmatch(text):
        raise Unfit("type_mismatch")
    return text


def _moment(text: str) -> datetime:
    if not _MOMENT.fullmatch(text):
        raise Unfit("type_mismatch")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Unfit("type_mismatch") from None


def _local(text: str) -> datetime:
    """One without an offset: with it another column's type would have been declared."""
    moment = _moment(text)
    if moment.tzinfo is not None:
        raise Unfit("type_mismatch")
    return moment


def _instant(text: str) -> datetime:
    """One with an offset, in UTC."""
    moment = _moment(text)
    if moment.tzinfo is None:
        raise Unfit("type_mismatch")
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise Unfit("date_out_of_range") from None


def _day(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise Unfit("type_mismatch")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Unfit("type_mismatch") from None


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unfit("type_mismatch") from None


def _integers(bits: int) -> Mapping[type, Callable[[Any], Any]]:
    in_range = ranged(bits)
    return {int: in_range, float: lambda value: in_range(integral(value)), str: partial(_whole, bits)}


_ACCEPTED: Mapping[Kind, Converters] = {
    Kind.BOOLEAN: {bool: None},
    Kind.INT16: _integers(16),
    Kind.INT32: _integers(32),
    Kind.INT64: _integers(64),
    Kind.FLOAT32: {float: float32, int: lambda value: float32(exact_float(value))},
    Kind.FLOAT64: {float: None, int: exact_float},
    Kind.TEXT: {str: None},
    Kind.DATE: {str: _day},
    Kind.TIMESTAMP: {str: _local},
    Kind.TIMESTAMP_UTC: {str: _instant},
    Kind.BINARY: {str: _bytes},
    Kind.DOCUMENT: dict.fromkeys(TYPE_OF, document_text),
}
