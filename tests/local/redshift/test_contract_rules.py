"""Rules of Redshift that PostgreSQL lacks, with the title of their pages at AWS. Runs against a real cluster, too."""

from __future__ import annotations

from typing import Any

import psycopg2
import pyarrow as pa
import pytest

TABLES = ("CREATE TABLE t (a INT, b INT, c VARCHAR(20))", "CREATE TABLE s (a INT, b INT, c VARCHAR(20))")
DEEP = "[" * 1_001 + "]" * 1_001


@pytest.mark.parametrize(
    "statement",
    [
        # Unsupported PostgreSQL features: names of system columns.
        'CREATE TABLE u ("oid" INT)',
        "CREATE TABLE u (xmin INT)",
        "ALTER TABLE t ADD COLUMN ctid INT",
        "ALTER TABLE t RENAME COLUMN a TO tableoid",
        # Reserved words.
        "CREATE TABLE u (tag INT)",
        "CREATE TABLE u (open INT)",
        "CREATE TABLE u (timestamp TIMESTAMP)",
        "CREATE TABLE snapshot (a INT)",
        "ALTER TABLE t ADD COLUMN percent INT",
        # IN condition: one column; unsupported features: row constructors.
        "SELECT * FROM t WHERE (a, b) IN (SELECT a, b FROM s)",
        "SELECT * FROM t WHERE (a, b) NOT IN (SELECT a, b FROM s)",
        "DELETE FROM t WHERE (a, b) IN (SELECT a, b FROM s)",
        # SQL functions supported on the leader node; leader node-only functions.
        "SELECT now(), a FROM t",
        "SELECT a FROM t WHERE current_schema() = 'x'",
        "SELECT CURRENT_TIMESTAMP, a FROM t",
        "SELECT c.relname FROM pg_class c JOIN t ON t.a = c.oid",
        "SELECT t.a FROM t, information_schema.tables i WHERE i.table_name = 'x'",
        "INSERT INTO t (a) SELECT generate_series(1, 3)",
        # Compute node-only functions: LISTAGG, MEDIAN, PERCENTILE_CONT.
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM (SELECT 1 AS v) AS x",
        # PERCENTILE_CONT: one order for all sort-based aggregates.
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), percentile_cont(0.5) WITHIN GROUP (ORDER BY b) FROM t",
        # CREATE VIEW: WITH NO SCHEMA BINDING needs qualified tables.
        "CREATE VIEW v AS SELECT a FROM t WITH NO SCHEMA BINDING",
        "CREATE VIEW v AS SELECT t.a FROM {schema}.t JOIN s ON s.a = t.a WITH NO SCHEMA BINDING",
        # Correlated subqueries: window functions are not decorrelated.
        "SELECT (SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY s.b) AS n FROM s WHERE s.a = t.a) AS x) FROM t",
        # SUPER limitations: no key.
        "CREATE TABLE u (a SUPER) SORTKEY (a)",
        "CREATE TABLE u (a SUPER DISTKEY)",
        # POSIX operators.
        "SELECT * FROM t WHERE c ~ '(?=a)a'",
        "SELECT * FROM t WHERE c ~* 'a'",
        "SELECT regexp_replace(c, '(?!a)b', '') FROM t",
        "SELECT string_to_array(c, ',') FROM t",
    ],
)  # fmt: skip
def test_refused(redshift: Any, statement: str) -> None:
    redshift.refusal(*TABLES, statement.format(schema=redshift.schema))


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE TABLE u ("tag" INT, "open" INT)',
        "SELECT * FROM t WHERE a IN (SELECT a FROM s) AND (b, c) IS NOT NULL OR abs(a) IN (SELECT b FROM s)",
        "SELECT now(), current_schema()",
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LIMIT 1",
        "WITH x AS (SELECT a FROM t), y (b) AS (SELECT a FROM x) "
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY b) FROM y",
        "CREATE VIEW v AS WITH x AS (SELECT a FROM {schema}.t) SELECT a FROM x WITH NO SCHEMA BINDING",
        "SELECT a, (SELECT max(s.b) FROM s WHERE s.a = t.a) FROM t",
        "SELECT x.n FROM (SELECT t.a, row_number() OVER (ORDER BY t.b) AS n FROM t) AS x JOIN s ON s.a = x.a",
        "SELECT extract(year FROM current_date), trim(both FROM 'x')",
        "SELECT * FROM t WHERE c ~ '^a+[0-9]$' AND c !~ 'b'",
    ],
)  # fmt: skip
def test_accepted(redshift: Any, statement: str) -> None:
    redshift.run(*TABLES, statement.format(schema=redshift.schema))


def lengths(redshift: Any, query: str) -> list[tuple[Any, ...]]:
    redshift.run("CREATE TABLE t (a VARBYTE(300), b VARCHAR(7), c NUMERIC(12, 2), d SUPER)")
    return redshift.run(query.format(redshift.schema))


