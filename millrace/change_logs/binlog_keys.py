"""Parts of keys as the log of MySQL and MariaDB holds them, and as the server renders them in a SELECT.

Both are compared for every type and its limits by tests/millrace/change_logs/test_binlog_keys.py.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from functools import partial

from millrace.base.types import mysql_type_name
from millrace.change_logs.binlog_rows import DIGIT_BYTES, LoggedKeyColumn, Render

UTF8 = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})
"""Character sets whose texts are bytes of UTF-8."""
LATIN1 = "latin1"
_INTEGERS = {"tinyint": 1, "smallint": 2, "mediumint": 9, "int": 3, "bigint": 8}
_DATES, _DATETIME, _TIMESTAMP, _DECIMAL, _STRING, _VARCHAR = frozenset({10, 14}), 18, 17, 246, 254, 15
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)  # noqa: DTZ001 (the log has no zones)
_ZERO_OF_DATETIME = 1 << 39
_GROUP_DIGITS, _GROUP_BYTES = 9, 4
_UNDEFINED = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
"""Bytes to which cp1252 gives no character; MySQL takes them for control characters."""
_CHARACTERS = [chr(byte) if byte in _UNDEFINED else bytes([byte]).decode("cp1252") for byte in range(256)]
"""The characters of what MySQL calls latin1."""


def find_key_column(position: int, column_type: str, charset: str | None) -> LoggedKeyColumn | None:
    """Return how the log holds a column that is part of a key; None: its type is not one that can be read there.

    ``position`` counts the columns of the table from 0; ``column_type`` and ``charset`` are those of the catalog.
    """
    name, measures = mysql_type_name(column_type), [int(digits) for digits in re.findall(r"\d+", column_type)]
    found: tuple[frozenset[int], Render] | None = None
    if name in _INTEGERS:
        found = frozenset({_INTEGERS[name]}), partial(_integer, is_signed="unsigned" not in column_type)
    elif name == "decimal":
        found = frozenset({_DECIMAL}), partial(_decimal, whole=measures[0] - measures[1], scale=measures[1])
    elif name == "date":
        found = _DATES, _date
    elif name in {"datetime", "timestamp"}:
        kind, render = (_DATETIME, _datetime) if name == "datetime" else (_TIMESTAMP, _timestamp)
        found = frozenset({kind}), render
    elif name in {"char", "varchar"} and charset in UTF8 | {LATIN1}:
        found = frozenset({_STRING if name == "char" else _VARCHAR}), _latin1 if charset == LATIN1 else bytes.hex
    elif name == "binary":
        found = frozenset({_STRING}), partial(_pad, length=measures[0])
    elif name == "varbinary":
        found = frozenset({_VARCHAR}), bytes.hex
    return LoggedKeyColumn(position, *found) if found else None


def _integer(data: bytes, *, is_signed: bool) -> str:
    return str(int.from_bytes(data, "little", signed=is_signed))


def _decimal(data: bytes, *, whole: int, scale: int) -> str:
    """Return a decimal: groups of nine digits in four bytes, the rest in fewer; the first bit is the sign, inverted."""
    is_negative = not data[0] & 0x80
    data = bytes([data[0] ^ 0x80, *data[1:]])
    if is_negative:
        data = bytes(byte ^ 0xFF for byte in data)
    rest = whole % _GROUP_DIGITS
    digits, offset = "", 0
    lengths = [rest, *[_GROUP_DIGITS] * (whole // _GROUP_DIGITS)]
    fraction = [*[_GROUP_DIGITS] * (scale // _GROUP_DIGITS), scale % _GROUP_DIGITS]
    for length in [*lengths, *fraction]:
        size = DIGIT_BYTES[length]
        digits += str(int.from_bytes(data[offset : offset + size], "big")).zfill(length) if length else ""
        offset += size
    number = digits[:whole].lstrip("0") or "0"
    return ("-" if is_negative else "") + (f"{number}.{digits[whole:]}" if scale else number)


def _date(data: bytes) -> str:
    number = int.from_bytes(data, "little")
    year, month, day = number >> 9, number >> 5 & 15, number & 31
    try:
        return str(date(year, month, day).toordinal() - _EPOCH_DAY)
    except ValueError:
        return f"{year:04}-{month:02}-{day:02}"


def _datetime(data: bytes) -> str:
    number = int.from_bytes(data[:5], "big") - _ZERO_OF_DATETIME
    year, month = divmod(number >> 22, 13)
    day, hour, minute, second = number >> 17 & 31, number >> 12 & 31, number >> 6 & 63, number & 63
    try:
        moment = datetime(year, month, day, hour, minute, second, _fraction(data[5:]))  # noqa: DTZ001 (it has no zone)
    except ValueError:
        return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
    return str((moment - _EPOCH) // _MICROSECOND)


def _timestamp(data: bytes) -> str:
    second = int.from_bytes(data[:4], "big")
    # Zero is no moment for MySQL.
    return str(second * 1_000_000 + _fraction(data[4:])) if second else "0000-00-00 00:00:00"


def _fraction(data: bytes) -> int:
    """Return microseconds: of two digits in one byte, four in two or six in three."""
    return int.from_bytes(data, "big") * 100 ** (3 - len(data)) if data else 0


def _latin1(data: bytes) -> str:
    return "".join([_CHARACTERS[byte] for byte in data]).encode().hex()


def _pad(data: bytes, *, length: int) -> str:
    """Return bytes of a fixed length: the log leaves out zeros at the end."""
    return data.ljust(length, b"\x00").hex()
