"""Every kind of key that a sweep and a replay can compare, for Postgres, MySQL and MongoDB, and those that they cannot.

The first value's row is deleted, the second's updated, the third's inserted late; the others stay.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId
from bson.binary import Binary

PREPARE = """
CREATE TYPE mood AS ENUM ('it''s "so"', 'sad', 'glücklich 😀', 'c:\\new', 'plain');
CREATE DOMAIN positive AS numeric(12, 2) CHECK (VALUE > 0);
CREATE DOMAIN code AS varchar(8);
CREATE EXTENSION IF NOT EXISTS citext;
"""


@dataclass(frozen=True)
class TableKeys:
    """A key of the columns ``sql_types``; ``rows`` are SQL expressions, one per column."""

    sql_types: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """k0, k1, …"""
        return tuple(f"k{number}" for number in range(len(self.sql_types)))


@dataclass(frozen=True)
class DocumentKeys:
    """A key of the fields ``paths``; ``rows`` are documents that hold nothing but these."""

    paths: tuple[str, ...]
    rows: Sequence[dict[str, Any]]


def of(sql_type: str, *values: str) -> TableKeys:
    """One column."""
    return TableKeys((sql_type,), [(value,) for value in values])


def quoted(*values: str) -> tuple[str, ...]:
    """The values as SQL literals."""
    return tuple("'" + value.replace("'", "''") + "'" for value in values)


def ids(*values: Any) -> DocumentKeys:
    """The document's own key."""
    return DocumentKeys(("_id",), [{"_id": value} for value in values])


