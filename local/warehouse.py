"""Start the Redshift stand-in (``local.redshift``) as a process in front of a PostgreSQL database.

It must not run in the client's process: a garbage-collected connection would wait for itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from local.aws import AwsServer
from local.postgres import SUPERUSER, PostgresServer
from local.processes import LOCALHOST, Process, free_port, neutral_environment
from local.redshift import BACKEND_URL
from millrace.base.sql_files import SQL_FILES

LOADER, ANALYST = "millrace_loader", "analyst"
GRANTS_SQL = SQL_FILES / "totesys" / "warehouse_grants.sql"
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
    """A stand-in, running once ``wait_for_warehouse`` returned. Users and passwords are those of the server behind."""

    process: Process
    port: int
    postgres: PostgresServer
    database: str
    connect: Callable[[str], Any] = psycopg2.connect
    """How the superuser connects to a URL of the stand-in."""

    @property
    def url(self) -> str:
        """The loader's URL ``redshift+psycopg2://…?sslmode=prefer``."""
        return self.url_of(LOADER)

    def url_of(self, user: str) -> str:
        """Return the URL with another user."""
        return f"redshift+psycopg2://{user}:{self.postgres.password_of(user)}@{self.address}?sslmode=prefer"

    @property
    def address(self) -> str:
        """Address ``127.0.0.1:port/database``."""
        return f"{LOCALHOST}:{self.port}/{self.database}"

    @property
    def backend_url(self) -> str:
        """The superuser's URL of the database behind, past every rule of the stand-in."""
        return self.postgres.url(self.database)

    def grant(self) -> None:
        """Give loader and analyst their rights, as an administrator does it on a real one: once, through its front."""
        url = self.url_of(SUPERUSER).replace("redshift+psycopg2", "postgresql")
        grants = GRANTS_SQL.read_text(encoding="utf-8").replace("DATABASE warehouse ", f"DATABASE {self.database} ")
        with closing(self.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(grants)

    def clear(self) -> None:
        """Drop every schema of the users and end every transaction that holds one."""
        self.postgres.execute(CLEAR, database=self.database)
        self.grant()

    def stop(self) -> None:
        """End the stand-in; open transactions are rolled back."""
        self.process.stop()


def launch_warehouse(directory: Path, *, postgres: PostgresServer, database: str, aws: AwsServer) -> WarehouseServer:
    """Start a stand-in without waiting for it; it serves this one database, with the users LOADER and ANALYST."""
    directory.mkdir(parents=True, exist_ok=True)
    for user in (LOADER, ANALYST):
        postgres.create_role(user)
    port = free_port()
    process = Process(
        "redshift",
        [
            *(sys.executable, "-m", "local.redshift", "--port", str(port), "--ready-line"),
            *("--s3-endpoint", aws.url),
        ],
        log_path=directory / "redshift.log",
        environment=neutral_environment() | aws.environment() | {BACKEND_URL: postgres.url(database)},
        working_directory=Path(__file__).parent.parent,
    )
    process.log_path.unlink(missing_ok=True)
    process.start()
    return WarehouseServer(process, port, postgres, database)


def wait_for_warehouse(server: WarehouseServer) -> WarehouseServer:
    """Wait until a launched stand-in listens, and grant. Raises Unreachable if it does not start."""
    server.process.wait_until(lambda: READY.search(server.process.log_text()) is not None)
    server.grant()
    return server
