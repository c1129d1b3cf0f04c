"""Connections of psycopg2 that stay open for the next who connects to the same place.

A login, and a session that has not read its catalogs yet, cost a server more than the statements of most tests: of the
0.045 s of Postgres's CPU in one run of a stream 0.025 s (five connections). Behind a pooler of sessions it is the same.
Nothing of a session is left for the next one: ``DISCARD ALL``, and another session where the settings of the database,
the role or the client (PGTZ) were altered since it began.
What does not belong here: which tests connect so (support/engine.py); those of faults, poolers and sessions do not.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Container
from functools import cache, partial
from typing import Any

import psycopg2
import psycopg2.extensions

OF_POSTGRES = """
SELECT coalesce(string_agg(setdatabase || ' ' || setrole || setconfig::text, ';' ORDER BY setdatabase, setrole), '')
FROM pg_catalog.pg_db_role_setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
"""
"""What a session of Postgres takes its settings from when it begins."""
DEFAULTS = {"isolation_level": "DEFAULT", "readonly": "DEFAULT"}
"""Of transactions; Redshift has no others."""


class KeptConnection(psycopg2.extensions.connection):
    """Closed, it is kept by its owner. Who goes on to use it then is refused, as on any closed connection."""

    _owner: Callable[[], KeptConnections | None] = staticmethod(lambda: None)
    _began_with: object = None
    _is_lent = True

    @property
    def closed(self) -> int:
        """As psycopg2 says it: 0 is open."""
        return super().closed or int(not self._is_lent)

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        """A cursor of whoever has the connection now."""
        if not self._is_lent:
            raise psycopg2.InterfaceError("connection already closed")
        return super().cursor(*arguments, **options)

    def close(self) -> None:
        """Give it back; end it where its session cannot be that of another."""
        if not self._is_lent:
            return
        owner = self._owner()
        is_kept = owner is not None and self._forget()
        self._is_lent = False
        if is_kept and owner:
            owner.idle.append(self)
        else:
            super().close()

    def begin(self, owner: KeptConnections) -> KeptConnection:
        """A session's first user."""
        self._owner = weakref.ref(owner)
        self._began_with = self._settings(owner)
        return self

    def lend(self, owner: KeptConnections) -> bool:
        """To the next user; False, and ended, where the server has ended it or would begin it with other settings."""
        self._is_lent = True
        try:
            if self._settings(owner) == self._began_with:
                return True
        except psycopg2.Error:
            pass
        super().close()
        return False

    def _settings(self, owner: KeptConnections) -> object:
        of_client = {name: value for name, value in os.environ.items() if name.startswith("PG")}
        return self._alone(owner.begins_with), of_client

    def _forget(self) -> bool:
        """End the transaction and discard what the session holds; False where that is not possible."""
        owner = self._owner()
        if owner is None or super().closed or self.string_types or self.cursor_factory:
            return False
        try:
            self.rollback()
            self.set_session(**DEFAULTS)
            self._alone(owner.discard)
        except psycopg2.Error:
            return False
        self.notices.clear()
        return True

    def _alone(self, statement: str) -> object:
        """The rows of a statement outside any transaction."""
        self.autocommit = True
        with super().cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        self.autocommit = False
        return rows


class KeptConnections:
    """Connects to one place, by a function that takes psycopg2's ``connection_factory``."""

    def __init__(self, connect: Callable[[], Any], *, is_redshift: bool = False) -> None:
        self._connect, self.idle = connect, list[KeptConnection]()
        # The stand-in has no settings of databases, and Redshift no DISCARD.
        self.discard = "STANDIN DISCARD" if is_redshift else "DISCARD ALL"
        self.begins_with = self.discard if is_redshift else OF_POSTGRES

    def __call__(self) -> KeptConnection:
        """A connection in a session of its own: one that was closed, else a new one."""
        while self.idle:
            connection = self.idle.pop()
            if connection.lend(self):
                return connection
        opened: KeptConnection = self._connect()
        return opened.begin(self)


def kept_session(url: str, databases: Container[str]) -> Any:
    """A connection to Postgres, kept for the next where it is to one of these databases."""
    return connect_kept(url) if url.rpartition("/")[2] in databases else psycopg2.connect(url)


def connect_kept(url: str) -> Any:
    """A connection to Postgres, kept for the next who connects to this URL."""
    return _at(url, is_redshift=False)()


def kept_session_of_redshift(url: str) -> Any:
    """A kept connection to the stand-in."""
    return _at(url, is_redshift=True)()


@cache
def _at(url: str, *, is_redshift: bool) -> KeptConnections:
    return KeptConnections(partial(psycopg2.connect, url, connection_factory=KeptConnection), is_redshift=is_redshift)
