"""COPY from Parquet as a loader relies on it. Runs against a real cluster, too."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

MICROSECONDS = pa.timestamp("us", "UTC")


def text(*values: str | None) -> pa.Table:
    return pa.table({"a": pa.array(values, pa.string())})


def integers(*values: int | None) -> pa.Table:
    return pa.table({"a": pa.array(values, pa.int32())})


def test_every_type_arrives_exactly(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE t (a SMALLINT, b INT, c BIGINT, d NUMERIC(38, 9), e NUMERIC(9, 2), f BOOLEAN, g REAL, "
        "h DOUBLE PRECISION, i DATE, j TIMESTAMPTZ, k TIMESTAMP, l VARCHAR(100), m VARBYTE(10))"
    )
    moment = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    row = {
        "a": pa.array([-32768, None], pa.int16()),
        "b": pa.array([-(2**31), None], pa.int32()),
        "c": pa.array([2**63 - 1, None], pa.int64()),
        "d": pa.array([Decimal("-12345678901234567890123456789.123456789"), None], pa.decimal128(38, 9)),
        "e": pa.array([Decimal("-0.01"), None], pa.decimal128(9, 2)),
        "f": pa.array([True, None]),
        "g": pa.array([1.5, None], pa.float32()),
        "h": pa.array([0.1, None], pa.float64()),
        "i": pa.array([date(1969, 12, 31), None]),
        "j": pa.array([moment, None], MICROSECONDS),
        "k": pa.array([moment, None], MICROSECONDS),
        "l": pa.array(['é"\n\\,', None]),
        "m": pa.array([b"\x00\xff", None]),
    }
    entry = redshift.put_parquet("a.parquet", pa.table(row))
    redshift.run("SET timezone TO 'America/New_York'", redshift.copy("t", [entry]))
    first, second = redshift.run("SELECT * FROM t ORDER BY a IS NULL")
    assert second == (None,) * 13
    expected = [column[0].as_py() for column in row.values()]
    assert [str(value) if isinstance(value, memoryview) else value for value in first[:10]] == expected[:10]
    assert first[10:12] == (moment.replace(tzinfo=None), 'é"\n\\,')
    assert redshift.run("SELECT TO_HEX(m) FROM t WHERE m IS NOT NULL") == [("00ff",)]


def test_null_and_empty_stay_apart(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a VARCHAR(4))", redshift.copy("t", [redshift.put_parquet("a", text("", None, " "))]))
    assert redshift.run("SELECT count(*), count(a) FROM t") == [(3, 2)]


def test_columns_map_by_position(redshift: Any) -> None:
    table = pa.table({"b": pa.array(["is a"]), "a": pa.array(["is b"])})
    redshift.run("CREATE TABLE t (a VARCHAR(4), b VARCHAR(4), c INT DEFAULT 7)")
    redshift.run(redshift.copy("t (a, b)", [redshift.put_parquet("a", table)]))
    assert redshift.run("SELECT * FROM t") == [("is a", "is b", 7)]


def test_all_files_of_a_manifest_are_loaded(redshift: Any) -> None:
    entries = [redshift.put_parquet(f"{part}.parquet", integers(*range(part, 10, 3))) for part in range(3)]
    redshift.run("CREATE TABLE t (a INT)")
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_last_copy_count()")
        cursor.execute(redshift.copy("t", entries))
        cursor.execute("SELECT pg_last_copy_count()")
        assert cursor.fetchone() == (10,)
    connection.rollback()
    assert redshift.run("SELECT * FROM t") == []


def test_a_prefix_loads_without_a_manifest(redshift: Any) -> None:
    redshift.put_parquet("part/1", integers(1))
    redshift.put_parquet("part/2", integers(2))
    location = f"s3://{redshift.bucket}/{redshift.schema}/part/"
    redshift.run("CREATE TABLE t (a INT)", redshift.copy_from("t", location))
    assert redshift.run("SELECT count(*) FROM t") == [(2,)]
    redshift.refusal(redshift.copy_from("t", f"{location}nothing"))


def test_a_file_without_rows_is_loaded(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)", redshift.copy("t", [redshift.put_parquet("a", integers())]))
    assert redshift.run("SELECT count(*) FROM t") == [(0,)]


def test_copy_is_part_of_the_transaction_and_its_temp_tables(redshift: Any) -> None:
    copy = redshift.copy("stage", [redshift.put_parquet("a", integers(1, 2))])
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE stage (a INT)")
        cursor.execute(copy)
        cursor.execute("SELECT count(*) FROM stage")
        assert cursor.fetchone() == (2,)
    connection.rollback()
    with connection.cursor() as cursor, pytest.raises(Exception, match="stage"):
        cursor.execute("SELECT * FROM stage")


def test_a_value_too_long_in_bytes_fails_all_and_is_recorded(redshift: Any) -> None:
    entries = [redshift.put_parquet("good", text("ab")), redshift.put_parquet("bad", text("ok", "ééé"))]
    redshift.run("CREATE TABLE t (a VARCHAR(5))")
    connection = redshift.connect()
    with connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error, match="Spectrum Scan Error") as caught:
            cursor.execute(redshift.copy("t", entries))
        assert caught.value.pgcode == "XX000"
        assert "Table: 5, Data: 6" in str(caught.value.diag.message_detail)
        connection.rollback()
        copy_id = int(re.search(r"query:\s+(\d+)", caught.value.diag.message_detail)[1])  # type: ignore[index]  # no match fails
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchone() == (0,)
        cursor.execute(
            "SELECT trim(file_name), line_number, trim(column_name), trim(error_message) FROM sys_load_error_detail "
            f"WHERE query_id = {copy_id}"
        )
        ((file_name, _, column_name, message),) = cursor.fetchall()
    assert file_name.startswith(("s3://", "https://"))
    assert column_name in ("a", "")
    assert "longer than the length defined in the table" in message


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("INT", pa.array([1], pa.int64())),
        ("INT", pa.array([1], pa.uint32())),
        ("BIGINT", pa.array([1], pa.int32())),
        ("BIGINT", pa.array([1], pa.uint64())),
        ("VARCHAR(10)", pa.array([1], pa.int32())),
        ("INT", pa.array(["1"])),
        ("DATE", pa.array(["2024-01-01"])),
        ("TIMESTAMP", pa.array(["2024-01-01"])),
        ("NUMERIC(10, 2)", pa.array([Decimal("1.0")], pa.decimal128(10, 1))),
        ("NUMERIC(12, 2)", pa.array([Decimal("1.00")], pa.decimal128(25, 2))),
        ("DOUBLE PRECISION", pa.array([1.5], pa.float32())),
        ("TIME", pa.array([1], pa.time64("us"))),
        ("VARCHAR(10)", pa.array([[1]], pa.list_(pa.int32()))),
        ("SUPER", pa.array([{"a": 1}])),
    ],
)
def test_types_that_do_not_fit_are_refused(redshift: Any, column: str, array: pa.Array) -> None:
    redshift.run(f"CREATE TABLE t (a {column})")
    redshift.refusal(redshift.copy("t", [redshift.put_parquet("a", pa.table({"a": array}))]))


@pytest.mark.parametrize(
    "options",
    [
        "COMPUPDATE OFF", "REGION 'us-east-1'", "MAXERROR 10", "TRUNCATECOLUMNS", "TIMEFORMAT 'auto'", "NOLOAD", "GZIP",
        "DELIMITER ','", "EMPTYASNULL", "ACCEPTANYDATE", "ENCODING UTF8", "EXPLICIT_IDS",
    ],
)  # fmt: skip
def test_options_that_parquet_does_not_take(redshift: Any, options: str) -> None:
    redshift.run("CREATE TABLE t (a INT)")
    redshift.refusal(redshift.copy("t", [redshift.put_parquet("a", integers(1))], options))


def test_options_that_parquet_takes(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT, b INT)")
    entries = [redshift.put_parquet("a", integers(1))]
    redshift.refusal(redshift.copy("t", entries, "STATUPDATE OFF"))
    redshift.run(redshift.copy("t", entries, "STATUPDATE OFF FILLRECORD"))
    assert redshift.run("SELECT * FROM t") == [(1, None)]


def test_the_number_of_columns_must_match(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)")
    table = pa.table({"a": pa.array([1], pa.int32()), "b": pa.array([1], pa.int32())})
    redshift.refusal(redshift.copy("t", [redshift.put_parquet("a", table)]))
    redshift.refusal(redshift.copy("t (a, missing)", [redshift.put_parquet("a", table)]))


def test_not_null_holds_in_copy(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT NOT NULL)")
    redshift.refusal(redshift.copy("t", [redshift.put_parquet("a", integers(1, None))]))
    assert redshift.run("SELECT * FROM t") == []


def test_identity_takes_values_only_with_explicit_ids(redshift: Any) -> None:
    table = pa.table({"id": pa.array([100], pa.int64()), "a": pa.array([1], pa.int32())})
    both, one = redshift.put_parquet("both", table), redshift.put_parquet("one", integers(2))
    redshift.run("CREATE TABLE t (id BIGINT IDENTITY(1, 1), a INT)")
    redshift.refusal(redshift.copy("t (id, a)", [both]))
    redshift.run(redshift.copy("t (id, a)", [both], "EXPLICIT_IDS"), redshift.copy("t (a)", [one]))
    redshift.run(redshift.copy("t", [one]))
    assert redshift.run("SELECT count(*), max(id) FROM t") == [(3, 100)]


def test_text_in_super_stays_an_unparsed_string(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a SUPER)", redshift.copy("t", [redshift.put_parquet("a", text('{"b":1}'))]))
    assert redshift.run("SELECT JSON_SERIALIZE(a) FROM t") == [('"{\\"b\\":1}"',)]


def test_nested_values_load_with_serializetojson(redshift: Any) -> None:
    table = pa.table({"a": pa.array([{"b": [1, 2], "c": "x"}, None]), "d": pa.array([1, 2], pa.int32())})
    redshift.run("CREATE TABLE t (a SUPER, d INT)")
    redshift.run(redshift.copy("t", [redshift.put_parquet("a", table)], "SERIALIZETOJSON"))
    assert redshift.run("SELECT JSON_SERIALIZE(a), d FROM t ORDER BY d") == [('{"b":[1,2],"c":"x"}', 1), (None, 2)]


def test_documents_go_through_varbyte(redshift: Any) -> None:
    table = pa.table({"a": pa.array(['{"é":[null,1.10]}'.encode()], pa.binary())})
    redshift.run("CREATE TABLE stage (a VARBYTE(16777216))", "CREATE TABLE t (a SUPER)")
    redshift.run(
        redshift.copy("stage", [redshift.put_parquet("a", table)]), "INSERT INTO t SELECT JSON_PARSE(a) FROM stage"
    )
    ((document,),) = redshift.run("SELECT JSON_SERIALIZE(a) FROM t")
    assert document.startswith('{"é":[null,1.1')


class TestManifest:
    def entry(self, redshift: Any) -> dict[str, Any]:
        redshift.run("CREATE TABLE t (a INT)")
        entry: dict[str, Any] = redshift.put_parquet("a.parquet", integers(1))
        return entry

    def test_content_length_is_required(self, redshift: Any) -> None:
        entry = self.entry(redshift)
        del entry["meta"]
        redshift.refusal(redshift.copy("t", [entry]))

    def test_a_wrong_content_length_is_refused(self, redshift: Any) -> None:
        entry = self.entry(redshift)
        entry["meta"]["content_length"] += 1000
        redshift.refusal(redshift.copy("t", [entry]))

    def test_a_missing_mandatory_file_is_refused(self, redshift: Any) -> None:
        entry = self.entry(redshift)
        redshift.refusal(redshift.copy("t", [entry, entry | {"url": entry["url"] + ".gone"}]))

    def test_a_missing_file_is_skipped_unless_mandatory(self, redshift: Any) -> None:
        entry = self.entry(redshift)
        gone = {"url": entry["url"] + ".gone", "meta": entry["meta"]}
        redshift.run(redshift.copy("t", [entry, gone]))
        assert redshift.run("SELECT * FROM t") == [(1,)]

    def test_no_files_at_all_is_refused(self, redshift: Any) -> None:
        entry = self.entry(redshift)
        redshift.refusal(redshift.copy("t", [{"url": entry["url"] + ".gone", "meta": entry["meta"]}]))

    def test_what_is_no_manifest_is_refused(self, redshift: Any) -> None:
        url = self.entry(redshift)["url"]
        redshift.refusal(redshift.copy_from("t", url, "MANIFEST"))
        redshift.refusal(redshift.copy_from("t", url + ".gone", "MANIFEST"))


def test_what_is_no_parquet_is_refused(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)")
    redshift.refusal(redshift.copy("t", [redshift.put("a.parquet", b"a,b\n1,2\n")]))


def test_the_last_copy_belongs_to_the_session(redshift: Any) -> None:
    copy = redshift.copy("t", [redshift.put_parquet("a", integers(1, 2, 3))])
    redshift.run("CREATE TABLE t (a INT)", copy)
    assert redshift.run("SELECT pg_last_copy_id(), pg_last_copy_count()") == [(-1, 0)]
    assert redshift.run(copy, "SELECT pg_last_copy_count()") == [(3,)]
    assert redshift.run(copy, "SELECT pg_last_copy_id() > 0") == [(True,)]
