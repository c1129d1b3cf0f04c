"""Reads trades.json, one document ``{"data": […]}`` of any size, record by record in bounded memory.

Coerces what JSON cannot say (dates, and doubles that happen to be whole) and names the reasons of records that cannot
be documents at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import bson
import ijson

from millrace.base.errors import ConfigurationError

Document = dict[str, Any]

FORMAT_REMEDY = 'give one complete JSON document {"data": [...]}; nothing of this file was imported'
STORED_ONLY = frozenset({"_id", "updatedAt"})
"""Fields that the collection adds to a record."""

_LARGEST_BYTES = 16 * 1024**2 - 1024
"""The size that MongoDB accepts, less the fields that the collection adds."""
_LEVELS = 100
"""So deep may a document of MongoDB be nested."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DOUBLES = ("asks", "bids")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class TradeRecord:
    """One record of the file.

    ``position`` in ``data`` is counted from 1; ``record`` is as in the file; ``document`` is what MongoDB stores, or
    ``reason`` says why it cannot (``path|rule``).
    """

    position: int
    record: Any
    document: Document
    reason: str = ""


class _Refused(Exception):
    """A record cannot become a document; the argument is the reason."""


def check_complete(path: Path) -> None:
    """Read the file to its end. Raises ConfigurationError when it is not a whole ``{"data": […]}``."""
    records = 0
    try:
        with _open(path) as file:
            has_data = any(event == ("data", "start_array", None) for event in ijson.parse(file))
        with _open(path) as file:
            for _ in ijson.items(file, "data.item"):
                records += 1
    except ijson.JSONError:
        # Its message shows values of the file.
        raise ConfigurationError(
            "is cut in the middle, or is not JSON", place=f"{path.name}, after record {records}", remedy=FORMAT_REMEDY
        ) from None
    if not has_data:
        raise ConfigurationError("has no list named data", place=path.name, remedy=FORMAT_REMEDY)


def read_trades(path: Path) -> Iterator[TradeRecord]:
    """Yield the records of a file that check_complete has accepted."""
    with _open(path) as file:
        for position, record in enumerate(ijson.items(file, "data.item"), 1):
            yield as_trade(position, record)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open the file after its byte order mark, if it has one."""
    with path.open("rb") as file:
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        yield file


def as_trade(position: int, record: Any) -> TradeRecord:
    """Return the record with its document, or with the reason why it has none."""
    try:
        return TradeRecord(position, record, _document(record))
    except _Refused as refused:
        return TradeRecord(position, record, {}, reason=str(refused))


def _document(record: Any) -> Document:
    if not isinstance(record, dict):
        raise _Refused("record|type")
    if not isinstance(record.get("id"), str):
        raise _Refused("id|missing")
    if STORED_ONLY & record.keys():
        raise _Refused("record|reserved_field")
    document: Document = _with_doubles(record)
    _coerce_doubles(document.get("details"))
    _coerce_date(document.get("time"))
    try:
        is_too_large = len(bson.encode(document)) > _LARGEST_BYTES
    except (bson.errors.InvalidDocument, OverflowError, UnicodeEncodeError):
        raise _Refused("record|not_representable") from None
    if is_too_large:
        raise _Refused("record|too_large")
    return document


def _with_doubles(value: Any, level: int = 1) -> Any:
    """Return a copy with doubles instead of decimals.

    The parser reads decimals, so that no number ends the whole file.
    """
    if isinstance(value, dict | list) and level > _LEVELS:
        raise _Refused("record|nested_too_deep")
    if isinstance(value, dict):
        return {name: _with_doubles(held, level + 1) for name, held in value.items()}
    if isinstance(value, list):
        return [_with_doubles(held, level + 1) for held in value]
    if not isinstance(value, Decimal):
        return value
    if math.isinf(number := float(value)):
        raise _Refused("record|number_out_of_range")
    return number


def _coerce_doubles(details: Any) -> None:
    if not isinstance(details, dict):
        return
    for name in _DOUBLES:
        if isinstance(numbers := details.get(name), list):
            details[name] = [_exact_double(number) for number in numbers]


def _exact_double(number: Any) -> Any:
    """Spell ``3`` as ``3.0``. Whole numbers that no double represents exactly stay, and the validator refuses them."""
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    return float(number) if is_whole and abs(number) <= 2**53 else number


def _coerce_date(time: Any) -> None:
    """Parse ISO text with a time zone and at most milliseconds, which a BSON date can represent."""
    if not isinstance(time, dict) or not isinstance(text := time.get("date"), str):
        return
    try:
        if not _MOMENT.fullmatch(text):
            raise _Refused("time.date|parse")
        time["date"] = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Refused("time.date|parse") from None
