"""Elements of arrays of documents: which columns they fill, and whether these hold them exactly.

An array is JSON, as a column of documents holds it: moments are texts in ISO 8601, decimals may be texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache, partial
from math import isfinite
from typing import Any

import polars as pl

from millrace.base.naming import column_name

MISMATCH, DOES_NOT_FIT, TOO_DEEP = "type_mismatch", "number_does_not_fit", "too_deep"
LARGEST_EXACT_FLOAT, LARGEST_INTEGER = 2**53, 2**64
MOMENTS = (pl.Datetime, pl.Date)
Converter = Callable[[Any, str], Any]


class UnfitElement(ValueError):
    """A value that its column cannot hold exactly; ``reason`` is the code of the reject."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, path


@dataclass
class Elements:
    """The elements of the arrays of some rows, column by column."""

    values: dict[str, list[Any]]
    """The values of each column."""
    rows: list[int] = field(default_factory=list)
    """The index of the row that each element belongs to."""
    ordinals: list[int] = field(default_factory=list)
    """The place of each element in its array; the first one is 0."""
    rejected: dict[int, tuple[str, str]] = field(default_factory=dict)
    """The rows with an array that the columns cannot hold: index, reason and field."""

    def frame(self, dtypes: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return the elements as a frame with these types."""
        return pl.DataFrame([pl.Series(name, self.values[name], dtype=dtype) for name, dtype in dtypes.items()])


def read_elements(
    arrays: Sequence[str | None], path: str, dtypes: Mapping[str, pl.DataType], redacted: frozenset[str] = frozenset()
) -> Elements:
    """Take apart arrays of documents, each the JSON of one row; ``path`` is their field.

    ``dtypes`` are the types of the columns; fields without a column are left out. ``redacted`` are columns that are
    NULL. A row without an array has no elements.
    """
    elements = Elements({name: [] for name in dtypes})
    converters = {name: _nothing if name in redacted else find_converter(dtype) for name, dtype in dtypes.items()}
    for index, text in enumerate(arrays):
        try:
            found = [_convert(element, path, converters) for element in _parse(text, path)]
        except UnfitElement as error:
            elements.rejected[index] = (error.reason, error.path)
            continue
        except RecursionError:
            elements.rejected[index] = (TOO_DEEP, path)
            continue
        elements.rows += [index] * len(found)
        elements.ordinals += range(len(found))
        for name, values in elements.values.items():
            values += [element.get(name) for element in found]
    return elements


def is_of_elements(dtype: pl.DataType | type[pl.DataType]) -> bool:
    """Return whether a column of this type can hold a field of an element."""
    if dtype == pl.Datetime:
        return dtype == pl.Datetime("us", getattr(dtype, "time_zone", None))
    plain = dtype in {pl.String, pl.Boolean, pl.Date, pl.Float64}
    return plain or dtype.is_integer() or dtype.is_decimal()


def _parse(text: str | None, path: str) -> list[dict[str, Any]]:
    try:
        found = None if text is None else json.loads(text, parse_float=Decimal)
    except ValueError:  # Python reads no whole number of more than 4,300 digits.
        raise UnfitElement(DOES_NOT_FIT, path) from None
    if found is None:
        return []
    if not isinstance(found, list):
        raise UnfitElement(MISMATCH, path)
    if not all(isinstance(element, dict) for element in found):
        raise UnfitElement(MISMATCH, f"{path}[]")
    return found


def _convert(element: Mapping[str, Any], path: str, converters: Mapping[str, Converter]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field_path, value in _flatten(element, ""):
        name = _name_of(field_path)
        if name not in converters or value is None:
            continue
        if name in values:
            raise UnfitElement(MISMATCH, f"{path}.{field_path}")
        values[name] = converters[name](value, f"{path}.{field_path}")
    return values


_name_of = lru_cache(10_000)(column_name)


def _flatten(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every field with its path, also the fields of embedded documents."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        yield f"{prefix}{name}", value


def find_converter(dtype: pl.DataType) -> Converter:
    """Return the conversion of values of JSON into a column of this type.

    It is given the value and its path, and raises UnfitElement if the column does not hold the value exactly.
    """
    if dtype == pl.String:
        return partial(_require, str)
    if dtype == pl.Boolean:
        return partial(_require, bool)
    if dtype in MOMENTS:
        return partial(_moment, dtype)
    if dtype.is_decimal():
        return partial(_decimal, dtype)
    return partial(_integer, *_range_of(dtype)) if dtype.is_integer() else _float


def _nothing(_value: Any, _path: str) -> None:
    """Return NULL for every value."""


def _require(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        raise UnfitElement(MISMATCH, path)
    return value


def _require_number(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise UnfitElement(MISMATCH, path)


def _moment(dtype: pl.DataType, value: Any, path: str) -> date | datetime:
    try:
        moment = datetime.fromisoformat(_require(str, value, path))
    except ValueError:
        raise UnfitElement(MISMATCH, path) from None
    if isinstance(dtype, pl.Datetime):
        if (moment.tzinfo is None) != (dtype.time_zone is None):
            raise UnfitElement(MISMATCH, path)
        return moment
    if moment.time().isoformat() != "00:00:00":
        raise UnfitElement(MISMATCH, path)
    return moment.date()


def _decimal(dtype: Any, value: Any, path: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise UnfitElement(MISMATCH, path)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise UnfitElement(MISMATCH, path) from None
    if not number.is_finite():
        raise UnfitElement(DOES_NOT_FIT, path)
    context = Context(dtype.precision or 38, traps=[Inexact, InvalidOperation])
    try:
        return number.quantize(Decimal(1).scaleb(-dtype.scale), context=context)
    except (Inexact, InvalidOperation):
        raise UnfitElement(DOES_NOT_FIT, path) from None


def _integer(least: int, greatest: int, value: Any, path: str) -> int:
    _require_number(value, path)
    if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        raise UnfitElement(DOES_NOT_FIT, path)
    if value != int(value):
        raise UnfitElement(MISMATCH, path)
    number = int(value)
    if not least <= number <= greatest:
        raise UnfitElement(DOES_NOT_FIT, path)
    return number


def _range_of(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the greatest number of a type of whole numbers."""
    least, greatest = pl.select(least=dtype.min(), greatest=dtype.max()).row(0)  # type: ignore[attr-defined] # integers have them
    return int(least), int(greatest)


def _float(value: Any, path: str) -> float:
    _require_number(value, path)
    if isinstance(value, int) and abs(value) > LARGEST_EXACT_FLOAT:
        raise UnfitElement(DOES_NOT_FIT, path)
    if not isfinite(number := float(value)):
        raise UnfitElement(DOES_NOT_FIT, path)
    return number
