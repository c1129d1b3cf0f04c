"""Drivers' errors as ours: no value of a row is in them."""

from __future__ import annotations

from contextlib import closing
from io import StringIO
from types import SimpleNamespace
from typing import cast

import psycopg2
import pymysql
import pytest
from pymongo import errors

from local.stack import Stack
from millrace.base.errors import (
    ConfigurationError,
    Conflict,
    FatalError,
    MillraceError,
    RetryableError,
    SourceMissing,
    Unreachable,
)
from millrace.drivers import mongo_client, pymysql_errors
from millrace.drivers.psycopg_errors import database_errors, translate
from millrace.drivers.session_settings import begin_reading
from millrace.warehouse.session import open_session
from tests.support.engine import database_of


def run(url: str, statement: str, *, commit: bool = False) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor, database_errors("somewhere"):
        cursor.execute(statement)
        if commit:
            connection.commit()


def test_a_data_error_does_not_quote_the_value(postgres_database: str) -> None:
    with pytest.raises(FatalError, match="invalid input syntax") as failure:
        run(postgres_database, "SELECT 'John \"Jack\" Smith, born 1970'::int")
    assert "Smith" not in str(failure.value)
    assert "Jack" not in str(failure.value)


IN_A_FUNCTION = "DO $$ DECLARE who text := 'Smith'; BEGIN {} END $$"
HOLDS_A_VALUE = (
    *(
        f"RAISE EXCEPTION 'no such customer: %', who USING ERRCODE = '{code}'"
        for code in ("P0001", "42P01", "42703", "40001", "28P01", "23505", "22P02", "57014", "53100", "XX000", "ABCDE")
    ),
    "RAISE unique_violation USING MESSAGE = who, DETAIL = who, HINT = who",
    "ASSERT false, who",
    "EXECUTE 'SELECT * FROM ' || who",
    "EXECUTE 'SELECT ' || who",
    "EXECUTE 'Smith 1'",
    "EXECUTE 'SET ' || who || ' = 1'",
    "PERFORM who::int",
)
READ_AS_SOMETHING_ELSE = (
    *(
        f"SELECT v::{kind} FROM (VALUES ('Smith'::text)) AS t (v)"
        for kind in (
            *(
                "int",
                "numeric",
                "float8",
                "boolean",
                "date",
                "timestamptz",
                "interval",
                "time",
                "uuid",
                "json",
                "jsonb",
            ),
            *("inet", "macaddr", "point", "money", "bit(8)", "int[]", "int4range", "time", "regclass", "regtype"),
            *("regrole", "regproc", "regnamespace", "xml", "pg_lsn", "tid", "oid"),
        )
    ),
    """SELECT v::tsquery FROM (VALUES ('Smith & ( ''Jones'':')) AS t (v)""",
    "SELECT 'Smith.Smith'::text::regclass",
    "SELECT 'a.b.Smith.d'::text::regclass",
    "SELECT 'Smith('::text::regprocedure",
    """SELECT '{"Smith": }'::text::jsonb""",
    """SELECT '"Smith"'::jsonb::int""",
    "SELECT to_date('Smith', 'YYYY-MM-DD')",
    "SELECT to_timestamp('Smith', 'HH24')",
    "SELECT to_number('Smith', 'Smith')",
    "SELECT now() AT TIME ZONE 'Smith'",
    "SELECT 'a' ~ '(Smith'",
    "SELECT decode('Smith', 'hex')",
    "SELECT decode('a', 'Smith')",
    "SELECT date_part('Smith', now())",
    "SELECT date_trunc('Smith', now())",
    "SELECT make_interval(secs => 'Smith'::text::float8)",
    "SELECT set_config('work_mem', 'Smith', true)",
    "SELECT current_setting('Smith')",
    "SELECT has_column_privilege('pg_class', 'Smith', 'select')",
    "SELECT has_database_privilege('Smith', 'connect')",
    "SELECT pg_get_serial_sequence('pg_class', 'Smith')",
    "SELECT nextval('Smith'::text)",
    "SELECT pg_size_bytes('Smith')",
    "SELECT jsonb_path_query('{}', 'strict $.Smith'::text::jsonpath)",
    "SELECT xpath('Smith(', '<a/>'::xml)",
    "SELECT 'Smith'::varchar COLLATE \"C\" ::bit(4)",
    "SELECT format('%Smith', 1)",
    "SELECT convert_from('Smith'::bytea, 'Smith')",
)
WRITTEN = (
    "INSERT INTO customers VALUES (2, 'Smith', '{}')",
    "INSERT INTO customers VALUES (1, 'Smith', 'Smith')",
    "INSERT INTO customers VALUES (3, NULL, '{}')",
    "INSERT INTO customers VALUES (4, 'Smith and his family', '{}')",
    "UPDATE customers SET name = 'Smith' WHERE id = 1",
)


