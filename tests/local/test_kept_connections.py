"""Connections that tests keep: whoever gets one next finds nothing of the session before."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import psycopg2
import pytest

from local.stack import Stack
from tests.support.connections import KeptConnection, KeptConnections

SPOIL = "CREATE TEMPORARY TABLE left_behind (n int); SET search_path = nowhere; SET TimeZone = 'Asia/Tokyo'"
ASK = "SELECT to_regclass('left_behind'), current_setting('search_path'), current_setting('TimeZone')"


@pytest.fixture
def kept(postgres_database: str) -> KeptConnections:
    return KeptConnections(partial(psycopg2.connect, postgres_database, connection_factory=KeptConnection))


@pytest.fixture
def kept_by_redshift(warehouse_url: str) -> KeptConnections:
    url = warehouse_url.replace("redshift+psycopg2", "postgresql")
    return KeptConnections(partial(psycopg2.connect, url, connection_factory=KeptConnection), is_redshift=True)


def ask(connect: KeptConnections, question: str) -> Any:
    with closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()


def session_of(connect: KeptConnections) -> int:
    return int(ask(connect, "SELECT pg_backend_pid()")[0])


def test_nothing_of_a_session_is_left(kept: KeptConnections) -> None:
    before, session = ask(kept, ASK), session_of(kept)
    with closing(kept()) as connection:
        connection.cursor().execute(SPOIL)
        connection.commit()
        connection.cursor().execute("CREATE TABLE public.never_committed (n int)")
    assert session_of(kept) == session
    assert ask(kept, ASK) == before
    assert ask(kept, "SELECT to_regclass('never_committed')") == (None,)


def test_nothing_of_a_session_of_the_stand_in_is_left(kept_by_redshift: KeptConnections) -> None:
    with closing(kept_by_redshift()) as connection, connection.cursor() as cursor:
        session = connection.info.backend_pid
        cursor.execute("CREATE TEMPORARY TABLE left_behind (n int); SET search_path TO nowhere")
        connection.commit()
    with closing(kept_by_redshift()) as connection, connection.cursor() as cursor:
        assert connection.info.backend_pid == session
        cursor.execute("SHOW search_path")
        assert "nowhere" not in cursor.fetchone()[0]
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cursor.execute("SELECT * FROM left_behind")


def test_two_at_once_have_sessions_of_their_own(kept: KeptConnections) -> None:
    with closing(kept()) as one, closing(kept()) as other:
        assert one.info.backend_pid != other.info.backend_pid


def test_a_closed_one_can_no_longer_be_used(kept: KeptConnections) -> None:
    connection = kept()
    connection.close()
    connection.close()
    assert connection.closed
    with pytest.raises(psycopg2.InterfaceError):
        connection.cursor()
    assert len(kept.idle) == 1


def test_altered_settings_of_the_database_and_an_ended_session_make_a_new_one(
    stack: Stack, kept: KeptConnections, postgres_database: str
) -> None:
    name, first = postgres_database.rpartition("/")[2], session_of(kept)
    stack.postgres.execute(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'")
    second = session_of(kept)
    assert second != first
    assert ask(kept, "SELECT current_setting('TimeZone')") == ("Asia/Tokyo",)
    stack.postgres.execute(f"SELECT pg_terminate_backend({second}, 5000)")
    assert session_of(kept) != second
