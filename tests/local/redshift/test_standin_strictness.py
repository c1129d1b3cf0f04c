"""What the stand-in refuses because nobody has proven that Redshift takes it, or because it cannot do it itself."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars
import psycopg2
import pyarrow as pa
import pytest

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
NAIVE = MOMENT.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("column", "array", "reason"),
    [
        ("TIMESTAMP", pa.array([NAIVE], pa.timestamp("ns")), "microseconds"),
        ("TIMESTAMP", pa.array([NAIVE], pa.timestamp("ms")), "microseconds"),
        ("TIMESTAMPTZ", pa.array([NAIVE], pa.timestamp("us")), "adjusted to UTC"),
        ("SMALLINT", pa.array([1], pa.int8()), "16-bit"),
        ("INT", pa.array([1], pa.int16()), "32-bit"),
        ("VARCHAR(10)", pa.array([b"x"], pa.binary()), "STRING"),
        ("VARBYTE(10)", pa.array(["x"]), "binary"),
        ("SUPER", pa.array([b"{}"], pa.binary()), "STRING"),
        ("VARCHAR(10)", pa.array(["a\0b"]), "U+0000"),
    ],
)
def test_doubtful_parquet_is_refused(redshift: Any, column: str, array: pa.Array, reason: str) -> None:
    redshift.run(f"CREATE TABLE t (a {column})")
    error = redshift.refusal(redshift.copy("t", [redshift.put_parquet("a", pa.table({"a": array}))]))
    assert error.pgcode == "XX000"
    assert reason in error.diag.message_detail


def test_decimals_held_in_integers_are_refused(redshift: Any, tmp_path: Any) -> None:
    path = tmp_path / "a.parquet"
    polars.DataFrame({"a": [Decimal("1.00")]}, schema={"a": polars.Decimal(10, 2)}).write_parquet(path)
    redshift.run("CREATE TABLE t (a NUMERIC(10, 2))")
    error = redshift.refusal(redshift.copy("t", [redshift.put("a", path.read_bytes())]))
    assert "FIXED_LEN_BYTE_ARRAY" in error.diag.message_detail


def test_naive_microseconds_load_into_timestamp(redshift: Any) -> None:
    table = pa.table({"a": pa.array([NAIVE], pa.timestamp("us"))})
    redshift.run("CREATE TABLE t (a TIMESTAMP)", redshift.copy("t", [redshift.put_parquet("a", table)]))
    assert redshift.run("SELECT * FROM t") == [(NAIVE,)]


def test_wide_and_dictionary_encoded_columns_load(redshift: Any) -> None:
    table = pa.table(
        {"a": pa.array(["x" * 60_000] * 300).dictionary_encode(), "b": pa.array(["y"] * 300, pa.large_string())}
    )
    redshift.run(
        "CREATE TABLE t (a VARCHAR(MAX), b VARCHAR(1))", redshift.copy("t", [redshift.put_parquet("a", table)])
    )
    assert redshift.run("SELECT count(*), sum(len(a)) FROM t") == [(300, 18_000_000)]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("ALTER TABLE t APPEND FROM s", "not supported by the stand-in"),
        ("COPY t FROM 's3://b/k' IAM_ROLE DEFAULT FORMAT CSV", "not supported by the stand-in"),
        ("MERGE INTO t USING s ON t.a = s.a REMOVE DUPLICATES", "not supported by the stand-in"),
        ("SELECT a[0] FROM t", "not supported by the stand-in"),
        ("SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a) = 1", "not supported by the stand-in"),
        (f"CREATE TABLE {'x' * 64} (a INT)", "not supported by the stand-in"),
        ("COPY t FROM 's3://b/k' IAM_ROLE 'arn:wrong' FORMAT PARQUET", "IAM_ROLE"),
        (
            "COPY t FROM 's3://b/k' IAM_ROLE 'arn:aws:iam::210987654321:role/r' FORMAT PARQUET MANIFEST",
            "is not authorized to assume IAM Role arn:aws:iam::210987654321:role/r",
        ),
        ("COPY t FROM 's3://b/k' FORMAT PARQUET", "authorization"),
        ("SET lock_timeout TO 1", "SET takes Redshift's parameters only"),
        ("SELECT stl_load_errors.query FROM stl_load_errors", "stl_load_errors"),
        ("FROBNICATE t", "not a Redshift statement"),
        ("SELECT 'open", "unterminated"),
        ("SELECT 1 /* open", "unterminated"),
        ("SELECT $$x$$", "single quotes"),
        ('SELECT 1 AS "a\nb"', "printable"),
        ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN"),
        ("TRUNCATE t, s", "TRUNCATE"),
        ("UPDATE t SET a = 1 FROM s LEFT JOIN t AS u ON u.a = s.a", "outer joins"),
        ("ROLLBACK TO SAVEPOINT a", "SAVEPOINT"),
        ("SELECT a FROM t WHERE a > -9223372036854775808", "DECIMAL(19)"),
        ("DECLARE c SCROLL CURSOR FOR SELECT 1", "CURSOR"),
        ("FETCH FORWARD 1001 FROM c", "at most 1,000 rows"),
        ("FETCH FORWARD ALL FROM c", "at most 1,000 rows"),
        ("FETCH ALL FROM c", "at most 1,000 rows"),
    ],
)
def test_refusals_name_their_rule(redshift: Any, statement: str, told: str) -> None:
    error = redshift.refusal("CREATE TABLE t (a INT)", statement)
    assert told in str(error)


def test_names_of_functions_may_name_tables_and_columns(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE format (mode INT, uuid INT, age INT)",
        "INSERT INTO format (mode, uuid) VALUES (1, 2)",
        f"CREATE TABLE {redshift.schema}.overlay (a INT)",
        f"INSERT INTO {redshift.schema}.overlay (a) VALUES (1)",
    )
    assert redshift.run("SELECT json FROM (SELECT mode, uuid AS json FROM format) AS x") == [(2,)]


def test_declared_keys_show_in_the_information_schema(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT PRIMARY KEY, b INT, CONSTRAINT named UNIQUE (a, b))")
    query = f"SELECT constraint_type FROM information_schema.table_constraints WHERE table_schema = '{redshift.schema}'"
    assert sorted(redshift.run(query)) == [("PRIMARY KEY",), ("UNIQUE",)]
    redshift.run(
        "ALTER TABLE t DROP CONSTRAINT named", "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (b) REFERENCES t (a)"
    )
    assert sorted(redshift.run(query)) == [("FOREIGN KEY",), ("PRIMARY KEY",)]


def test_settings_of_redshift_are_taken(redshift: Any) -> None:
    redshift.run(
        "SET query_group TO 'load'",
        "SET statement_timeout TO 60000",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET ALL",
        "ANALYZE",
    )


def test_two_sessions_that_make_the_same_table_conflict(redshift: Any) -> None:
    first, second = redshift.connect(), redshift.connect()
    first.cursor().execute("CREATE TABLE IF NOT EXISTS t (a INT)")
    committing = threading.Timer(0.3, first.commit)
    committing.start()
    with pytest.raises(psycopg2.errors.InternalError_, match="conflict with concurrent transaction"):
        second.cursor().execute("CREATE TABLE IF NOT EXISTS t (a INT)")
    committing.join()


def test_the_catalog_keeps_how_a_table_is_stored(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE t (a INT, b VARCHAR(9) ENCODE bytedict, c INT) DISTKEY (a) SORTKEY (c, a)",
        "CREATE TABLE s (LIKE t)",
        "INSERT INTO t VALUES (1, 'x', 2)",
        "ANALYZE t",
    )
    query = "SELECT \"column\", trim(encoding), distkey, sortkey FROM pg_table_def WHERE tablename = 't' ORDER BY 1"
    assert redshift.run(query) == [("a", "none", True, 2), ("b", "bytedict", False, 0), ("c", "none", False, 1)]