def test_the_columns_view_has_no_length_of_varbyte(redshift: Any) -> None:
    """SVV_COLUMNS: computed as in PostgreSQL 8, which has no VARBYTE."""
    query = (
        "SELECT column_name, character_maximum_length FROM svv_columns WHERE table_schema = '{}' AND table_name = 't'"
    )
    assert sorted(lengths(redshift, query)) == [("a", None), ("b", 7), ("c", None), ("d", None)]


def test_the_catalog_has_the_length_of_varbyte(redshift: Any) -> None:
    """PG_ATTRIBUTE: atttypmod is the length and four bytes."""
    query = (
        "SELECT a.attname, format_type(a.atttypid, NULL), a.atttypmod FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = '{}' AND c.relname = 't' AND a.attnum > 0 ORDER BY a.attnum"
    )
    found = {name: (type_name, modifier) for name, type_name, modifier in lengths(redshift, query)}
    assert found["a"][1] - 4 == 300
    assert found["b"] == ("character varying", 11)
    assert found["c"] == ("numeric", (12 << 16) + 2 + 4)


def test_a_decimal_of_19_digits_overflows(redshift: Any) -> None:
    """Numeric types: DECIMAL(19) is kept in eight bytes."""
    redshift.run("CREATE TABLE t (a DECIMAL(19, 0), b DECIMAL(20, 0), c DECIMAL(19, 2))")
    redshift.run("INSERT INTO t VALUES (9223372036854775807, 99999999999999999999, 92233720368547758.07)")
    redshift.refusal("INSERT INTO t (a) VALUES (9999999999999999999)")
    redshift.refusal("INSERT INTO t (c) VALUES (99999999999999999.99)")
    redshift.run("ALTER TABLE t ADD COLUMN d DECIMAL(19, 0)")
    redshift.refusal("INSERT INTO t (d) VALUES (9999999999999999999)")


def test_an_interval_may_be_a_microsecond(redshift: Any) -> None:
    """Interval literals: the quantity may be a fraction."""
    redshift.run("CREATE TABLE t (a TIMESTAMP)", "INSERT INTO t VALUES ('2024-01-01 00:00:00')")
    step = "INTERVAL '0.000001 seconds'"
    (found,) = redshift.run(f"SELECT (a + {step})::VARCHAR, (a - {step})::VARCHAR FROM t")
    assert found == ("2024-01-01 00:00:00.000001", "2023-12-31 23:59:59.999999")


@pytest.mark.parametrize("design", ["DISTKEY (a)", "SORTKEY (b, a)", "DISTKEY (b) COMPOUND SORTKEY (a)"])
def test_a_key_column_is_not_dropped(redshift: Any, design: str) -> None:
    """ALTER TABLE: not a distribution key, nor a sort key."""
    redshift.run(f"CREATE TABLE t (a INT, b INT, c INT) {design}")
    redshift.refusal("ALTER TABLE t DROP COLUMN a")
    redshift.run(
        "ALTER TABLE t ALTER SORTKEY NONE", "ALTER TABLE t ALTER DISTSTYLE EVEN", "ALTER TABLE t DROP COLUMN a"
    )


def test_a_key_that_was_chosen_later_is_not_dropped(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE t (a INT, b INT, c INT)", "ALTER TABLE t ALTER DISTKEY a", "ALTER TABLE t ALTER SORTKEY (b)"
    )
    redshift.refusal("ALTER TABLE t DROP COLUMN a")
    redshift.run("ALTER TABLE t RENAME COLUMN b TO d")
    redshift.refusal("ALTER TABLE t DROP COLUMN d")
    redshift.run("ALTER TABLE t DROP COLUMN c")


@pytest.mark.parametrize("encoding", ["BYTEDICT", "RUNLENGTH", "TEXT255", "TEXT32K"])
def test_a_column_with_a_dictionary_is_not_widened(redshift: Any, encoding: str) -> None:
    """ALTER TABLE: not with these encodings."""
    redshift.run(f"CREATE TABLE t (a VARCHAR(10) ENCODE {encoding}, b VARCHAR(10) ENCODE zstd)")
    redshift.refusal("ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(20)")
    redshift.run("ALTER TABLE t ALTER COLUMN b TYPE VARCHAR(20)")


def test_varbyte_is_widened_in_place(redshift: Any) -> None:
    """ALTER TABLE: the size of a VARCHAR or VARBYTE."""
    redshift.run("CREATE TABLE t (a VARBYTE(2))", "INSERT INTO t VALUES (FROM_HEX('0102'))")
    redshift.refusal("INSERT INTO t VALUES (FROM_HEX('010203'))")
    redshift.run("ALTER TABLE t ALTER COLUMN a TYPE VARBYTE(4)", "INSERT INTO t VALUES (FROM_HEX('01020304'))")
    assert redshift.run("SELECT count(*) FROM t") == [(2,)]


