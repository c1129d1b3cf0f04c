"""A PgBouncer before a database of the local PostgreSQL, on 127.0.0.1 with password logins.

As root it runs as ``nobody``, since PgBouncer refuses root.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import make_url

from local.mysql import NO_SETTINGS, SEARCHED, UNPRIVILEGED_USER
from local.processes import LOCALHOST, Process, as_user, free_port
from millrace.base.errors import ConfigurationError

PoolMode = Literal["session", "transaction", "statement"]
CONFIGURATION = """[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = {mode}
default_pool_size = {pool_size}
server_round_robin = {round_robin:d}
"""


class PgBouncer:
    """A running PgBouncer through which one user reaches one database. A context manager."""

    def __init__(self, process: Process, url: str) -> None:
        self.process, self.url = process, url

    def __enter__(self) -> PgBouncer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()


def start_pgbouncer(
    directory: Path,
    url: str,
    mode: PoolMode,
    *,
    pool_size: int = 3,
    round_robin: bool = False,
    settings: Mapping[str, object] = NO_SETTINGS,
) -> PgBouncer:
    """Start one before the server of a ``postgresql://`` URL and wait until it listens; ``directory`` is made.

    ``settings`` are further lines of its configuration.

    Raises ConfigurationError if PgBouncer is not installed, Unreachable if it does not start.
    """
    server, port = make_url(url), free_port()
    user = UNPRIVILEGED_USER if os.getuid() == 0 else None
    directory.mkdir(parents=True)
    directory.chmod(0o700)
    configuration = CONFIGURATION.format(
        host=LOCALHOST, server_port=server.port, port=port, mode=mode, pool_size=pool_size, round_robin=round_robin
    )
    configuration += "".join(f"{name} = {value}\n" for name, value in settings.items())
    (directory / "pgbouncer.ini").write_text(configuration, encoding="utf-8")
    (directory / "users.txt").write_text(f'"{server.username}" "{server.password}"\n', encoding="utf-8")
    for path in (directory, *directory.iterdir()) if user else ():
        shutil.chown(path, user, as_user(user)["group"])
    process = Process("pgbouncer", [_program(), "pgbouncer.ini"], log_path=directory / "pgbouncer.log", user=user)
    process.start()
    process.wait_until(lambda: _listens(port))
    return PgBouncer(process, server.set(port=port).render_as_string(hide_password=False))


def _program() -> str:
    found = shutil.which("pgbouncer", path=SEARCHED)
    if found is None:
        raise ConfigurationError(
            "pgbouncer is not installed",
            place="PgBouncer",
            remedy="make pgbouncer (on Debian: apt-get install pgbouncer)",
        )
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOCALHOST, port)) == 0
