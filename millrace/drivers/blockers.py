"""Who held what a statement of Postgres waited for in vain, so that a person knows whom to ask."""

from __future__ import annotations

from typing import Any

import psycopg2

from millrace.drivers.session_settings import NOTHING_ELSE

SHOWN = 3
"""The most sessions that are named."""


def find_blockers(error: psycopg2.Error, question: str) -> str:
    """Return the sessions that hold locks on the tables that the failed statement names; '' if there are none.

    For each session: process, user, application, since when, kind of lock and table, but no text of a statement.
    ``question`` is the text of sql/millrace/postgres_blockers.sql. The failed transaction is rolled back before it is
    asked.
    """
    cursor = error.cursor
    if cursor is None or not cursor.query:
        return ""
    try:
        return "; ".join(_find(cursor.connection, question, cursor.query.decode(errors="replace")))
    except psycopg2.Error:
        # What is told of an error must not take its place.
        return ""


def _find(connection: Any, question: str, text: str) -> list[str]:
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL search_path = {NOTHING_ELSE}")
        cursor.execute(question, {"statement": text, "shown": SHOWN})
        found = cursor.fetchall()
    connection.rollback()
    return [
        f"process {process or 'of a prepared transaction'} (user {user or 'unknown'}, application "
        f"{application or 'unknown'}, since {since or 'unknown'}) has {mode} on {table}"
        for process, user, application, since, mode, table in found
    ]
