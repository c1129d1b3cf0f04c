"""Starts the Redshift stand-in (``local.redshift``) as a process in front of a PostgreSQL database.

It must not run in the client's own process: a garbage-collected connection would wait for itself.
What does not belong here: what Redshift does and refuses (local/redshift/).
"""

from __future__ import annotations

import re
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from local.aws import AwsServer
from local.processes import LOCALHOST, Process, free_port, neutral_environment

READY = re.compile(r"^redshift ready port=\d+$", re.MULTILINE)

CLEAR = """
DO $$
DECLARE name text;
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
        AND backend_type = 'client backend';
    FOR name IN SELECT nspname FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('information_schema', 'standin')
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
    GRANT ALL ON SCHEMA public TO public;
END $$
"""


@dataclass(frozen=True)
class WarehouseServer:
    """A stand-in, running once ``wait_for_warehouse`` returned. Users, passwords, databases are the backend's."""

    process: Process
    port: int
    backend_url: str

    @property
    def database(self) -> str:
        """The one database it serves."""
        return urlsplit(self.backend_url).path.lstrip("/")

    @property
    def url(self) -> str:
        """``redshift+psycopg2://…?sslmode=prefer``, with the backend's user and password."""
        user_and_password = urlsplit(self.backend_url).netloc.rpartition("@")[0]
        return f"redshift+psycopg2://{user_and_password}@{self.address}?sslmode=prefer"

    @property
    def address(self) -> str:
        """``127.0.0.1:port/database``."""
        return f"{LOCALHOST}:{self.port}/{self.database}"

    def clear(self) -> None:
        """Drop every schema of the users and end every transaction that holds one."""
        with closing(psycopg2.connect(self.backend_url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(CLEAR)

    def stop(self) -> None:
        """End the stand-in; open transactions are rolled back."""
        self.process.stop()


def launch_warehouse(directory: Path, *, backend_url: str, aws: AwsServer) -> WarehouseServer:
    """Start a stand-in without waiting for it; it serves the one database of ``backend_url``."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(
        "redshift",
        [
            *(sys.executable, "-m", "local.redshift", "--port", str(port), "--ready-line"),
            *("--backend-url", backend_url, "--s3-endpoint", aws.url),
        ],
        log_path=directory / "redshift.log",
        environment=neutral_environment() | aws.environment(),
        working_directory=Path(__file__).parent.parent,
    )
    process.log_path.unlink(missing_ok=True)
    process.start()
    return WarehouseServer(process, port, backend_url)


def wait_for_warehouse(server: WarehouseServer) -> WarehouseServer:
    """Wait until a launched stand-in listens. Raises Unreachable if it does not start."""
    server.process.wait_until(lambda: READY.search(server.process.log_text()) is not None)
    return server


def start_warehouse(directory: Path, *, backend_url: str, aws: AwsServer) -> WarehouseServer:
    """Start a stand-in and wait until it listens. Raises Unreachable if it does not start."""
    return wait_for_warehouse(launch_warehouse(directory, backend_url=backend_url, aws=aws))
