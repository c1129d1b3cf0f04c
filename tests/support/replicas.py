"""What tests of replicas share: how long a blind read looks back, and waiting for a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from local import postgres
from local.postgres import PostgresServer, start_postgres
from local.processes import as_user
from millrace.sources.chunk import ReadFacts

BLIND = timedelta(minutes=15)
HOUR = timedelta(hours=1)
WAITS = 600
"""How often a server is asked whether it has come so far, a twentieth of a second apart."""


def until(holds: Callable[[], bool]) -> None:
    for _ in range(WAITS):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come so far")


def started(read: ReadFacts) -> datetime:
    assert read.next_position is not None
    return datetime.fromisoformat(read.next_position)


def start_replica(primary: PostgresServer, directory: Path) -> PostgresServer:
    home = directory / "replica"
    home.mkdir()
    user = postgres.UNPRIVILEGED_USER if os.getuid() == 0 else None
    shutil.copy(directory / "primary" / "superuser-password", home)
    if user:
        shutil.chown(home, user)
    program = postgres._binaries(directory / "primary", user) / "pg_basebackup"
    command = [str(program), "-D", str(home / "data"), "-R", "-X", "stream", "-c", "fast", "-d", primary.url()]
    subprocess.run(command, **as_user(user), env=postgres.ENVIRONMENT, cwd="/", check=True, capture_output=True)
    return start_postgres(home)