def test_trailing_blanks_do_not_count(redshift: Any) -> None:
    """Character types: trailing blanks are not significant when VARCHAR values are compared."""
    redshift.run("CREATE TABLE t (a VARCHAR(9))", "CREATE TABLE s (a VARCHAR(9))")
    redshift.run("INSERT INTO t VALUES ('a'), ('a '), (' a')", "INSERT INTO s VALUES ('a  ')")
    assert redshift.run("SELECT count(*) FROM t WHERE a = 'a   '") == [(2,)]
    assert redshift.run("SELECT count(DISTINCT a) FROM t") == [(2,)]
    assert redshift.run("SELECT count(*) FROM t JOIN s ON t.a = s.a") == [(2,)]
    assert redshift.run("SELECT count(*) FROM (SELECT a FROM t GROUP BY a) AS x") == [(2,)]
    assert redshift.run("SELECT count(*) FROM t WHERE a IN (SELECT a FROM s)") == [(2,)]
    assert redshift.run("SELECT count(*) FROM t JOIN s ON t.a = s.a AND octet_length(t.a) <> octet_length(s.a)") == [
        (2,)
    ]


def test_a_boolean_is_not_cast_to_text(redshift: Any) -> None:
    """Type compatibility and conversion: none from BOOLEAN to VARCHAR."""
    redshift.run("CREATE TABLE t (a BOOLEAN, b VARCHAR(9))", "INSERT INTO t VALUES (true, 'x')")
    redshift.refusal("SELECT a::VARCHAR FROM t")
    redshift.refusal("INSERT INTO t (b) SELECT a FROM t")
    assert redshift.run("SELECT CASE WHEN a THEN 'true' ELSE 'false' END FROM t") == [("true",)]


@pytest.mark.parametrize(
    ("document", "fits"), [(DEEP[1:-1], True), (DEEP, False), ('{"a":1,"a":2}', False), ("{", False)]
)
def test_documents_that_super_refuses(redshift: Any, document: str, fits: bool) -> None:
    """SUPER limitations: 1,000 levels; SUPER configurations: no attribute twice."""
    redshift.run("CREATE TABLE t (a VARCHAR(9000))", f"INSERT INTO t VALUES ('{document}')")
    assert redshift.run("SELECT CAN_JSON_PARSE(a) FROM t") == [(fits,)]
    if fits:
        redshift.run("CREATE TABLE s AS SELECT JSON_PARSE(a) AS a FROM t")
    else:
        redshift.refusal("CREATE TABLE s AS SELECT JSON_PARSE(a) AS a FROM t")


def test_the_last_of_several_attributes_counts_where_a_session_says_so(redshift: Any) -> None:
    """SUPER configurations: json_parse_dedup_attributes."""
    (found,) = redshift.run(
        "CREATE TABLE t (a VARCHAR(99))",
        """INSERT INTO t VALUES ('{"a":1,"a":2}')""",
        "SET json_parse_dedup_attributes TO true",
        "SELECT JSON_SERIALIZE(JSON_PARSE(a)) FROM t",
    )
    assert found == ('{"a":2}',)


def test_the_id_of_a_copy_that_was_rolled_back_is_forgotten(redshift: Any) -> None:
    """PG_LAST_COPY_ID: if the COPY is rolled back, the id is not updated."""
    redshift.run("CREATE TABLE t (a VARCHAR(3))")
    good, bad = (redshift.put_parquet(name, pa.table({"a": [value]})) for name, value in (("g", "abc"), ("b", "abcd")))
    connection = redshift.connect()
    with connection.cursor() as cursor:

        def copy_id() -> int:
            cursor.execute("SELECT pg_last_copy_id()")
            found: int = cursor.fetchone()[0]
            return found

        cursor.execute(redshift.copy("t", [good]))
        connection.commit()
        first = copy_id()
        cursor.execute(redshift.copy("t", [good]))
        second = copy_id()
        connection.rollback()
        assert copy_id() == first != second
        with pytest.raises(psycopg2.Error):
            cursor.execute(redshift.copy("t", [bad]))
        connection.rollback()
        assert copy_id() == first


def test_a_session_has_one_cursor(redshift: Any) -> None:
    """DECLARE: one open cursor per session. FETCH: at most 1,000 rows on one node."""
    redshift.run("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1), (2)")
    connection = redshift.connect()
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("DECLARE c CURSOR FOR SELECT a FROM t")
            cursor.execute("FETCH FORWARD 1000 FROM c")
            assert len(cursor.fetchall()) == 2
            cursor.execute("CLOSE c")
        cursor.execute("DECLARE c CURSOR FOR SELECT a FROM t")
        with pytest.raises(psycopg2.Error):
            cursor.execute("DECLARE d CURSOR FOR SELECT a FROM t")
        connection.rollback()
        cursor.execute("DECLARE d CURSOR FOR SELECT a FROM t")
        connection.commit()
