"""A Prefect server on 127.0.0.1 whose database is the stack's PostgreSQL: SQLite answers concurrent runs with 503."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from local.processes import LOCALHOST, Process, answers_http, free_port, neutral_environment

TRACKING_OFF = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@dataclass(frozen=True)
class PrefectServer:
    """A running Prefect server with its own UI.

    ``home`` is the PREFECT_HOME of its clients.
    """

    process: Process
    port: int
    home: Path

    @property
    def ui_url(self) -> str:
        """The address to open in a browser."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def api_url(self) -> str:
        """The value for PREFECT_API_URL."""
        return f"{self.ui_url}/api"

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()


def launch_prefect_server(directory: Path, *, database_url: str) -> PrefectServer:
    """Start a server without waiting for it.

    ``database_url`` is the ``postgresql://`` URL of a database for it alone.
    """
    client_home, server_home = directory / "client-home", directory / "server-home"
    client_home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(
        "prefect",
        [sys.executable, "-m", "prefect", "server", "start", "--host", LOCALHOST, "--port", str(port)],
        log_path=directory / "prefect.log",
        environment=neutral_environment()
        | TRACKING_OFF
        | {
            "PREFECT_HOME": str(server_home),
            "PREFECT_API_URL": f"http://{LOCALHOST}:{port}/api",
            "PREFECT_SERVER_UI_API_URL": f"http://{LOCALHOST}:{port}/api",
            "PREFECT_API_DATABASE_CONNECTION_URL": database_url.replace("postgresql://", "postgresql+asyncpg://", 1),
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            # After Prefect's own 30 seconds a run whose turn has come would still be waiting.
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
        },
    )
    process.start()
    return PrefectServer(process, port, client_home)


def wait_for_prefect_server(server: PrefectServer) -> PrefectServer:
    """Wait until a launched server answers. Raises Unreachable if it does not start."""
    server.process.wait_until(lambda: answers_http(f"{server.api_url}/health"), timeout_seconds=120)
    return server
