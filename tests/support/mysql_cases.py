"""Every type of MySQL that the warehouse can hold, with values at its edges.

A value is a SQL expression. It arrives as what the case says, or is rejected with the reason given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tests.support.postgres_cases import TEXTS as SQL_TEXTS

SESSION = (
    "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
    "SET SESSION time_zone = '+00:00'",
    "SET NAMES utf8mb4",
)
"""What a session needs that writes these values."""


@dataclass(frozen=True)
class Case:
    """A column of ``sql_type``: ``values`` arrive as what they are mapped to, ``rejected`` (value to reason) do not."""

    name: str
    sql_type: str
    values: Mapping[str, Any]
    rejected: Mapping[str, str] = field(default_factory=dict)


def literal(value: str) -> str:
    """A text as a SQL expression, whatever is in it."""
    return f"_utf8mb4 X'{value.encode().hex()}'" if value else "''"


def as_given(*values: Any) -> dict[str, Any]:
    """Numbers and simple texts that arrive as they are written."""
    return {f"'{value}'" if isinstance(value, str) else str(value): value for value in values}


def texts(*values: str) -> dict[str, Any]:
    """Any texts."""
    return {literal(value): value for value in values}


def decimals(*values: str) -> dict[str, Any]:
    """Decimals, as they are written."""
    return {value: Decimal(value) for value in values}


def dates(*values: str) -> dict[str, Any]:
    """Days of the calendar."""
    return {f"'{value}'": date.fromisoformat(value) for value in values}


def moments(*values: str, zone: str = "") -> dict[str, Any]:
    """Moments, of a zone or of none."""
    return {f"'{value}'": datetime.fromisoformat(value + zone) for value in values}


def documents(*values: Any) -> dict[str, Any]:
    """Values as JSON."""
    return {literal(json.dumps(value, ensure_ascii=False)): value for value in values}


TEXTS = tuple(text[1:-1].replace("''", "'") for text in SQL_TEXTS)
HOSTILE = texts(*TEXTS, "`", "back\\'slash", "＂fullwidth＂", "-- x", "/*! x */", "trailing ")
NUL = {literal("\x00"): "nul_character", literal("a\x00b"): "nul_character"}
ALL_BYTES = bytes(range(256))
LATIN = "".join(chr(code) for code in range(0xA0, 0x100)) + "€‚ƒ"
NOT_IN_THE_CALENDAR = {
    "'0000-00-00'": "zero_date",
    "'2020-00-00'": "zero_date",
    "'2020-01-00'": "zero_date",
    "'2021-02-31'": "date_out_of_range",
    "'0000-05-05'": "date_out_of_range",
}
DOCUMENTS = documents(
    {}, [], {"a": [1, 2.5, None, True, "x"]}, "text", 7, None, {'q"uo`te': "a,b\n'\\"}, {"ключ": "😀"}, [[[[]]]],
    {"big": 9007199254740993},
)  # fmt: skip

CASES = (
    Case("tinyint", "tinyint", as_given(-128, 0, 127)),
    Case("tinyint_unsigned", "tinyint unsigned", as_given(0, 255)),
    Case("smallint", "smallint", as_given(-32768, 0, 32767)),
    Case("smallint_unsigned", "smallint unsigned", as_given(0, 65535)),
    Case("mediumint", "mediumint", as_given(-8388608, 8388607)),
    Case("mediumint_unsigned", "mediumint unsigned", as_given(0, 16777215)),
    Case("integer", "int", as_given(-2147483648, 0, 2147483647)),
    Case("int_unsigned", "int unsigned", as_given(0, 4294967295)),
    Case("int_zerofill", "int(8) zerofill", as_given(0, 42)),
    Case("bigint", "bigint", as_given(-9223372036854775808, 9007199254740993, 9223372036854775807)),
    Case("bigint_unsigned", "bigint unsigned", {"0": Decimal(0), "18446744073709551615": Decimal(2**64 - 1)}),
    Case(
        "flag",
        "tinyint(1)",
        {"true": True, "false": False},
        dict.fromkeys(("5", "-1", "127", "-128", "2"), "type_mismatch"),
    ),
    Case("bit_1", "bit(1)", {"b'0'": False, "b'1'": True}),
    Case("bit_8", "bit(8)", {"b'0'": Decimal(0), "b'11111111'": Decimal(255), "b'00110001'": Decimal(49)}),
    Case("bit_64", "bit(64)", {"b'0'": Decimal(0), f"b'{'1' * 64}'": Decimal(2**64 - 1)}),
    Case("year", "year", as_given(1901, 2155, 2024) | {"0": 0, "'0000'": 0}),
    Case("float", "float", as_given(0.0, 0.1, 16777216.0, 1.234567, 3.4028235e38, 1.17549435e-38, -1e-45)),
    Case("float_measured", "float(7,3)", as_given(0.0, 1234.567, -0.001)),
    Case(
        "double",
        "double",
        as_given(0.0, 0.1, 0.30000000000000004, -1.2345678901234567e-89)
        | as_given(5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308)
        | {"9007199254740993": 9007199254740992.0, "123456789.123456789": 123456789.123456789},
    ),
    Case("double_measured", "double(10,2)", as_given(0.0, 12345678.91, -0.3)),
    Case("money", "decimal(12,2)", decimals("0.00", "-0.01", "9999999999.99", "-9999999999.99", "1.10")),
    Case("money_zerofill", "decimal(8,2) zerofill", decimals("0.00", "7.50")),
    Case("whole", "decimal(10)", decimals("0", "9999999999")),
    Case("widest", "decimal(38,9)", decimals(f"{'9' * 29}.{'9' * 9}", f"-{'9' * 29}.{'9' * 9}", "0.000000001")),
    Case(
        "more_than_38",
        "decimal(65,4)",
        decimals(f"{'9' * 34}.9999", f"-{'9' * 34}.9999", "1.5000"),
        dict.fromkeys((f"{'9' * 35}", f"-{'9' * 61}.9999"), "number_does_not_fit"),
    ),
    Case(
        "scale_of_30",
        "decimal(65,30)",
        decimals("1.5", f"-12345678.{'1' * 30}"),
        {f"123456789.{'1' * 30}": "number_does_not_fit"},
    ),
    Case("char", "char(20)", texts("", "a", " leading", "中文😀") | {"'padded   '": "padded"}),
    Case("varchar", "varchar(200)", HOSTILE, NUL),
    Case("tinytext", "tinytext", texts("", "é")),
    Case("text", "text", HOSTILE, NUL),
    Case("mediumtext", "mediumtext", texts("x" * 60_000)),
    Case("longtext", "longtext", texts("", "a\r\nb"), {f"REPEAT({literal('é')}, 33000)": "too_long"}),
    Case("unicode_ci", "varchar(50) COLLATE utf8mb4_unicode_ci", texts('"', "＂", "a＂b", "ａ，ｂ")),
    Case("latin1", "varchar(200) CHARACTER SET latin1", texts(LATIN, 'a"b,c', "")),
    Case("cp1251", "text CHARACTER SET cp1251", texts("Привет, \"мир\"", "")),
    Case("utf8mb3", "varchar(50) CHARACTER SET utf8mb3", texts("中文", "é")),
    Case("utf16", "varchar(50) CHARACTER SET utf16", texts("中文😀", 'a"b')),
    Case("enumeration", """enum('sad', 'it''s "fine", really', 'glücklich 😀', '')""", texts(
        "sad", 'it\'s "fine", really', "glücklich 😀", "")),
    Case("set_of", "set('a', 'b c', 'd\"e')", texts("", "a", 'a,b c,d"e')),
    Case("binary_4", "binary(4)", {"X'00ff'": b"\x00\xff\x00\x00", "''": b"\x00" * 4, "X'31323334'": b"1234"}),
    Case("varbinary", "varbinary(300)", {"''": b"", "X'00'": b"\x00", f"X'{ALL_BYTES.hex()}'": ALL_BYTES}),
    Case("tinyblob", "tinyblob", {"''": b"", "X'22'": b'"'}),
    Case("blob", "blob", {f"X'{ALL_BYTES.hex()}'": ALL_BYTES}),
    Case("mediumblob", "mediumblob", {"X'0d0a'": b"\r\n"}),
    Case("longblob", "longblob", {"X'5c'": b"\\"}),
    Case(
        "date",
        "date",
        dates("0001-01-01", "1582-10-10", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"),
        NOT_IN_THE_CALENDAR,
    ),
    Case(
        "datetime",
        "datetime",
        moments("2024-02-29 23:59:59", "1969-12-31 23:59:59", "0001-01-01 00:00:00"),
        {"'0000-00-00 00:00:00'": "zero_date"},
    ),
    Case(
        "datetime_6",
        "datetime(6)",
        moments(
            *("0001-01-01 00:00:00.000001", "1500-02-28 12:00:00.500000", "1969-12-31 23:59:59.999999"),
            *("2024-03-31 02:30:00.000001", "9999-12-31 23:59:59.999999"),
        ),
        NOT_IN_THE_CALENDAR | {"'2020-01-00 10:11:12.5'": "zero_date"},
    ),
    Case(
        "timestamp",
        "timestamp NULL",
        moments("1970-01-01 00:00:01", "2038-01-19 03:14:07", zone="+00:00"),
        {"0": "zero_date"},
    ),
    Case(
        "timestamp_6",
        "timestamp(6) NULL",
        moments(
            *("1970-01-01 00:00:01.000001", "2024-03-31 02:30:00.000001", "2024-10-27 00:30:00.000000"),
            "2038-01-19 03:14:07.999999",
            zone="+00:00",
        ),
    ),
    Case("time", "time", as_given("00:00:00", "838:59:59", "-838:59:59", "-00:00:01", "23:59:59")),
    Case("time_6", "time(6)", as_given("-838:59:58.999999", "24:00:00.000001", "00:00:00.000000")),
    Case("json", "json", DOCUMENTS, {literal('{"a":"\\u0000"}'): "nul_character"}),
    Case("generated", "varchar(20) AS (CONCAT(`tinyint`, '\"x')) VIRTUAL", {}),
)  # fmt: skip

UNSUPPORTED = ("geometry", "point", "linestring", "polygon", "multipoint", "multipolygon", "geometrycollection")
