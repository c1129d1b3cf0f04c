"""What Redshift refuses, statement by statement. Runs against a real cluster, too."""

from __future__ import annotations

from typing import Any

import pytest

TABLE = "CREATE TABLE t (id INT, a VARCHAR(20))"
SOURCE = "CREATE TABLE s (id INT, a VARCHAR(20))"
MATCHED = "WHEN MATCHED THEN UPDATE SET a = x.a"
NOT_MATCHED = "WHEN NOT MATCHED THEN INSERT (id, a) VALUES (x.id, x.a)"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1, 'a') RETURNING id",
        "INSERT INTO t VALUES (1, 'a') ON CONFLICT DO NOTHING",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT 1, 'a'",
        "DELETE FROM t AS target WHERE target.id = 1",
        "DELETE FROM t target WHERE target.id = 1",
        "SELECT * FROM t WHERE id IS DISTINCT FROM 1",
        "SELECT * FROM t WHERE id IS NOT DISTINCT FROM 1",
        "SELECT DISTINCT ON (id) * FROM t",
        "SELECT count(*) FILTER (WHERE id > 1) FROM t",
        "SELECT * FROM t, LATERAL (SELECT t.id) AS other",
        "SELECT * FROM (VALUES (1), (2)) AS v",
        "WITH v (a) AS (VALUES (1)) SELECT * FROM v",
        "SELECT * FROM t WHERE id = ANY (ARRAY[1, 2])",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR UPDATE SKIP LOCKED",
        "SELECT string_agg(a, ',') FROM t",
        "SELECT array_agg(a) FROM t",
        "SELECT gen_random_uuid() FROM t",
        "SELECT pg_advisory_lock(1)",
        "SELECT a->>'x' FROM t",
        "SELECT jsonb_build_object('a', a) FROM t",
        "SELECT sum(id) OVER (PARTITION BY a ORDER BY id) FROM t",
        "SELECT a::UUID FROM t",
        "SELECT CAST(a AS JSONB) FROM t",
        "SELECT E'a' FROM t",
        "LOCK t IN SHARE MODE",
        "LISTEN channel",
        "NOTIFY channel",
        "CREATE INDEX i ON t (id)",
        "CREATE UNIQUE INDEX i ON t (id)",
        "CREATE SEQUENCE q",
        "CREATE TYPE mood AS ENUM ('a')",
        "CREATE EXTENSION pgcrypto",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS b INT",
        "ALTER TABLE t ADD COLUMN b INT, ADD COLUMN c INT",
        "ALTER TABLE t ADD COLUMN b INT NOT NULL",
        "ALTER TABLE t DROP COLUMN IF EXISTS a",
        "ALTER TABLE t ALTER COLUMN id SET NOT NULL",
        "ALTER TABLE t ALTER COLUMN id SET DEFAULT 1",
        "COPY t FROM STDIN",
        "COPY t TO STDOUT",
        "COPY t FROM STDIN WITH (FORMAT csv)",
    ],
)
def test_refused(redshift: Any, statement: str) -> None:
    redshift.refusal(TABLE, statement)


@pytest.mark.parametrize(
    "column",
    [
        "UUID", "BYTEA", "JSON", "JSONB", "SERIAL", "BIGSERIAL", "MONEY", "INET", "XML", "INT[]", "VARCHAR(65536)",
        "VARCHAR(0)", "CHAR(4097)", "NUMERIC(39, 0)", "NUMERIC(10, 11)", "VARBYTE(16777217)",
        "INT CHECK (c > 0)", "INT GENERATED ALWAYS AS (1) STORED",
    ],
)  # fmt: skip
def test_refused_column(redshift: Any, column: str) -> None:
    redshift.refusal(f"CREATE TABLE refused (c {column})")


@pytest.mark.parametrize(
    "merge",
    [
        f"MERGE INTO t USING s x ON t.id = x.id {MATCHED}",
        f"MERGE INTO t USING s x ON t.id = x.id {NOT_MATCHED}",
        f"MERGE INTO t target USING s x ON target.id = x.id {MATCHED} {NOT_MATCHED}",
        f"MERGE INTO t AS target USING s x ON target.id = x.id {MATCHED} {NOT_MATCHED}",
        f"MERGE INTO t USING (SELECT * FROM s) x ON t.id = x.id {MATCHED} {NOT_MATCHED}",
        f"MERGE INTO t USING s x ON t.id = x.id {MATCHED.replace('THEN', 'AND x.id > 1 THEN')} {NOT_MATCHED}",
        f"MERGE INTO t USING s x ON t.id = x.id {MATCHED} WHEN NOT MATCHED THEN DO NOTHING",
        f"MERGE INTO t USING s x ON t.id = x.id {MATCHED} {NOT_MATCHED} WHEN NOT MATCHED BY SOURCE THEN DELETE",
    ],
)
def test_refused_merge(redshift: Any, merge: str) -> None:
    redshift.refusal(TABLE, SOURCE, merge)


def test_merge_updates_and_inserts(redshift: Any) -> None:
    redshift.run(
        TABLE, SOURCE, "INSERT INTO t VALUES (1, 'old'), (2, 'kept')", "INSERT INTO s VALUES (1, 'new'), (3, 'x')"
    )
    redshift.run(f"MERGE INTO t USING s AS x ON t.id = x.id {MATCHED} {NOT_MATCHED}")
    assert redshift.run("SELECT id, a FROM t ORDER BY id") == [(1, "new"), (2, "kept"), (3, "x")]


def test_merge_refuses_two_source_rows_for_one_target_row(redshift: Any) -> None:
    rows = ("INSERT INTO t VALUES (1, 'old')", "INSERT INTO s VALUES (1, 'a'), (1, 'b')")
    merge = f"MERGE INTO t USING s x ON t.id = x.id {MATCHED} {NOT_MATCHED}"
    assert redshift.refusal(TABLE, SOURCE, *rows, merge).pgcode == "XX000"


def test_merge_inserts_null_keys_every_time(redshift: Any) -> None:
    merge = f"MERGE INTO t USING s x ON t.id = x.id {MATCHED} {NOT_MATCHED}"
    redshift.run(TABLE, SOURCE, "INSERT INTO s VALUES (NULL, 'a')", merge, merge)
    assert redshift.run("SELECT count(*) FROM t") == [(2,)]


@pytest.mark.parametrize("statement", ["SAVEPOINT a", "VACUUM t", "LOCK t IN ROW EXCLUSIVE MODE"])
def test_refused_in_a_transaction(redshift: Any, statement: str) -> None:
    redshift.refusal(TABLE, "BEGIN", statement)


def test_the_words_may_stand_in_strings_names_and_comments(redshift: Any) -> None:
    redshift.run(
        TABLE,
        """INSERT INTO t VALUES (1, 'RETURNING ->> $$;') -- ON CONFLICT
        /* DISTINCT ON ( /* nested */ ; */""",
        'ALTER TABLE t ADD COLUMN "returning" INT',
    )
    assert redshift.run('SELECT a, "returning" FROM t') == [("RETURNING ->> $$;", None)]


def test_delete_using_and_update_from(redshift: Any) -> None:
    redshift.run(TABLE, SOURCE, "INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO s VALUES (1, 'x')")
    redshift.run("UPDATE t SET a = s.a FROM s WHERE t.id = s.id", "DELETE FROM t USING s x WHERE t.id <> x.id")
    assert redshift.run("SELECT * FROM t") == [(1, "x")]
