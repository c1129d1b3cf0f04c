"""Tables, types and catalog views as a loader relies on them. Runs against a real cluster, too."""

from __future__ import annotations

from typing import Any

import pytest

COLUMNS = """
SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale, is_nullable
FROM svv_columns WHERE table_schema = '{}' AND table_name = 't' ORDER BY ordinal_position
"""


def columns(redshift: Any) -> list[tuple[Any, ...]]:
    return redshift.run(COLUMNS.format(redshift.schema))


def test_the_catalog_tells_types_as_redshift_does(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE t (a SMALLINT ENCODE az64, b BIGINT NOT NULL DISTKEY, c NUMERIC, d DECIMAL(38, 9), e VARCHAR, "
        "f TEXT, g VARCHAR(MAX), h CHARACTER VARYING(7), i TIMESTAMP, j TIMESTAMPTZ, k SUPER, l VARBYTE(100), "
        "m BOOLEAN, n DOUBLE PRECISION, o REAL, p DATE, q INT IDENTITY(1, 1), PRIMARY KEY (a), UNIQUE (b)) "
        "DISTSTYLE KEY SORTKEY (b)"
    )
    found = {name: (kind, length, nullable) for name, kind, length, _, _, nullable in columns(redshift)}
    assert found["a"] == ("smallint", None, "NO")
    assert found["b"] == ("bigint", None, "NO")
    assert found["e"] == found["f"] == ("character varying", 256, "YES")
    assert found["g"] == ("character varying", 65535, "YES")
    assert found["h"] == ("character varying", 7, "YES")
    assert found["i"][0] == "timestamp without time zone"
    assert found["j"][0] == "timestamp with time zone"
    assert found["k"][0] == "super"
    assert found["l"][0] == "binary varying"
    assert {name: kind[0] for name, kind in found.items() if name in "mnop"} == {
        "m": "boolean",
        "n": "double precision",
        "o": "real",
        "p": "date",
    }
    numerics = {
        name: (precision, scale) for name, kind, _, precision, scale, _ in columns(redshift) if kind == "numeric"
    }
    assert numerics == {"c": (18, 0), "d": (38, 9)}


def test_information_schema_knows_the_columns(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a VARCHAR(9))")
    query = (
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns "
        f"WHERE table_schema = '{redshift.schema}'"
    )
    assert redshift.run(query) == [("a", "character varying", 9)]


def test_varchar_counts_bytes(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a VARCHAR(5))", "INSERT INTO t VALUES ('éé'), ('éé   ')")
    error = redshift.refusal("INSERT INTO t VALUES ('ééé')")
    assert error.pgcode == "22001"
    assert "value too long for type character varying(5)" in str(error)
    assert redshift.refusal("INSERT INTO t SELECT 'é' || a FROM t").pgcode == "22001"
    assert redshift.run("SELECT DISTINCT octet_length(rtrim(a)) FROM t") == [(4,)]


def test_a_cast_cuts_by_bytes(redshift: Any) -> None:
    assert redshift.run("SELECT 'ééé'::VARCHAR(5)") == [("éé",)]


def test_names_fold_to_lower_case_even_quoted(redshift: Any) -> None:
    redshift.run('CREATE TABLE t ("MixedCase" INT, "select" INT, "a b" INT)')
    assert [row[0] for row in columns(redshift)] == ["mixedcase", "select", "a b"]
    assert redshift.run('SELECT MIXEDCASE, "SELECT", "A B" FROM t') == []


def test_keys_are_not_enforced_but_not_null_is(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, f INT REFERENCES parent (id), "
        "FOREIGN KEY (u) REFERENCES parent)",
        "INSERT INTO t VALUES (1, 1, 7), (1, 1, 7)",
    )
    assert redshift.run("SELECT count(*) FROM t") == [(2,)]
    redshift.refusal("INSERT INTO t (u) VALUES (1)")


def test_create_table_like_and_as(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE source (a VARCHAR(3) DEFAULT 'x', b NUMERIC(10, 2), c VARBYTE(4))",
        "CREATE TABLE t (LIKE source INCLUDING DEFAULTS)",
        "INSERT INTO t (b) VALUES (1.005)",
        "CREATE TEMP TABLE copied DISTSTYLE EVEN AS SELECT * FROM t",
    )
    assert columns(redshift)[0][:3] == ("a", "character varying", 3)
    assert str(redshift.run("SELECT a, b FROM t")[0][1]) == "1.01"


def test_identity_fills_itself(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (id BIGINT IDENTITY(10, 5), a INT)", "INSERT INTO t (a) VALUES (1), (2)")
    assert redshift.run("SELECT count(DISTINCT id) FROM t WHERE id >= 10 AND MOD(id, 5) = 0") == [(2,)]
    redshift.refusal("INSERT INTO t (id, a) VALUES (1, 1)")


def test_columns_are_added_one_at_a_time_and_dropped(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE t (a INT)",
        "ALTER TABLE t ADD COLUMN b VARCHAR(4)",
        "ALTER TABLE t ADD COLUMN c INT DEFAULT 7 NOT NULL",
        "ALTER TABLE t RENAME COLUMN b TO d",
        "ALTER TABLE t DROP COLUMN a",
    )
    assert [row[0] for row in columns(redshift)] == ["d", "c"]


def test_a_varchar_is_widened_outside_of_transactions(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a VARCHAR(4), b INT)", "INSERT INTO t VALUES ('abcd')")
    redshift.run("ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(300)", "INSERT INTO t VALUES (repeat('x', 300))")
    assert columns(redshift)[0][2] == 300
    redshift.refusal("ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(299)")
    redshift.refusal("ALTER TABLE t ALTER COLUMN b TYPE BIGINT")
    connection = redshift.connect()
    with connection.cursor() as cursor, pytest.raises(Exception, match="transaction block"):
        cursor.execute("ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(400)")


@pytest.mark.parametrize("column", ["a VARCHAR(4) DEFAULT 'x'", "a VARCHAR(4) UNIQUE", "a VARCHAR(4) PRIMARY KEY"])
def test_a_varchar_with_default_or_key_keeps_its_size(redshift: Any, column: str) -> None:
    redshift.refusal(f"CREATE TABLE t ({column})", "ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(300)")


def test_super_and_varbyte_go_through_sql(redshift: Any) -> None:
    redshift.run(
        "CREATE TABLE t (document SUPER, bytes VARBYTE(100))",
        """INSERT INTO t SELECT JSON_PARSE('{"b":[1,2.50],"a":"x: y, z"}'), TO_VARBYTE('{"a":"é"}', 'utf-8')""",
        "INSERT INTO t SELECT JSON_PARSE(bytes), bytes FROM t",
    )
    documents = {row[0] for row in redshift.run("SELECT JSON_SERIALIZE(document) FROM t")}
    assert '{"a":"é"}' in documents
    assert redshift.run("SELECT DISTINCT FROM_VARBYTE(bytes, 'utf-8'), octet_length(bytes) FROM t") == [
        ('{"a":"é"}', 10)
    ]
    assert redshift.run("SELECT CAN_JSON_PARSE('{\"a\":'), CAN_JSON_PARSE('[1]')") == [(False, True)]
    redshift.refusal("SELECT JSON_PARSE('{')")


def test_varbyte_has_a_length(redshift: Any) -> None:
    redshift.refusal("CREATE TABLE t (bytes VARBYTE(3))", "INSERT INTO t SELECT TO_VARBYTE('abcd', 'utf-8')")


def test_a_backslash_escapes_in_strings(redshift: Any) -> None:
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s, '\\\\'", ("it's \\ back",))
        assert cursor.fetchone() == ("it's \\ back", "\\")


def test_functions_a_loader_uses(redshift: Any) -> None:
    query = (
        "SELECT DATEADD(month, 1, '2024-01-31'::DATE)::VARCHAR, DATEDIFF(day, '2024-02-28'::DATE, '2024-03-01'::DATE), "
        "NVL(NULL, 3), LEN('éé'), STRTOL('ff', 16), MD5('x'), NVL2(NULL::INT, 1, 2)"
    )
    expected = ("2024-02-29 00:00:00", 2, 3, 2, 255, "9dd4e461268c8034f5c8564e155c67a6", 2)
    assert redshift.run(query) == [expected]
    redshift.run("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (2), (1)")
    assert redshift.run("SELECT LISTAGG(a, '-') WITHIN GROUP (ORDER BY a) FROM t") == [("1-2",)]
    ((now, begun),) = redshift.run("SELECT GETDATE(), SYSDATE")
    assert now.microsecond == 0
    assert abs((begun - now).total_seconds()) < 60


def test_drivers_see_an_old_postgres(redshift: Any) -> None:
    assert redshift.connect().server_version == 80002
    ((version,),) = redshift.run("SELECT version()")
    assert version.startswith("PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC")
    assert "Redshift 1.0" in version
