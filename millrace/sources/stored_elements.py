"""Values of the elements of an array as the parent's column holds them: JSON of values that were accepted before.

What the source calls a moment, a decimal or bytes is a text there, and the type of the column tells which it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from millrace.base.types import MAX_PRECISION, DataType, Kind
from millrace.sources.bson_values import Converters, Unfit, decimal_text
from millrace.sources.json_numbers import FloatInFull
from millrace.sources.json_values import find_converters as find_json_converters


def find_converters(data_type: DataType) -> Converters:
    """Return the Python types that go into a column, each with its conversion (None: as it is)."""
    if data_type.kind is Kind.DECIMAL:
        convert = decimal_text(data_type.precision or MAX_PRECISION, data_type.scale or 0)
        # Decimal128 is written as its own text, which may have an exponent.
        return {**find_json_converters(data_type), str: convert}
    return {**find_json_converters(data_type), **_OTHERS.get(data_type.kind, {})}


def _instant(text: str) -> datetime:
    """Return a moment in UTC, without a zone, as BSON gives it."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _wall_clock(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)


def _day(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _float(number: int) -> float:
    """Return the float that a whole number was written for: a JSONB of Postgres writes 1e17 without an exponent."""
    if int(float(number)) != number:
        raise Unfit("number_does_not_fit")
    return float(number)


_OTHERS: Mapping[Kind, Mapping[type, Any]] = {
    Kind.DATE: {str: _day},
    Kind.TIMESTAMP: {str: _wall_clock},
    Kind.TIMESTAMP_UTC: {str: _instant},
    Kind.FLOAT64: {int: _float, Decimal: float, FloatInFull: float},
}
