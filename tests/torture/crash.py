"""Ends a run at its n-th step, as a killed process, a lost connection or a lost answer would.

A step is a statement, a COPY or a commit on the warehouse or the Postgres source, or a call of the lake. A process that
was killed does nothing more: every step after it fails as well, until the next run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import psycopg2

Manner = Literal["killed", "killed after", "cut", "cut after"]
MANNERS: tuple[Manner, ...] = ("killed", "killed after", "cut", "cut after")
"""``cut`` is a connection that is lost, ``after``: the step was done, and nobody was told."""


class Killed(BaseException):
    """No ``except Exception`` catches it, as none catches SIGKILL."""


class Trap:
    """Counts the steps of all threads; ``struck`` is the one at which it struck last."""

    def __init__(self) -> None:
        self._lock, self.struck = threading.Lock(), ""
        self._manner: Manner = "killed"
        self.disarm()

    def arm(self, step: int, manner: Manner) -> None:
        """Strike at this step from now on, counted from 1."""
        with self._lock:
            self._remaining, self._manner, self.struck = step, manner, ""

    def disarm(self) -> None:
        """Another process runs from now on."""
        with self._lock:
            self._remaining, self._is_dead = 0, False

    def step(self, what: str, act: Callable[[], Any], connection: Any = None) -> Any:
        """Do it, unless this is the step at which the trap strikes."""
        strikes = self._strikes(what)
        if strikes and "after" in self._manner:
            act()
        if strikes:
            self._strike(connection)
        return act()

    def _strikes(self, what: str) -> bool:
        with self._lock:
            if self._is_dead:
                raise Killed(what)
            self._remaining -= 1
            if self._remaining == 0:
                self.struck = what
                self._is_dead = "killed" in self._manner
            return self._remaining == 0

    def _strike(self, connection: Any) -> None:
        if "killed" in self._manner or connection is None:
            self._is_dead = True
            raise Killed(self.struck)
        connection.close()
        raise psycopg2.OperationalError("server closed the connection unexpectedly")


class TrappedStore:
    """An object store whose calls are steps."""

    def __init__(self, store: Any, trap: Trap) -> None:
        self._store, self._trap = store, trap

    def uri(self, key: str) -> str:
        """No step: nothing is called."""
        return str(self._store.uri(key))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return lambda *arguments: self._trap.step(name, lambda: found(*arguments))


def trapped(connect: Callable[[], Any], trap: Trap) -> Callable[[], Any]:
    """The function that opens connections, whose statements are steps from now on."""
    return lambda: _Connection(trap.step("connect", connect), trap)


class _Connection:
    def __init__(self, connection: Any, trap: Trap) -> None:
        vars(self).update(_connection=connection, _trap=trap)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._connection, name, value)

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection.cursor(), self._connection, self._trap)

    def commit(self) -> None:
        self._trap.step("commit", self._connection.commit, self._connection)


class _Cursor:
    def __init__(self, cursor: Any, connection: Any, trap: Trap) -> None:
        self._cursor, self._connection, self._trap = cursor, connection, trap

    def __enter__(self) -> _Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, query: Any, parameters: Any = None) -> None:
        self._trap.step(str(query).split()[0], lambda: self._cursor.execute(query, parameters), self._connection)

    def copy_expert(self, sql: str, file: Any) -> None:
        self._trap.step("copy", lambda: self._cursor.copy_expert(sql, file), self._connection)
