"""A Postgres server of the histories' own: it may be killed, and its settings may be altered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2

from local.postgres import PostgresServer, start_postgres

DATABASE = "histories"


class LogServer:
    """The server with the database of all histories; its user may read the change log."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: PostgresServer = start_postgres(directory)
        self.url = self._server.create_database(DATABASE)
        self._server.execute(f"ALTER ROLE {DATABASE} REPLICATION")

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as superuser in the database of the histories; its rows, or none."""
        return self._server.execute(sql, database=DATABASE)

    def kill(self) -> None:
        """End all of its processes as ``kill -9`` does. May be called from any thread."""
        postmaster = self._server.process.process_id
        children = _children(postmaster)
        for process_id in (postmaster, *children):
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self._server.process.kill()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{process_id}/stat").exists() for process_id in children):
            assert time.monotonic() < deadline, "the server does not die"
            time.sleep(0.01)

    def is_down(self) -> bool:
        """Whether it was killed."""
        return self._server.process.has_ended()

    def start_again(self) -> None:
        """Start it with its data on its port, if it does not run. In the main thread only."""
        if self.is_down():
            self._server = start_postgres(self._directory, port=self._server.port)

    def set(self, **settings: str) -> None:
        """Alter settings for all sessions, at once; '' gives one its default."""
        with closing(psycopg2.connect(self._server.url())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for name, value in settings.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'" if value else f"ALTER SYSTEM RESET {name}")
            cursor.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """End it."""
        self._server.stop()


@contextmanager
def log_server(directory: Path) -> Iterator[LogServer]:
    """A server that ends with the context."""
    server = LogServer(directory)
    try:
        yield server
    finally:
        server.stop()


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                # The name of a process may hold blanks; what follows it does not.
                if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(path.name))
    return found
