"""Messages that a newcomer meets: each says what is wrong, where, and what helps."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError, FatalError
from millrace.declaration.source_kinds import SourceReference
from millrace.drivers.psycopg_errors import database_errors


def run(url: str, *statements: str) -> None:
    place = "stream shop.notes (postgres:public.notes)"
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor, database_errors(place):
        for statement in statements:
            cursor.execute(statement)


def test_a_view_that_was_never_filled_says_so(postgres_database: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SELECT: .*has not been populated.*Remedy: REFRESH MATER"):
        run(postgres_database, "CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA", "SELECT * FROM v")


def test_a_value_that_does_not_fit_is_found_by_the_query_of_the_plan(postgres_database: str) -> None:
    told = r'SELECT: invalid input syntax for type integer: "…" \(SQLSTATE 22P02\)\. Remedy: .*`millrace plan`'
    with pytest.raises(FatalError, match=told):
        run(postgres_database, "SELECT 'Smith'::text::int")


def test_what_nobody_knows_names_the_statement_and_how_to_see_it(postgres_database: str) -> None:
    with pytest.raises(FatalError, match=r"UPDATE: .*\(SQLSTATE \w{5}\)\. Remedy: run the statement"):
        run(postgres_database, "CREATE TABLE t (a int)", "UPDATE t SET ctid = NULL")


@pytest.mark.parametrize("source", ["postgres/my_lab:public.plain", "mysql/Lab:shop.orders", "mongo/a.b:shop.orders"])
def test_a_connection_with_a_wrong_name_is_told_as_that(source: str) -> None:
    told = r"^stream plain: '.*' in source .* is not the name of a connection\. Remedy: use lower-case letters, digits"
    with pytest.raises(ConfigurationError, match=told):
        Stream("plain", source, "id", Incremental("at"))


@pytest.mark.parametrize("source", ["postgres", "oracle:a.b", "postgres:orders", "postgres/shop"])
def test_another_source_that_is_not_understood_shows_the_form(source: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not understood\. Remedy: write kind:schema\.name"):
        SourceReference.parse(source)
