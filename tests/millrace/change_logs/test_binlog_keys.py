"""Keys in the log of MariaDB are what a read of the table gives, for every type that is accepted and its limits."""

from __future__ import annotations

import pytest

from local.mysql import MySQLServer
from millrace.base.errors import ConfigurationError
from tests.support.engine import Engine, counts
from tests.support.mysql_logs import make_followed

KEYS = {
    "tinyint": ["-128", "0", "127"],
    "tinyint unsigned": ["0", "255"],
    "smallint": ["-32768", "32767"],
    "mediumint": ["-8388608", "8388607"],
    "mediumint unsigned": ["16777215"],
    "int": ["-2147483648", "2147483647"],
    "int(5) unsigned zerofill": ["7", "4294967295"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "bigint unsigned": ["18446744073709551615"],
    "tinyint(1)": ["0", "1"],
    "decimal(10,2)": ["-12345678.90", "-0.01", "0", "0.10", "99999999.99"],
    "decimal(38,18)": ["-12345678901234567890.123456789012345678", "0.000000000000000001"],
    "decimal(9,0)": ["-999999999", "7"],
    "decimal(18,9)": ["123456789.000000001", "-1.5"],
    "decimal(4,4)": ["0.0001", "-0.9999"],
    "date": ["'0001-01-01'", "'1969-12-31'", "'2024-02-29'", "'9999-12-31'"],
    "datetime": ["'1000-01-01'", "'2024-02-29 23:59:59'"],
    "datetime(2)": ["'2024-02-29 23:59:59.07'", "'1969-12-31 23:59:59.99'"],
    "datetime(6)": ["'2024-02-29 23:59:59.000007'", "'9999-12-31 23:59:59.999999'"],
    "timestamp": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
    "timestamp(3)": ["'2024-02-29 23:59:59.007'"],
    "varchar(20)": ["''", "'a'", "'Äß漢🦆'", "'a b,\"c\"\\n'"],
    "char(5)": ["'a'", "' b'", "'漢字'"],
    "char(255)": ["REPEAT('漢', 255)"],
    "varchar(300)": ["REPEAT('x', 300)"],
    "varchar(20) character set ascii": ["'a'"],
    "varchar(20) character set utf8mb3 collate utf8mb3_bin": ["'a'", "'A'", "'漢'"],
    "char(9) character set latin1": ["'é€'", "X'81'", "X'8D8F909D'"],
    "binary(4)": ["X'01000000'", "X'00000000'", "X'FFFEFDFC'"],
    "varbinary(300)": ["''", "X'0100'", "REPEAT(X'FF', 300)"],
}  # fmt: skip
"""Values of keys, as SQL, by type."""
BEFORE = (
    "before_1 varchar(30), before_2 decimal(7,3), before_3 longtext, before_4 bit(11), before_5 enum('a', 'b'), "
    "before_6 set('x', 'y'), before_7 time(4), before_8 year, before_9 double, before_10 geometry, before_11 json, "
    "before_12 char(200) character set latin1, before_13 timestamp(5) null, before_14 float, before_15 blob,"
)
"""Columns of every other way in which the log holds a value: the key lies behind them."""
FULL = "REPEAT('ü', 30), -1.125, REPEAT('long', 99), b'10000000001', 'b', 'x,y', '-25:01:01.1234', 2024, 1e300, " \
    "POINT(1, 2), '{\"a\": 1}', REPEAT('é', 200), '2024-02-29 01:02:03.12345', 1.5, REPEAT(X'00', 999)"  # fmt: skip


@pytest.mark.parametrize("part", [0, 1])
async def test_keys_of_the_log_are_those_of_a_read(mysql_logged: Engine, mysql: MySQLServer, part: int) -> None:
    """An index has 16 columns at most, so the types are parts of two keys."""
    types = list(KEYS)[part::2]
    keys = [f"key {number}" for number, _ in enumerate(types)]
    defined = ", ".join(f"`{key}` {column_type} NOT NULL" for key, column_type in zip(keys, types, strict=True))
    columns = f"{BEFORE} {defined}, note int, UNIQUE ({', '.join(f'`{key}`' for key in keys)})"
    rows = make_followed(mysql_logged, mysql, columns, keys).with_stream(columns=(*keys, "note"))
    count = max(len(KEYS[column_type]) for column_type in types)
    for index in range(count):
        values = [KEYS[column_type][index % len(KEYS[column_type])] for column_type in types]
        others = FULL if index % 2 else ", ".join(["NULL"] * 15)
        rows.change(f"INSERT INTO {{}} VALUES ({others}, {', '.join(values)}, 1)")
    assert counts(await rows.follow()) == {"read": count, "inserted": count}
    for change, done in (("UPDATE {} SET note = 2", "updated"), ("DELETE FROM {}", "deleted")):
        rows.change(change)
        result = await rows.follow()
        assert (result.kind, counts(result)) == ("log", {"read": count, done: count})


async def test_all_bytes_of_latin1_are_read_as_the_server_converts_them(
    mysql_logged: Engine, mysql: MySQLServer
) -> None:
    rows = make_followed(
        mysql_logged, mysql, "code char(2) CHARACTER SET latin1 COLLATE latin1_bin PRIMARY KEY, note int", "code"
    )
    # Trailing blanks are no part of a char, and the target takes no NUL.
    rows.change("INSERT INTO {} SELECT CONCAT(CHAR(seq USING latin1), 'x'), 1 FROM seq_1_to_255")
    assert counts(await rows.follow()) == {"read": 255, "inserted": 255}
    rows.change("UPDATE {} SET note = 2")
    assert counts(await rows.follow()) == {"read": 255, "updated": 255}


async def test_composite_keys_and_keys_that_a_collation_takes_for_one(mysql_logged: Engine, mysql: MySQLServer) -> None:
    columns = "region varchar(9), id int, note int, code varchar(9) COLLATE utf8mb4_bin, PRIMARY KEY (id, region)"
    rows = make_followed(mysql_logged, mysql, columns, ("region", "id"))
    rows.change("INSERT INTO {} VALUES ('a', 1, 1, 'x'), ('b', 1, 1, 'y'), ('a', 2, 1, 'z')")
    await rows.follow()
    rows.change("UPDATE {} SET note = 2 WHERE region = 'a' AND id = 1", "DELETE FROM {} WHERE region = 'b'")
    assert counts(await rows.follow()) == {"read": 2, "updated": 1, "deleted": 1}
    # Another spelling is another key for the warehouse, and the same one for the table.
    rows.change("UPDATE {} SET region = 'A' WHERE id = 2")
    assert counts(await rows.follow()) == {"read": 2, "inserted": 1, "deleted": 1}
    assert mysql_logged.rows(rows.table, "region", "id", order="2, 1") == [("a", 1), ("A", 2)]


@pytest.mark.parametrize(
    "column_type", ["enum('a', 'b')", "double", "time", "year", "varchar(9) character set utf16", "uuid", "bit(3)"]
)
async def test_keys_that_the_log_does_not_tell_exactly_are_refused(
    mysql_logged: Engine, mysql: MySQLServer, column_type: str
) -> None:
    rows = make_followed(mysql_logged, mysql, f"code {column_type} PRIMARY KEY", "code")
    with pytest.raises(ConfigurationError, match=r"column code of its key is .* cannot be read exactly"):
        await rows.follow()