@pytest.mark.parametrize("statement", [*map(IN_A_FUNCTION.format, HOLDS_A_VALUE), *READ_AS_SOMETHING_ELSE])
def test_no_value_is_in_the_error_of_a_read(statement: str, postgres_database: str) -> None:
    with closing(psycopg2.connect(postgres_database)) as connection:
        begin_reading(connection, "READ COMMITTED")
        with pytest.raises(MillraceError) as failure, connection.cursor() as cursor, database_errors("somewhere"):
            cursor.execute(statement)
    assert "Smith" not in str(failure.value)
    assert failure.value.remedy


@pytest.mark.parametrize("statement", WRITTEN)
def test_no_value_is_in_the_error_of_a_write(statement: str, postgres_database: str) -> None:
    run(
        postgres_database,
        "CREATE TABLE customers (id int PRIMARY KEY, name varchar(6) NOT NULL UNIQUE CHECK (name <> 'Smith'), of json);"
        "INSERT INTO customers VALUES (1, 'Jones', '{}')",
        commit=True,
    )
    with pytest.raises(FatalError) as failure:
        run(postgres_database, statement)
    assert "Smith" not in str(failure.value)


def test_a_trigger_that_raises_with_a_value_is_told_without_it(postgres_database: str) -> None:
    run(
        postgres_database,
        "CREATE TABLE customers (email text); CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', NEW.email USING ERRCODE = 'unique_violation'; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION refuse()",
        commit=True,
    )
    with pytest.raises(FatalError, match=r"INSERT: unique violation, in a function of the database") as failure:
        run(postgres_database, "INSERT INTO customers VALUES ('smith@example.com')")
    assert "smith" not in str(failure.value)


