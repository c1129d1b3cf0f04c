"""Single BSON values: which Python types a column of each kind accepts, and how one is converted without loss."""

from __future__ import annotations

import base64
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from ctypes import c_float
from datetime import date, datetime, time
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

import orjson
from bson import Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from millrace.base.types import BSON, MAX_PRECISION, DataType, Kind
from millrace.sources.json_numbers import FloatInFull
from millrace.sources.json_text import NUL_ESCAPE

EXACT_FLOAT_INTEGERS = 2**53
DOCUMENT_DIGITS, DOCUMENT_EXPONENT = MAX_PRECISION, 308
"""Most digits, and the greatest power of ten, of a number inside a document: what both warehouses hold exactly."""


class Unfit(ValueError):
    """A value that its column cannot hold exactly; ``reason`` is the reject's code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


TYPE_OF: Mapping[type, DataType] = {
    bool: BSON["bool"], int: BSON["int"], Int64: BSON["long"], float: BSON["double"], str: BSON["string"],
    datetime: BSON["date"], DatetimeMS: BSON["date"], ObjectId: BSON["objectId"], Decimal128: BSON["decimal"],
    bytes: BSON["binData"], Binary: BSON["binData"], uuid.UUID: BSON["uuid"], Timestamp: BSON["timestamp"],
    Regex: BSON["regex"], list: BSON["array"], dict: BSON["object"],
}  # fmt: skip
"""The type of a column whose values decode to this Python type."""


def integral(value: float) -> int:
    """Return a whole number of 64 bits, or raise Unfit."""
    if not value.is_integer() or not -(2**63) <= value < 2**63:
        raise Unfit("type_mismatch")
    return int(value)


def exact_float(value: int) -> float:
    """Return the float that is exactly the number, or raise Unfit."""
    if abs(value) > EXACT_FLOAT_INTEGERS:
        raise Unfit("number_does_not_fit")
    return float(value)


def decimal_text(precision: int, scale: int) -> Callable[[Decimal128 | Decimal | int | str], str]:
    """Return a conversion into the digits of a decimal; a text must consist of digits."""
    last_digit, exactly = Decimal(1).scaleb(-scale), Context(precision, traps=[Inexact, InvalidOperation])

    def convert(value: Decimal128 | Decimal | int | str) -> str:
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
        try:
            scaled = number.quantize(last_digit, context=exactly)
        except (Inexact, InvalidOperation):
            raise Unfit("number_does_not_fit") from None
        if not scaled.is_finite():
            raise Unfit("number_does_not_fit")
        return f"{scaled:f}"

    return convert


def make_range_check(bits: int) -> Callable[[int], int]:
    """Return a conversion into a whole number of so many bits."""

    def convert(value: int) -> int:
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise Unfit("number_does_not_fit")
        return value

    return convert


def _out_of_range(_: DatetimeMS) -> None:
    """Raise Unfit for a moment outside the years 1 to 9999, which Python's datetime holds."""
    raise Unfit("date_out_of_range")


REGEX_FLAGS = {"i": re.I, "l": re.L, "m": re.M, "s": re.S, "u": re.U, "x": re.X}


def regex_text(value: Any) -> str:
    """Return a regular expression as MongoDB writes it: ``/pattern/i``."""
    letters = "".join(letter for letter, flag in REGEX_FLAGS.items() if value.flags & flag)
    return f"/{value.pattern}/{letters}"


def float32(value: float) -> float:
    """Return a float that 32 bits hold exactly, or raise Unfit."""
    if not math.isnan(value) and c_float(value).value != value:
        raise Unfit("number_does_not_fit")
    return value


def _day(value: datetime) -> date:
    if value.time() != time():
        raise Unfit("type_mismatch")
    return value.date()


def timestamp_text(value: Timestamp) -> str:
    """Return seconds and ordinal of a timestamp: ``1700000000.7``."""
    return f"{value.time}.{value.inc}"


def _number(value: Decimal) -> orjson.Fragment:
    """Return all digits of a decimal, as a number of JSON."""
    is_moderate = value.is_finite() and abs(value.adjusted()) <= DOCUMENT_EXPONENT
    if not is_moderate or len(value.as_tuple().digits) > DOCUMENT_DIGITS:
        raise Unfit("number_does_not_fit")
    return orjson.Fragment(str(value))


_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC | orjson.OPT_PASSTHROUGH_SUBCLASS
"""Subclasses are passed on, because JavaScript code is a subclass of text but is not text."""


def document_text(value: Any) -> str:
    """Return canonical JSON: keys sorted, no blanks.

    A value without a form in JSON becomes text; a value without any form raises Unfit.
    """
    try:
        dumped = orjson.dumps(value, default=_write_embedded, option=_CANONICAL).decode()
    except orjson.JSONEncodeError as error:
        raise (error.__cause__ if isinstance(error.__cause__, Unfit) else Unfit("no_json_form")) from None
    if "null" in dumped:
        _refuse_not_a_number(value)
    if "\\u0000" in dumped and NUL_ESCAPE.search(dumped):
        raise Unfit("nul_character")
    return dumped


def _write_embedded(value: Any) -> Any:
    converter = _EMBEDDED.get(type(value))
    if converter is None:
        raise Unfit("no_json_form")
    return converter(value)


def _refuse_not_a_number(value: Any) -> None:
    """Raise Unfit for NaN and infinity: orjson writes them as null, the slower encoder refuses them."""
    try:
        json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        raise Unfit("not_a_number_in_document") from None


_EMBEDDED: Mapping[type, Callable[[Any], Any]] = {
    Int64: int, ObjectId: str, Decimal128: str, uuid.UUID: str, Timestamp: timestamp_text, Regex: regex_text,
    DatetimeMS: _out_of_range, Decimal: _number, FloatInFull: _number,
    bytes: lambda value: base64.b64encode(value).decode(),
    Binary: lambda value: base64.b64encode(value).decode(),
}  # fmt: skip

Converters = Mapping[type, Callable[[Any], Any] | None]


def find_converters(data_type: DataType) -> Converters:
    """Return the Python types that go into a column, each with its conversion (None: as it is)."""
    if data_type.kind is Kind.DECIMAL:
        convert = decimal_text(data_type.precision or MAX_PRECISION, data_type.scale or 0)
        return {Decimal128: convert, int: convert, Int64: convert}
    return _ACCEPTED.get(data_type.kind, {})


_ACCEPTED: Mapping[Kind, Converters] = {
    Kind.BOOLEAN: {bool: None},
    Kind.INT16: {int: make_range_check(16), Int64: make_range_check(16)},
    Kind.INT32: {int: make_range_check(32), Int64: make_range_check(32)},
    Kind.INT64: {int: None, Int64: None, float: integral},
    Kind.FLOAT32: {float: float32},
    Kind.FLOAT64: {float: None, int: exact_float, Int64: exact_float},
    Kind.TEXT: {str: None, ObjectId: str, uuid.UUID: str, Regex: regex_text, Timestamp: timestamp_text},
    Kind.DATE: {datetime: _day, DatetimeMS: _out_of_range},
    Kind.TIMESTAMP: {datetime: None, DatetimeMS: _out_of_range},
    Kind.TIMESTAMP_UTC: {datetime: None, DatetimeMS: _out_of_range},
    Kind.BINARY: {bytes: None, Binary: bytes},
    Kind.DOCUMENT: dict.fromkeys(TYPE_OF, document_text),
}
