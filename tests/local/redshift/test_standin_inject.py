"""Faults on demand, which only the stand-in knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg2
import pyarrow as pa
import pytest


@pytest.fixture
def standin(redshift: Any) -> Iterator[Any]:
    redshift.run("CREATE TABLE t (a INT)")
    yield redshift
    redshift.run("STANDIN RESET")


def inject(standin: Any, statement: str, action: str, nth: int = 1) -> None:
    described = json.dumps({"statement": statement, "action": action, "nth": nth})
    standin.run(f"STANDIN INJECT '{described}'")


def count(standin: Any) -> int:
    ((found,),) = standin.run("SELECT count(*) FROM t")
    return int(found)


def test_the_nth_statement_fails_once(standin: Any) -> None:
    inject(standin, "insert", "error:42501:not today", nth=2)
    standin.run("INSERT INTO t VALUES (1)")
    error = standin.refusal("INSERT INTO t VALUES (2)")
    assert (error.pgcode, "not today" in str(error)) == ("42501", True)
    standin.run("INSERT INTO t VALUES (3)")
    assert count(standin) == 2


def test_a_commit_that_fails_leaves_nothing(standin: Any) -> None:
    inject(standin, "commit", "error:1023")
    connection = standin.connect()
    connection.cursor().execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg2.errors.InternalError_, match="1023"):
        connection.commit()
    connection.rollback()
    connection.cursor().execute("INSERT INTO t VALUES (2)")
    connection.commit()
    assert count(standin) == 1


@pytest.mark.parametrize(("action", "rows"), [("close", 0), ("close_after", 1)])
def test_a_connection_lost_before_or_after_the_commit(standin: Any, action: str, rows: int) -> None:
    inject(standin, "commit", action)
    connection = standin.connect()
    connection.cursor().execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg2.OperationalError):
        connection.commit()
    assert count(standin) == rows


def test_a_connection_lost_in_the_middle_of_copy(standin: Any) -> None:
    entries = [standin.put_parquet(name, pa.table({"a": pa.array([1, 2], pa.int32())})) for name in "ab"]
    inject(standin, "copy", "close_after_rows:2")
    connection = standin.connect(autocommit=True)
    with pytest.raises(psycopg2.OperationalError):
        connection.cursor().execute(standin.copy("t", entries))
    assert count(standin) == 0
    standin.run(standin.copy("t", entries))
    assert count(standin) == 4


def test_a_delay_holds_the_statement_back(standin: Any) -> None:
    inject(standin, "select", "sleep:0.2")
    assert standin.run("SELECT 1") == [(1,)]


def test_reset_forgets(standin: Any) -> None:
    with standin.connect(autocommit=True).cursor() as cursor:
        inject(standin, "any", "close")
        cursor.execute("STANDIN RESET")
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("described", ["{}", "[]", "no json", '{"statement":"copy","action":"explode"}'])
def test_malformed_faults_are_refused(standin: Any, described: str) -> None:
    assert standin.refusal(f"STANDIN INJECT '{described}'").pgcode == "42601"