def test_the_kind_of_statement_and_the_column_are_told(postgres_database: str) -> None:
    with closing(psycopg2.connect(postgres_database)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE stage (id int, price numeric)")
        with pytest.raises(FatalError) as failure, database_errors("somewhere"):
            cursor.copy_expert("COPY stage FROM STDIN (FORMAT csv)", StringIO("1,Smith, Jones\n".replace(", ", " ")))
    assert failure.value.problem == ('COPY, column price: invalid input syntax for type numeric: "…" (SQLSTATE 22P02)')


@pytest.mark.parametrize("words", ["Relation »Smith« existiert nicht", "la relation « Smith » n'existe pas", "Smith"])
def test_a_language_that_is_not_known_is_not_shown(words: str) -> None:
    diagnostics = SimpleNamespace(message_primary=words, statement_position=None, context=None)
    error = SimpleNamespace(pgcode="42P01", diag=diagnostics)
    told = str(translate(cast("Exception", error), "somewhere"))
    assert "Smith" not in told
    assert "undefined table" in told


def test_a_value_that_reads_like_a_conflict_is_none(postgres_database: str) -> None:
    with pytest.raises(FatalError) as failure:
        run(postgres_database, "DO $$ BEGIN RAISE EXCEPTION 'customer 1023, tuple concurrently updated'; END $$")
    assert not isinstance(failure.value, RetryableError)


def test_messages_come_in_english_where_this_user_may_choose(stack: Stack, postgres_database: str) -> None:
    def language(url: str) -> str:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            begin_reading(connection, "READ COMMITTED")
            cursor.execute("SHOW lc_messages")
            return str(cursor.fetchone()[0])

    name = database_of(postgres_database)
    stack.postgres.execute(f"ALTER DATABASE \"{name}\" SET lc_messages = 'POSIX'")
    assert language(postgres_database) == "POSIX"
    assert language(stack.postgres.url(name)) == "C"


def test_the_text_of_an_exception_that_a_function_raised_is_not_passed_on(postgres_database: str) -> None:
    with pytest.raises(FatalError, match=r"a function in the database raised an exception.*by hand") as failure:
        run(postgres_database, "DO $$ BEGIN RAISE EXCEPTION 'no such customer: Smith'; END $$")
    assert "Smith" not in str(failure.value)


@pytest.mark.parametrize("quoted", ['"Smith"', "»Smith«", "«Smith»", "„Smith“", "“Smith”"])
def test_a_data_error_in_another_language_does_not_quote_the_value(quoted: str) -> None:
    error = SimpleNamespace(pgcode="22P02", diag=SimpleNamespace(message_primary=f"ungültig: {quoted}"))
    assert "Smith" not in str(translate(cast("Exception", error), "somewhere"))


@pytest.mark.parametrize("code", ["25P03", "25P04", "57P05", "55P03", "57P01", "40001", "57014", "72000", "53300"])
def test_what_passes_by_itself_is_tried_again(code: str) -> None:
    error = SimpleNamespace(pgcode=code, diag=SimpleNamespace(message_primary="it ended"))
    assert isinstance(translate(cast("Exception", error), "somewhere"), RetryableError)


@pytest.mark.parametrize("code", [1021, 1037, 1040, 1041, 1047, 1053, 1135, 1206, 1213, 1226, 1317, 1412, 1637, 4031])
def test_what_passes_by_itself_in_mysql_is_tried_again(code: int) -> None:
    error = pymysql_errors.translate(pymysql.err.OperationalError(code, "it ended"), "somewhere")
    assert isinstance(error, RetryableError)


@pytest.mark.parametrize(
    "code",
    [
        *(6, 7, 24, 43, 46, 50, 63, 89, 91, 112, 133, 134, 136, 150, 175, 189, 202, 237, 239, 246, 262, 279, 317, 384),
        *(9001, 10058, 10107, 11600, 11601, 11602, 13388, 13435, 13436),
    ],
)
def test_what_passes_by_itself_in_mongodb_is_tried_again(code: int) -> None:
    kind = errors.CursorNotFound if code == 43 else errors.OperationFailure
    assert isinstance(mongo_client.translate(kind("it ended", code), "somewhere"), RetryableError)


@pytest.mark.parametrize("text", ["could not complete because of conflict with concurrent transaction", "1023"])
def test_a_conflict_of_redshift_is_repeated(text: str) -> None:
    error = SimpleNamespace(pgcode="XX000", diag=SimpleNamespace(message_primary=text))
    assert isinstance(translate(cast("Exception", error), "somewhere"), Conflict)


def test_a_type_of_the_tables_name_is_a_conflict_that_says_what_to_do_if_it_stays(postgres_database: str) -> None:
    """Two sessions that make one table meet as well at the type of its rows."""
    with pytest.raises(
        Conflict, match=r"already exists\. Remedy: run again.*If it stays: a type of this name is there"
    ):
        run(postgres_database, "CREATE TYPE notes AS ENUM ('a'); CREATE TABLE notes (id int)")


def test_who_may_not_connect_is_told_so(stack: Stack, postgres_database: str) -> None:
    name = database_of(postgres_database)
    stack.postgres.execute(
        f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC; ALTER DATABASE "{name}" OWNER TO postgres'
    )
    with pytest.raises(ConfigurationError, match=r"permission denied for database.*grant it"), database_errors("there"):
        psycopg2.connect(postgres_database)


def test_a_missing_table_is_still_named(postgres_database: str) -> None:
    with pytest.raises(SourceMissing, match='relation "absent" does not exist'):
        run(postgres_database, "SELECT * FROM absent")


def test_a_warehouse_that_is_lost_is_named(postgres_database: str) -> None:
    """The place of a stream names its source, which is well."""
    place = "stream shop.notes (postgres:public.notes)"
    with (
        pytest.raises(Unreachable) as lost,
        open_session(lambda: psycopg2.connect(postgres_database), place) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert lost.value.place == f"warehouse, {place}"


@pytest.mark.parametrize("condition", ["nope = 1", "1 =", "nope(1)"])
def test_a_condition_that_the_source_does_not_understand_names_where(postgres_database: str, condition: str) -> None:
    with pytest.raises(FatalError) as failure:
        run(postgres_database, f"SELECT 1 FROM (SELECT 1 AS id) AS t WHERE {condition}")
    assert failure.value.remedy.startswith("correct where= of the stream")


@pytest.mark.parametrize("code", [1054, 1064, 1305])
def test_a_condition_that_mysql_does_not_understand_names_where(code: int) -> None:
    error = pymysql_errors.translate(pymysql.err.OperationalError(code, "it is wrong"), "somewhere")
    assert error.remedy.startswith("correct where= of the stream")
