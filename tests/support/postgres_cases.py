"""Every type of Postgres that the warehouse can hold, with values at its edges.

A value is a SQL expression. It arrives equal, or is rejected with the reason given. What a value is compared as is
the case's ``as_target``: the source's own expression of what the target should hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PREPARE = """
CREATE TYPE mood AS ENUM ('sad', 'it''s "fine", really', 'glücklich 😀');
CREATE TYPE "_mood with underscore" AS ENUM ('plain');
CREATE TYPE place AS (street text, "house number" int, moved_in timestamptz);
CREATE TYPE house AS (main place, others place[], extra jsonb);
CREATE DOMAIN price AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE DOMAIN net_price AS price;
CREATE DOMAIN "_price" AS int;
"""


@dataclass(frozen=True)
class Case:
    """A column of ``sql_type``: ``values`` arrive, ``rejected`` (value to reason) do not. ``{}`` is the column."""

    name: str
    sql_type: str
    values: tuple[str, ...]
    rejected: Mapping[str, str] = field(default_factory=dict)
    as_target: str = "{}"


def quoted(*values: str) -> tuple[str, ...]:
    """The values as SQL literals."""
    return tuple("'" + value.replace("'", "''") + "'" for value in values)


TEXTS = quoted(
    "", " ", "  leading and trailing  ", "\t", "NULL", "null", "\\N", "\\.", "\\", "\\\\", '"', '""', "'", "a,b", ",",
    "a\nb", "a\r\nb", "\r", "\n", "\n\n", 'a"b,"c"\n"', "é", "ß", "€",
    "中文", "😀", "👩‍👩‍👧", "e\u0301", "\u200b", "\ufeff",
    "\x01\x1f\x7f", "\u0085\u2028", "{}", "0012", "1e5", "true", "NaN", "2020-01-01", "%s %(x)s :y", "\U0010ffff",
    "\x7f\x80", "\u07ff\u0800", "\ud7ff\ue000", "\uffff\U00010000", "aé€😀" * 16,
)  # fmt: skip

ALL_BYTES = f"'\\x{bytes(range(256)).hex()}'"

CASES = (
    Case("smallint", "smallint", ("-32768", "-1", "0", "32767")),
    Case("integer", "integer", ("-2147483648", "0", "2147483647")),
    Case("bigint", "bigint", ("-9223372036854775808", "0", "9007199254740993", "9223372036854775807")),
    Case("object_id", "oid", ("0", "4294967295"), as_target="{}::bigint"),
    Case("boolean", "boolean", ("true", "false")),
    Case(
        "real",
        "real",
        (*quoted("0", "-0", "0.1", "1e-45", "-1e-45", "3.4028235e38", "1.1754944e-38", "16777217"),
         *quoted("NaN", "Infinity", "-Infinity")),
    ),
    Case(
        "double",
        "double precision",
        (*quoted("0", "-0", "0.1", "0.30000000000000004", "5e-324", "-5e-324", "2.2250738585072014e-308"),
         *quoted("1.7976931348623157e308", "9007199254740993", "NaN", "Infinity", "-Infinity")),
    ),
    Case(
        "money_like",
        "numeric(12, 2)",
        ("0", "-0.00", "-0.01", "9999999999.99", "-9999999999.99", "1.10"),
        {"'NaN'": "number_does_not_fit"},
    ),
    Case("whole", "numeric(10)", ("0", "9999999999")),
    Case(
        "widest",
        "numeric(38, 9)",
        (f"{'9' * 29}.{'9' * 9}", f"-{'9' * 29}.{'9' * 9}", "0.000000001", "1.5"),
        {"'NaN'": "number_does_not_fit"},
    ),
    Case("fraction", "numeric(37, 37)", (f"0.{'9' * 37}", f"-0.{'0' * 36}1")),
    Case(
        "more_than_38",
        "numeric(50, 4)",
        (f"{'9' * 34}.9999", f"-{'9' * 34}.9999", "1.5000"),
        dict.fromkeys((f"{'9' * 35}", f"{'9' * 46}.0001", "'NaN'"), "number_does_not_fit"),
        as_target="{}::numeric(38, 4)",
    ),
    Case(
        "scale_of_38",
        "numeric(38, 38)",
        (f"0.{'9' * 37}", "0"),
        {f"0.{'9' * 38}": "number_does_not_fit"},
        as_target="{}::numeric(38, 37)",
    ),
    Case(
        "scale_beyond_38",
        "numeric(60, 45)",
        ("1.5", f"-0.{'0' * 36}1"),
        {f"0.{'0' * 44}1": "number_does_not_fit", "12": "number_does_not_fit"},
        as_target="{}::numeric(38, 37)",
    ),
    Case("negative_scale", "numeric(3, -2)", ("12300", "-99900", "0"), as_target="{}::numeric(5, 0)"),
    Case("scale_above_precision", "numeric(2, 5)", ("0.00099", "-0.00001"), as_target="{}::numeric(5, 5)"),
    Case(
        "unconstrained",
        "numeric",
        ("0", "1.5", "-0.000000001", f"{'9' * 29}.{'9' * 9}", "1.50000000000000", f"'{'0' * 60}7'"),
        {
            "0.0000000001": "number_does_not_fit",
            f"{'9' * 30}": "number_does_not_fit",
            "1e40": "number_does_not_fit",
            "'NaN'": "number_does_not_fit",
            "'Infinity'": "number_does_not_fit",
            "'-Infinity'": "number_does_not_fit",
        },
        as_target="{}::numeric(38, 9)",
    ),
    Case(
        "date",
        "date",
        quoted("1970-01-01", "1969-12-31", "1582-10-04", "1582-10-15", "0001-01-01", "2000-02-29", "9999-12-31"),
        {
            "'infinity'": "infinite_date",
            "'-infinity'": "infinite_date",
            "'0001-12-31 BC'": "date_out_of_range",
            "'4713-01-01 BC'": "date_out_of_range",
            "'10000-01-01'": "date_out_of_range",
            "'5874897-12-31'": "date_out_of_range",
        },
    ),
    Case(
        "timestamp",
        "timestamp",
        quoted("1970-01-01", "1969-12-31 23:59:59.999999", "2024-02-29 12:34:56.123456", "0001-01-01 00:00:00.000001",
               "9999-12-31 23:59:59.999999"),
        {
            "'infinity'": "infinite_timestamp",
            "'-infinity'": "infinite_timestamp",
            "'0001-12-31 23:59:59.999999 BC'": "date_out_of_range",
            "'4713-01-01 BC'": "date_out_of_range",
            "'10000-01-01'": "date_out_of_range",
            "'294276-12-31 23:59:59.999999'": "date_out_of_range",
        },
    ),
    Case(
        "timestamptz",
        "timestamptz",
        quoted("1970-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00", "2024-03-31 02:30:00+05:45",
               "1883-11-18 12:03:58-04:56:02", "2024-10-27 02:30:00+01", "0001-01-01 00:00:00+00",
               "9999-12-31 23:59:59.999999+00"),
        {
            "'infinity'": "infinite_timestamp",
            "'-infinity'": "infinite_timestamp",
            "'0001-12-31 23:59:59.999999+00 BC'": "date_out_of_range",
            "'294276-12-31 23:59:59.999999+00'": "date_out_of_range",
        },
    ),
    Case("time", "time", quoted("00:00:00", "00:00:00.000001", "23:59:59.999999", "24:00:00", "12:34:56.1")),
    Case("timetz", "timetz", quoted("00:00:00+00", "24:00:00+15:59:59", "12:34:56.123456-05:30"), as_target="{}::text"),
    Case(
        "interval",
        "interval",
        quoted("0", "1 year 2 mons 3 days 04:05:06.789", "-1 mons +2 days -00:00:00.000001", "178000000 years"),
        as_target="{}::text",
    ),
    Case("text", "text", (*TEXTS, "repeat('x', 65535)", "repeat('€', 21845)", "repeat('😀', 16383) || 'xyz'"),
         {"repeat('x', 65536)": "too_long", "repeat('€', 21846)": "too_long", "repeat('😀', 16384)": "too_long"}),
    Case("varchar", "varchar", TEXTS),
    Case("varchar_n", "varchar(3)", quoted("", "abc", "€€€", "😀😀😀")),
    Case("varchar_long", "varchar(100000)", ("repeat('x', 65535)",), {"repeat('x', 100000)": "too_long"}),
    Case("char_n", "char(4)", quoted("", "ab", "ab  ", " ab", "😀😀😀😀"), as_target="{}::text"),
    Case("internal_char", '"char"', quoted("a", ""), as_target="{}::text"),
    Case("name", "name", quoted("some_table", "ä" * 31)),
    Case("uuid", "uuid", quoted("00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-4fff-bfff-ffffffffffff")),
    Case(
        "bytea",
        "bytea",
        ("''", "'\\x00'", ALL_BYTES, "'\\x5c2e0a0d2c22'",
         "decode(repeat('ff', 70000), 'hex')"),
        as_target="encode({}, 'hex')",
    ),
    Case(
        "json",
        "json",
        quoted("null", "true", '""', "0", "[]", "{}", ' { "b" : 1 , "a" : [ 1 , null ] } ', '{"a":"\\u00e9\\\\u0000"}',
               '"\\ud83d\\ude00"', '{"a":1,"a":2}', "12345678901234567890123456789012345678", '"\\""', '"a\\nb"'),
        {
            "'{\"a\":\"\\u0000\"}'": "nul_character",
            "'\"\\\\\\u0000\"'": "nul_character",
            "'{\"\\u0000\": 1}'": "nul_character",
            "'\"\\ud800\"'": "no_json_form",
            "'\"\\udc00\\ud800\"'": "no_json_form",
        },
        as_target="{}::jsonb",
    ),
    Case(
        "jsonb",
        "jsonb",
        (*quoted("null", "1.50", "-0.1", '{"a": {"b": [1, {"c": null}]}, "": 1}', '"é中😀"',
                 '{"k\\"ey, ": "\\\\u0000"}', "9007199254740993", "99999999999999999999999999999999999999",
                 "-9223372036854775808", "9223372036854775807", "[[[[[[[[[]]]]]]]]]", '["\\u0080", "\\uffff"]',
                 '"\\\\"', '{"a": "\\n\\t\\u0001"}'),
         "to_jsonb(repeat('x', 60000))"),
    ),
    Case("int_array", "int[]", quoted("{}", "{1,NULL,-3}", "{{1,2},{3,NULL}}", "[0:1]={7,8}"),
         as_target="to_jsonb({})"),
    Case("text_array", "text[]", ("ARRAY['a,b', '\"', '', NULL, 'NULL', 'ä😀', E'\\n']",), as_target="to_jsonb({})"),
    Case(
        "timestamp_array",
        "timestamptz[]",
        ("ARRAY['2024-02-29 12:34:56.123456+05:30'::timestamptz, NULL, '1969-12-31 23:59:59.999999+00']",),
        as_target="to_jsonb({})",
    ),
    Case("numeric_array", "numeric[]", (f"ARRAY[1.50, 0.0000000001, {'9' * 30}]",), as_target="to_jsonb({})"),
    Case("boolean_array", "boolean[]", ("ARRAY[true, NULL, false]",), as_target="to_jsonb({})"),
    Case("date_array", "date[]", ("ARRAY['0001-01-01'::date, NULL, '9999-12-31']",), as_target="to_jsonb({})"),
    Case("uuid_array", "uuid[]", ("ARRAY['FFFFFFFF-ffff-4fff-bfff-ffffffffffff'::uuid, NULL]",),
         as_target="to_jsonb({})"),
    Case("bytea_array", "bytea[]", ("ARRAY['\\x00ff'::bytea, '', NULL]",), as_target="to_jsonb({})"),
    Case("enum_array", "mood[]", ("ARRAY['sad', NULL, 'glücklich 😀']::mood[]",), as_target="to_jsonb({})"),
    Case("domain_array", "price[]", ("ARRAY[1.10, NULL]::price[]",), as_target="to_jsonb({})"),
    Case("composite_array", "place[]", ("ARRAY[ROW('é, \"', 1, NULL), NULL]::place[]",), as_target="to_jsonb({})"),
    Case("jsonb_array", "jsonb[]", ("ARRAY['{\"a\": [1, null]}', NULL, 'null']::jsonb[]",), as_target="to_jsonb({})"),
    Case("enum", "mood", quoted("sad", 'it\'s "fine", really', "glücklich 😀"), as_target="{}::text"),
    Case("enum_underscore", '"_mood with underscore"', quoted("plain"), as_target="{}::text"),
    Case("domain", "price", ("0", "9999999999.99"), {"'NaN'": "number_does_not_fit"}, as_target="{}::numeric(12, 2)"),
    Case("domain_of_domain", "net_price", ("1.10",), as_target="{}::numeric(12, 2)"),
    Case("domain_underscore", '"_price"', ("-5",), as_target="{}::int"),
    Case("composite", "place", ("ROW('Main, \"St\"', 5, '2024-02-29 12:00:00.000001+02')", "ROW(NULL, NULL, NULL)"),
         as_target="to_jsonb({})"),
    Case("composite_of_composite", "house", ("ROW(ROW('a', 1, NULL), ARRAY[ROW('b', NULL, NULL)]::place[], '{}')",
                                             "ROW(NULL, '{}', NULL)"),
         as_target="to_jsonb({})"),
    Case("inet", "inet", quoted("192.168.0.1", "10.0.0.0/8", "::1", "fe80::1/64"), as_target="{}::text"),
    Case("cidr", "cidr", quoted("10.0.0.0/8", "2001:db8::/32", "192.168.0.1/32"), as_target="{}::text"),
    Case("macaddr", "macaddr", quoted("08:00:2b:01:02:03"), as_target="{}::text"),
    Case("macaddr8", "macaddr8", quoted("08:00:2b:01:02:03:04:05"), as_target="{}::text"),
    Case("bit", "bit(5)", ("B'00101'",), as_target="{}::text"),
    Case("varbit", "varbit", ("B''", "B'1'", "B'0001'"), as_target="{}::text"),
    Case("range", "tstzrange", ("'empty'", "'[2024-01-01 00:00:00.000001+00,)'", "'(,)'"), as_target="{}::text"),
    Case("multirange", "int4multirange", ("'{[1,3),[5,)}'",), as_target="{}::text"),
)  # fmt: skip

UNSUPPORTED = (
    "money", "money[]", "point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery", "pg_lsn",
    "xid8", "jsonpath",
)  # fmt: skip
