"""Every type of BSON, with values at its edges, and what each is in the warehouse or why it is rejected.

Values of one field are typed together, as in a collection: the type that most of them have is the column's.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bson import Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS


@dataclass(frozen=True)
class Rejected:
    """The value's row is rejected for this reason."""

    reason: str


@dataclass(frozen=True)
class Json:
    """The column is a document that holds this."""

    value: Any


NOT_A_NUMBER = float("nan")
NUL, MISMATCH = Rejected("nul_character"), Rejected("type_mismatch")
DOES_NOT_FIT, OUT_OF_RANGE = Rejected("number_does_not_fit"), Rejected("date_out_of_range")
TOO_LONG = Rejected("too_long")
NO_FORM, NAN_INSIDE = Rejected("no_json_form"), Rejected("not_a_number_in_document")
IDENTIFIER = ObjectId("0123456789abcdef01234567")
UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
FAR = DatetimeMS(253_402_300_800_000)
"""The first moment of the year 10000."""

FIELDS: dict[str, Sequence[tuple[Any, Any]]] = {
    "double": [(value, value) for value in (0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, NOT_A_NUMBER)]
    + [(float("inf"), float("inf")), (float("-inf"), float("-inf"))],
    "int32": [(value, value) for value in (0, -(2**31), 2**31 - 1)],
    "int64": [(Int64(value), value) for value in (0, -(2**63), 2**63 - 1, 2**53 + 1)] + [(5, 5)],
    "decimal": [
        (Decimal128("0"), Decimal(0)),
        *((Decimal128(zero), Decimal(0)) for zero in ("-0", "0E-6176", "0E+6111", "-0.00")),
        (Decimal128("1.50"), Decimal("1.5")),
        (Decimal128("1E+3"), Decimal(1000)),
        (Decimal128("-1E-9"), Decimal("-0.000000001")),
        (Decimal128("9999999999999999999999999.999999999"), Decimal("9999999999999999999999999.999999999")),
        (Decimal128("12345678901234567890123456789"), Decimal("12345678901234567890123456789")),
        (Decimal128("1.000000000000000000000000000000000"), Decimal(1)),
        (7, Decimal(7)),
        (Int64(2**63 - 1), Decimal(2**63 - 1)),
        (Decimal128("1E-10"), DOES_NOT_FIT),
        (Decimal128("1234567890123456789012345678901234"), DOES_NOT_FIT),
        (Decimal128("9.999999999999999999999999999999999E+6144"), DOES_NOT_FIT),
        (Decimal128("1E-6176"), DOES_NOT_FIT),
        (Decimal128("NaN"), DOES_NOT_FIT),
        (Decimal128("sNaN"), DOES_NOT_FIT),
        (Decimal128("Infinity"), DOES_NOT_FIT),
        (Decimal128("-Infinity"), DOES_NOT_FIT),
        (1.5, MISMATCH),
    ],
    "string": [
        *((text, text) for text in ("", " ", "a,\"b\"\r\n'c'\\N \\.", "é€😀", "\ufeff", "NaN", "\\u0000", "\x01")),
        ("\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff", "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"),
        ("x" * 65_535, "x" * 65_535),
        ("😀" * 16_383 + "xyz", "😀" * 16_383 + "xyz"),
        ("€" * 21_846, TOO_LONG),
        ("\x00", NUL),
        ("a\x00b", NUL),
    ],
    "boolean": [(True, True), (False, False)],
    "date": [
        (moment, moment)
        for moment in (
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        )
    ]
    + [(FAR, OUT_OF_RANGE), (DatetimeMS(-62_135_596_800_001), OUT_OF_RANGE), (DatetimeMS(2**63 - 1), OUT_OF_RANGE)],
    "objectid": [(IDENTIFIER, "0123456789abcdef01234567")],
    "uuid": [(Binary.from_uuid(UUID), str(UUID))],
    "binary": [
        (b"", b""),
        (bytes(range(256)), bytes(range(256))),
        (Binary(b"\x00\xff", 128), b"\x00\xff"),
        (Binary(b"\x01" * 16, 3), b"\x01" * 16),
        (b"\xff" * 70_000, b"\xff" * 70_000),
    ],
    "timestamp": [(Timestamp(1_700_000_000, 7), "1700000000.7"), (Timestamp(0, 0), "0.0")],
    "regex": [(Regex("a/b", "imx"), "/a/b/imx"), (Regex("^é", 0), "/^é/")],
    "array": [
        ([], Json([])),
        ([1, None, "é", [True, {}]], Json([1, None, "é", [True, {}]])),
        ([{"b": 1, "a": {"c": [{"d": Int64(2**63 - 1)}]}}], Json([{"a": {"c": [{"d": 2**63 - 1}]}, "b": 1}])),
        ([IDENTIFIER, Binary.from_uuid(UUID)], Json([str(IDENTIFIER), str(UUID)])),
        ([Decimal128("1.50"), Decimal128("NaN")], Json(["1.50", "NaN"])),
        ([datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)], Json(["1969-12-31T23:59:59.999000+00:00"])),
        ([b"\x00\xff", Timestamp(1, 2), Regex("a", "i")], Json(["AP8=", "1.2", "/a/i"])),
        ([0.1, -0.5, 1e300, 5e-324], Json([0.1, -0.5, 1e300, 5e-324])),
        (["\\u0000", "null", 'q"'], Json(["\\u0000", "null", 'q"'])),
        ([{"a.b": 1, "$c": 2, "": 3, "ü": 4}], Json([{"a.b": 1, "$c": 2, "": 3, "ü": 4}])),
        ([NOT_A_NUMBER], NAN_INSIDE),
        ([None, {"a": float("inf")}], NAN_INSIDE),
        (["a\x00"], NUL),
        ([{"a": FAR}], OUT_OF_RANGE),
        ([Code("function() {}")], NO_FORM),
        ([Code("f()", {"x": 1})], NO_FORM),
        ([MinKey()], NO_FORM),
        ([MaxKey()], NO_FORM),
        ([DBRef("c", 1)], NO_FORM),
    ],
    "int_and_float": [(1, 1.0), (0.5, 0.5), (Int64(2**53), 2.0**53), (Int64(2**53 + 1), DOES_NOT_FIT)],
    "int_and_string": [(1, 1), (2, 2), ("two", MISMATCH)],
    "string_and_others": [("a", "a"), ("b", "b"), ("c", "c"), (1, MISMATCH), (True, MISMATCH), ([1], MISMATCH)],
    "boolean_and_int": [(True, True), (False, False), (1, MISMATCH)],
    "date_and_string": [
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)),
        ("2024-01-03", MISMATCH),
    ],
    "never_held": [
        (Code("function() {}"), MISMATCH),
        (Code("f()", {"x": 1}), MISMATCH),
        (MinKey(), MISMATCH),
        (MaxKey(), MISMATCH),
        (DBRef("c", 1), MISMATCH),
    ],
    "code_among_strings": [("a", "a"), ("b", "b"), (Code("c"), MISMATCH)],
    "null": [(None, None)],
    "with blank": [(1, 1)],
    "$dollar": [(1, 1)],
    'quo"te': [(1, 1)],
    "ünïcode": [(1, 1)],
    "camelCase": [(1, 1)],
    "x" * 200: [(1, 1)],
    "ü" * 100: [(1, 1)],
    "_row_hash": [(1, 1)],
    "9lives": [(1, 1)],
    " ": [(1, 1)],
    "": [(1, 1)],
    "dot.ted": [(1, 1)],
    ".": [(1, 1)],
    "a..b": [(1, 1)],
    "back\\slash": [(1, 1)],
    "it's; --": [(1, 1)],
    "percent %s %(x)s": [(1, 1)],
    "😀": [(1, 1)],
    "$": [(1, 1)],
    "select": [(1, 1)],
    "tab\there": [(1, 1)],
}
