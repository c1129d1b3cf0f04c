"""Kills a process by SIGKILL at the n-th thing that it does to the world outside.

A step is: every SQL statement, COPY and commit on any connection of psycopg2, every command to MongoDB, every call
of the object store; after a commit and after a write of an object there is one more. What only looks is no step: it
leaves nothing behind, so that a death at it is a death at the next step.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.extensions
from pymongo import monitoring

from millrace import Stream
from millrace.lake.store import ObjectStore
from tests.faults.places import Places
from tests.faults.processes import Tell, run

NOT_A_STEP = frozenset({"uri", "name"})
LOOKS = frozenset({
    "select", "with", "show", "set", "fetch", "get_bytes", "get_file", "exists", "list_keys", "find_version",
    "hello",
})  # fmt: skip
Step = Callable[[str], None]
"""Told what is about to be done."""


def kill_at(number: int, places: Places, stream: Stream, operation: str = "deliver") -> str | None:
    """Run ``engine.<operation>(stream)`` in a process that dies at this step (from 1); what the step was.

    None: the run ended by itself before.
    """
    code, said = run(_run, number, places, stream, operation)
    assert code in {0, -signal.SIGKILL}, f"the run failed: {said}"
    return said if code else None


def _run(tell: Tell, number: int, places: Places, stream: Stream, operation: str) -> None:
    step = _Countdown(number, tell)
    _watch_sql(step)
    monitoring.register(_WatchedCommands(step))
    engine = places.engine(lambda store: _WatchedStore(store, step))  # type: ignore[return-value] # by __getattr__
    asyncio.run(getattr(engine, operation)(stream))


class _Countdown:
    """Counts steps of all threads and kills the process at the given one."""

    def __init__(self, number: int, tell: Tell) -> None:
        self._remaining, self._tell, self._lock = number, tell, threading.Lock()

    def __call__(self, what: str) -> None:
        if what.rpartition(" ")[2] in LOOKS:
            return
        with self._lock:
            self._remaining -= 1
            if self._remaining == 0:
                self._tell(what)
                os.kill(os.getpid(), signal.SIGKILL)


def _watch_sql(step: Step) -> None:
    """From now on every connection tells its steps, whoever opens it."""

    class Cursor(psycopg2.extensions.cursor):
        def execute(self, query: Any, parameters: Any = None) -> None:
            step(_named(self.connection, str(query)))
            super().execute(query, parameters)

        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            step(_named(self.connection, str(sql)))
            super().copy_expert(sql, file, size)

    class Connection(psycopg2.extensions.connection):
        def cursor(self, *arguments: Any, **options: Any) -> Any:
            return super().cursor(*arguments, **{"cursor_factory": Cursor} | options)

        def commit(self) -> None:
            step(_named(self, "commit"))
            super().commit()
            step(_named(self, "committed"))

    psycopg2.connect = functools.partial(psycopg2.connect, connection_factory=Connection)


def _named(connection: Any, sql: str) -> str:
    where = "warehouse" if "warehouse" in connection.info.dbname else "source"
    text = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return f"{where}: {text.split(maxsplit=1)[0].lower()}"


class _WatchedCommands(monitoring.CommandListener):
    """Tells each command to MongoDB before it is sent."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._step(f"source: {event.command_name}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Not a step."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Not a step."""


class _WatchedStore:
    """Tells each call of a store before it is made, and each write afterwards as well."""

    def __init__(self, store: ObjectStore, step: Step) -> None:
        self._store, self._step = store, step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in NOT_A_STEP:
            return found

        def told(*arguments: Any, **options: Any) -> Any:
            self._step(f"lake: {name}")
            result = found(*arguments, **options)
            if name.startswith(("put", "replace")):
                self._step(f"lake: after {name}")
            return result

        return told