HEX, UUID = "0123456789abcdef01234567", uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
PAIRS = (("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("a", "b'c"))

TABLES = {
    "smallint": of("smallint", "-32768", "0", "32767", "1", "2"),
    "integer": of("integer", "-2147483648", "0", "2147483647", "1", "2"),
    "bigint": of("bigint", "-9223372036854775808", "9007199254740993", "9223372036854775807", "9007199254740992", "0"),
    "numeric": of("numeric(12, 2)", "-0.01", "9999999999.99", "1.10", "0", "1"),
    "numeric of 38 digits": of(
        "numeric(38, 9)",
        *(f"{'9' * 29}.{'9' * 9}", f"-{'9' * 29}.{'9' * 9}", "0.000000001", f"{'9' * 29}.{'9' * 8}8", "0"),
    ),
    "unconstrained numeric": of("numeric", "1.50000", "-0.000000001", f"{'9' * 29}", "1.5000001", "0"),
    "text": of(
        "text",
        *quoted("it's", '"', "\\", "", "\\N", "\\'; --", "%s %(x)s", "a,b", "a\r\nb", "\t", "NULL", "{}"),
        *quoted('{"$oid":1}', "  leading", "é", "e\u0301", "中文", "😀", "\U0010ffff", "\u200b"),
        *quoted(HEX, str(UUID), "ABC", "abc"),
    ),
    "varchar": of("varchar(10)", *quoted("'", "\\", "😀" * 10, "", " a")),
    "char": of("char(4)", *quoted("ab", " ab", "'\\", "", "😀")),
    "uuid": of("uuid", *quoted(str(UUID), str(UUID).replace("0", "1"), f"{0:032}", f"{1:032}", f"{2:032}")),
    "boolean": of("boolean", "true", "false"),
    "date": of("date", *quoted("0001-01-01", "1582-10-10", "9999-12-31", "1969-12-31", "2000-02-29")),
    "timestamp": of(
        "timestamp",
        *quoted("0001-01-01 00:00:00.000001", "1969-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        *quoted("2024-02-29 12:34:56.123456", "2024-02-29 12:34:56.123457"),
    ),
    "timestamptz": of(
        "timestamptz",
        *quoted("1883-11-18 12:03:58-04:56:02", "1969-12-31 23:59:59.999999+00", "2024-03-31 02:30:00.000001+05:45"),
        *quoted("2024-10-27 00:30:00+00", "2024-10-27 01:30:00+00"),
    ),
    "enum": of("mood", *quoted('it\'s "so"', "sad", "glücklich 😀", "c:\\new", "plain")),
    "domain": of("positive", "0.01", "9999999999.99", "1.10", "1", "2"),
    "domain of text": of("code", *quoted("'", "\\", "", "a", "b")),
    "citext": of("citext", *quoted("Straße", "ABC", "d'E", "f", "G")),
    "interval": of("interval", *quoted("1 year 2 mons", "-00:00:00.000001", "3 days", "1 sec", "0")),
    "inet": of("inet", *quoted("10.0.0.1", "10.0.0.0/8", "::1", "fe80::1/64", "10.0.0.1/31")),
    "bit": of("varbit", "B'0'", "B'00'", "B''", "B'1'", "B'01'"),
    "range": of("int4range", *quoted("[1,3)", "empty", "(,)", "[3,)", "(,0)")),
    "compound": TableKeys(("text", "text"), [quoted(*pair) for pair in PAIRS]),
    "compound of many kinds": TableKeys(
        ("integer", "timestamptz", "numeric(12, 2)", "mood", "boolean"),
        [(str(n), f"'2024-01-01 00:00:00.00000{n}+00'", f"{n}.5", "'sad'", "true") for n in range(5)],
    ),
}  # fmt: skip

MYSQL_TABLES = {
    "bigint": TABLES["bigint"],
    "bigint unsigned": of(
        "bigint unsigned", "0", "18446744073709551615", "9223372036854775808", "1", "18446744073709551614"
    ),
    "flag": of("tinyint(1)", "true", "false"),
    "bits": of("bit(8)", "b'0'", "b'11111111'", "b'110001'", "b'1'", "b'10'"),
    "decimal": TABLES["numeric of 38 digits"],
    "text": replace(TABLES["text"], sql_types=("varchar(100)",)),
    "text that its collation takes for another": of(
        "varchar(9)", *quoted("a", "A", "a ", "á", "Á", "ａ", "ss", "ß", "", " ", "\u200b")
    ),
    "latin1": of("varchar(9) CHARACTER SET latin1", *quoted("é", "É", "'", "\\", "a", "A")),
    "utf16": of("varchar(9) CHARACTER SET utf16 COLLATE utf16_bin", *quoted("😀", "中", "'", "a", "A")),
    "enum": of("enum('it''s \"so\"', 'sad', '2', '1', '')", *quoted('it\'s "so"', "sad", "2", "1", "")),
    "set": of("set('a', 'b', 'c')", *quoted("", "a", "a,b", "c", "a,b,c")),
    "date": TABLES["date"],
    "datetime": replace(TABLES["timestamp"], sql_types=("datetime(6)",)),
    "timestamp": of(
        "timestamp(6) NULL",
        *quoted("1970-01-01 00:00:01.000001", "2038-01-19 03:14:07.999999", "2024-03-31 02:30:00.000001"),
        *quoted("2024-10-27 00:30:00", "2024-10-27 01:30:00"),
    ),
    "time": of("time(6)", *quoted("-838:59:58.999999", "838:59:59", "00:00:00", "24:00:00", "-00:00:00.5")),
    "compound": TableKeys(("varchar(9)", "varchar(9)"), [quoted(*pair) for pair in PAIRS]),
    "compound of many kinds": TableKeys(
        ("int", "timestamp(6) NULL", "decimal(12, 2)", "enum('sad')", "tinyint(1)"),
        [(str(n), f"'2024-01-01 00:00:00.00000{n}'", f"{n}.5", "'sad'", "true") for n in range(5)],
    ),
}  # fmt: skip

COLLECTIONS = {
    "int": ids(-(2**31), 0, 2**31 - 1, 1, 2),
    "long": ids(Int64(-(2**63)), Int64(2**53 + 1), Int64(2**63 - 1), Int64(2**53), 7),
    "string": ids("it's", '"', "\\", "", "$a", "a.b", "é", "e\u0301", "😀", "{}", " a"),
    "string like another id": ids(HEX, str(UUID), str(UUID).upper(), HEX.upper(), UUID.hex, f"{{{UUID}}}"),
    "ObjectId": ids(*(ObjectId(f"{number:024x}") for number in range(5))),
    "ObjectId among strings": ids(ObjectId(HEX), "a", ObjectId("f" * 24), "b", "0" * 24),
    "UUID": ids(*(Binary.from_uuid(uuid.UUID(int=number)) for number in (2**128 - 1, 0, 1, 2, 3))),
    "date": ids(*(datetime(year, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC) for year in (1, 1969, 9999, 2000, 2024))),
    "boolean": ids(True, False),
    "Decimal128": ids(*map(Decimal128, ("1.50", "-1E-9", "12345678901234567890123456789", "1E+3", "0"))),
    "Decimal128 among ints": ids(Decimal128("1.5"), Decimal128("2.50"), 3, Decimal128("4"), 5),
    "nested": DocumentKeys(("order.id",), [{"order": {"id": number, "at": "x"}} for number in range(5)]),
    "nested string": DocumentKeys(("order.no",), [{"order": {"no": no}} for no in ("'", "\\", HEX, "", str(UUID))]),
    "nested ObjectId": DocumentKeys(("a.b.c",), [{"a": {"b": {"c": ObjectId(f"{n:024x}")}}} for n in range(5)]),
    "compound": DocumentKeys(("a", "b"), [{"a": a, "b": b} for a, b in PAIRS]),
    "compound with _id": DocumentKeys(
        ("_id", "at.day"), [{"_id": n, "at": {"day": datetime(2024, 1, 1 + n % 2, tzinfo=UTC)}} for n in range(5)]
    ),
}  # fmt: skip

TABLES_OF_EACH_KIND = {
    name: TABLES[name]
    for name in ("smallint", "bigint", "numeric of 38 digits", "text", "boolean", "date", "timestamp", "timestamptz")
} | {"text that ends in blanks": of("text", *quoted("a", "a ", " a", " ", ""))}
"""One per kind of column, and what only a Postgres warehouse tells apart: Redshift ignores blanks at the end."""

INCOMPARABLE_TABLES = {
    "time": of("time", "'12:00:00'"),
    "real": of("real", "1.5"),
    "double": of("double precision", "1.5"),
    "bytea": of("bytea", "'\\x00'"),
    "json": of("json", "'{}'"),
    "jsonb": of("jsonb", "'{}'"),
    "array": of("int[]", "'{1}'"),
}

INCOMPARABLE_COLLECTIONS = {
    "double": ids(1.5),
    "binary": ids(b"\x00\x01"),
    "document": DocumentKeys(("list",), [{"list": [1, 2]}]),
}
