"""Real servers with TLS, whose certificate can be replaced while they run."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from local.mysql import MySQLServer, start_mysql
from local.pgbouncer import start_pgbouncer
from local.processes import LOCALHOST, Process, free_port
from local.stack import Stack

CERTIFICATE, KEY = "server.pem", "server.key"
RELOADED = "re-reading config"


@dataclass(frozen=True)
class TlsServer:
    """A server that shows a certificate; ``address`` is what follows the host in its URL."""

    kind: str
    port: int
    user: str
    show: Callable[[bytes, bytes], None]
    """Makes the server show another certificate, with its key."""
    stop: Callable[[], None]

    def url(self, host: str, query: str = "") -> str:
        """Return the URL by which a host of this name is meant."""
        named = {
            "postgres": f"postgresql://{self.user}@{host}:{self.port}/postgres?hostaddr={LOCALHOST}",
            "mysql": f"mysql://{self.user}@{host}:{self.port}/mysql?connect_timeout=5",
            "mongo": f"mongodb://{host}:{self.port}/?directConnection=true",
        }[self.kind]
        return f"{named}&{query}" if query else named


def start_tls_server(kind: str, directory: Path, certificate: bytes, key: bytes, stack: Stack) -> TlsServer:
    """Start a server of a kind: ``postgres``, ``mysql`` or ``mongo``."""
    directory.mkdir(mode=0o755)
    if kind == "postgres":
        return _start_postgres(directory, certificate, key, stack)
    return {"mysql": _start_mysql, "mongo": _start_mongo}[kind](directory, certificate, key)


def _start_postgres(directory: Path, certificate: bytes, key: bytes, stack: Stack) -> TlsServer:
    """Postgres of the stack is built without TLS, so PgBouncer stands before it."""
    _write(directory, certificate, key)
    files = {"client_tls_cert_file": directory / CERTIFICATE, "client_tls_key_file": directory / KEY}
    settings = {"client_tls_sslmode": "require", **files}
    url = stack.postgres.url("postgres")
    pooler = start_pgbouncer(directory / "pooler", url, "session", settings=settings)

    def show(certificate: bytes, key: bytes) -> None:
        _write(directory, certificate, key)
        reloaded = pooler.process.log_path.read_text().count(RELOADED)
        os.kill(pooler.process.process_id, signal.SIGHUP)
        pooler.process.wait_until(lambda: pooler.process.log_path.read_text().count(RELOADED) > reloaded)

    made = make_url(pooler.url)
    return TlsServer("postgres", int(made.port or 0), f"{made.username}:{made.password}", show, pooler.process.stop)


def _start_mysql(directory: Path, certificate: bytes, key: bytes) -> TlsServer:
    _write(directory, certificate, key)
    files = {"ssl-cert": str(directory / CERTIFICATE), "ssl-key": str(directory / KEY)}
    server: MySQLServer = start_mysql(directory / "server", settings=files)

    def show(certificate: bytes, key: bytes) -> None:
        _write(directory, certificate, key)
        server.execute("FLUSH SSL")

    return TlsServer("mysql", server.port, f"root:{server.password_of('root')}", show, server.stop)


def _start_mongo(directory: Path, certificate: bytes, key: bytes) -> TlsServer:
    running: list[Process] = []
    port = free_port()

    def show(certificate: bytes, key: bytes) -> None:
        stop()
        _write(directory, certificate, key)
        program = [str(Path(sys.executable).with_name("secantusd-py")), "--host", LOCALHOST, "--port", str(port)]
        files = ["--tls-cert-file", str(directory / CERTIFICATE), "--tls-key-file", str(directory / KEY)]
        command = [*program, "--storage-path", ":memory:", *files]
        running.append(Process("mongo", command, log_path=directory / "mongo.log"))
        running[-1].start()
        running[-1].wait_until(lambda: _listens(port))

    def stop() -> None:
        while running:
            running.pop().stop()

    show(certificate, key)
    return TlsServer("mongo", port, "", show, stop)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOCALHOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _write(directory: Path, certificate: bytes, key: bytes) -> None:
    """Write both files. Servers run as other users, and the key is worth nothing to anybody."""
    (directory / CERTIFICATE).write_bytes(certificate)
    (directory / KEY).write_bytes(key)
