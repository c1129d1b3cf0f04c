"""Transactions, locks and conflicts as a loader relies on them. Runs against a real cluster, too."""

from __future__ import annotations

import re
import threading
from typing import Any

import psycopg2
import pytest


def test_an_error_fails_the_transaction(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)")
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT string_agg(a, ',') FROM t")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cursor.execute("SELECT 1")
    connection.commit()
    assert redshift.run("SELECT * FROM t") == []


def test_truncate_commits(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)", "CREATE TABLE other (a INT)", "INSERT INTO t VALUES (1)")
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO other VALUES (1)")
        cursor.execute("TRUNCATE t")
    connection.rollback()
    assert redshift.run("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM other)") == [(0, 1)]


def test_ddl_is_rolled_back(redshift: Any) -> None:
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a SUPER, b VARBYTE(123))")
    connection.rollback()
    redshift.refusal("SELECT * FROM t")


def test_several_statements_in_one_message_are_one_transaction(redshift: Any) -> None:
    redshift.refusal("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1); INSERT INTO nowhere VALUES (1)")
    assert redshift.run("SELECT * FROM t") == []
    redshift.run("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);")
    assert redshift.run("SELECT count(*) FROM t") == [(2,)]


def test_a_cursor_is_fetched_in_a_transaction(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1), (2), (3)")
    connection = redshift.connect()
    with connection.cursor() as cursor:
        cursor.execute("DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a")
        cursor.execute("FETCH FORWARD 2 FROM c")
        assert cursor.fetchall() == [(1,), (2,)]
        cursor.execute("CLOSE c")
    with connection.cursor("named") as cursor:
        cursor.itersize = 1_000
        cursor.execute("SELECT a FROM t ORDER BY a")
        assert [row for (row,) in cursor] == [1, 2, 3]


def test_a_second_writer_of_a_row_is_told_to_repeat(redshift: Any) -> None:
    redshift.run("CREATE TABLE ledger (id INT, position INT)", "INSERT INTO ledger VALUES (1, 0)")
    first, second = redshift.connect(), redshift.connect()
    first_cursor, second_cursor = first.cursor(), second.cursor()
    second_cursor.execute("SELECT * FROM ledger")
    first_cursor.execute("UPDATE ledger SET position = 1 WHERE id = 1")
    first.commit()
    with pytest.raises(psycopg2.Error) as caught:
        second_cursor.execute("UPDATE ledger SET position = 2 WHERE id = 1")
        second.commit()
    assert caught.value.pgcode == "XX000"
    # As the isolation level of the database is SNAPSHOT or SERIALIZABLE.
    assert re.search(
        "conflict with concurrent transaction|1023(.|\n)*Serializable isolation violation on table", str(caught.value)
    )


def test_a_lock_as_the_first_statement_prevents_it(redshift: Any) -> None:
    redshift.run("CREATE TABLE ledger (id INT, position INT)", "INSERT INTO ledger VALUES (1, 0)")

    def advance() -> None:
        connection = redshift.connect()
        with connection.cursor() as cursor:
            cursor.execute("LOCK ledger")
            cursor.execute("SELECT position FROM ledger WHERE id = 1")
            position = cursor.fetchone()[0]
            cursor.execute("UPDATE ledger SET position = %s WHERE id = 1", (position + 1,))
        connection.commit()

    threads = [threading.Thread(target=advance) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redshift.run("SELECT position FROM ledger") == [(8,)]


def test_a_waiting_statement_can_be_cancelled(redshift: Any) -> None:
    redshift.run("CREATE TABLE t (a INT)")
    holder, waiter = redshift.connect(), redshift.connect()
    holder.cursor().execute("LOCK t")
    cancelling = threading.Timer(0.3, waiter.cancel)
    cancelling.start()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        waiter.cursor().execute("LOCK t")
    cancelling.join()
