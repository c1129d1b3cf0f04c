"""Starts the Redshift stand-in (``local.redshift``) as a process in front of a PostgreSQL database.

It must not run in the client's own process: a garbage-collected connection would wait for itself.
What does not belong here: what Redshift does and refuses (local/redshift/).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local.processes import LOCALHOST, Process

READY = re.compile(r"^redshift ready port=(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class WarehouseServer:
    """A stand-in, running once ``wait_for_warehouse`` returned. Users, passwords, databases are the backend's."""

    process: Process
    backend_url: str

    @property
    def port(self) -> int:
        """The port it listens on; RuntimeError before it is ready."""
        ready = READY.search(self.process.log_text())
        if ready is None:
            raise RuntimeError("the warehouse is not ready yet")
        return int(ready[1])

    def url(self, database: str) -> str:
        """``redshift+psycopg2://…?sslmode=prefer``, with the backend's user and password."""
        user_and_password = urlsplit(self.backend_url).netloc.rpartition("@")[0]
        return f"redshift+psycopg2://{user_and_password}@{self.address(database)}?sslmode=prefer"

    def address(self, database: str) -> str:
        """``127.0.0.1:port/database``."""
        return f"{LOCALHOST}:{self.port}/{database}"

    def stop(self) -> None:
        """End the stand-in; open transactions are rolled back."""
        self.process.stop()


def launch_warehouse(directory: Path, *, backend_url: str, s3_endpoint: str) -> WarehouseServer:
    """Start a stand-in without waiting for it."""
    directory.mkdir(parents=True, exist_ok=True)
    process = Process(
        "redshift",
        [
            *(sys.executable, "-m", "local.redshift", "--port", "0", "--ready-line"),
            *("--backend-url", backend_url, "--s3-endpoint", s3_endpoint),
        ],
        log_path=directory / "redshift.log",
        working_directory=Path(__file__).parent.parent,
    )
    process.log_path.unlink(missing_ok=True)
    process.start()
    return WarehouseServer(process, backend_url)


def wait_for_warehouse(server: WarehouseServer) -> WarehouseServer:
    """Wait until a launched stand-in listens. Raises Unreachable if it does not start."""
    server.process.wait_until(lambda: READY.search(server.process.log_text()) is not None)
    return server


def start_warehouse(directory: Path, *, backend_url: str, s3_endpoint: str) -> WarehouseServer:
    """Start a stand-in and wait until it listens."""
    return wait_for_warehouse(launch_warehouse(directory, backend_url=backend_url, s3_endpoint=s3_endpoint))
