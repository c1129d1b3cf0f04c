"""A real MariaDB server (which speaks as MySQL) on 127.0.0.1 with password logins; or the one that MYSQL_URL names.

It keeps nothing safe: flushes are off, so a power cut may ruin the directory. Good for tests and demonstrations only.
As root the server runs as ``nobody``. A server that MYSQL_URL names (as its superuser) is neither started nor stopped.
"""

from __future__ import annotations

import hmac
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pymysql
from pymysql.constants import ER
from sqlalchemy.engine import URL, make_url

from local.processes import LOCALHOST, Process, as_user, free_port
from millrace.base.errors import ConfigurationError

SUPERUSER = "root"
UNPRIVILEGED_USER = "nobody"
URL_VARIABLE = "MYSQL_URL"
SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
ENVIRONMENT = {"PATH": SEARCHED, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
SETTINGS = {
    "bind-address": LOCALHOST,
    "skip-name-resolve": "ON",
    "server-id": "1",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "expire-logs-days": "1",
    # Else only superusers could create functions.
    "log-bin-trust-function-creators": "ON",
    "performance-schema": "OFF",
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_general_ci",
    "max-connections": "200",
    "max-allowed-packet": "64M",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "16M",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-flush-method": "nosync",
    "innodb-doublewrite": "OFF",
}
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class MySQLServer:
    """A running MySQL server.

    ``process`` is None if the stack did not start it. ``superuser_url`` contains the superuser's password.
    """

    process: Process | None
    superuser_url: URL

    @property
    def port(self) -> int:
        """The TCP port of the server."""
        return self.superuser_url.port or 3306

    def url(self, database: str = "", *, user: str | None = None, password: str | None = None) -> str:
        """``mysql://user:password@127.0.0.1:port/database``; the superuser's unless a user is named."""
        url = self.superuser_url.set(database=database)
        if user is not None:
            url = url.set(username=user, password=self.password_of(user))
        return (url if password is None else url.set(password=password)).render_as_string(hide_password=False)

    def password_of(self, user: str) -> str:
        """Return a user's password.

        It follows from the superuser's, so that a kept directory contains no further secrets.
        """
        secret = str(self.superuser_url.password or "")
        return secret if user == self.superuser_url.username else _derive_password(secret, user)

    def address(self, database: str) -> str:
        """Address ``127.0.0.1:port/database``."""
        return f"{self.superuser_url.host}:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "") -> list[tuple[Any, ...]]:
        """Run one statement as superuser outside any transaction; its rows, or none."""
        with closing(connect(self.url(database))) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def create_database(self, name: str, *, owner: str | None = None) -> str:
        """Return the URL of a database for its owner; create both if they are missing.

        The owner is not a superuser, but sees when transactions of other sessions began (PROCESS), as the engine
        requires of a source. Its name is that of the database unless another is given.
        """
        self.execute(f"CREATE DATABASE IF NOT EXISTS {_quote(name)} CHARACTER SET utf8mb4")
        return self.create_user(owner or name, name, rights=("ALL PRIVILEGES",))

    def create_reader(self, name: str, database: str) -> str:
        """Return the URL of a user who may read the database and see when transactions of other sessions began."""
        return self.create_user(name, database, rights=("SELECT",))

    def create_user(self, name: str, database: str, *, rights: Sequence[str], sees_transactions: bool = True) -> str:
        """Return the URL of a user with these rights on the database; create the user if it is missing."""
        self.execute(f"CREATE USER IF NOT EXISTS {_user(name)} IDENTIFIED BY '{self.password_of(name)}'")
        self.execute(f"GRANT {', '.join(rights)} ON {_pattern(database)}.* TO {_user(name)}")
        if sees_transactions:
            self.execute(f"GRANT PROCESS ON *.* TO {_user(name)}")
        return self.url(database, user=name)

    def drop_database(self, name: str) -> None:
        """Drop the database, whoever is connected, and the user of its name."""
        connected = f"SELECT id FROM information_schema.processlist WHERE db = '{_escape(name)}'"
        for (session,) in self.execute(connected):
            self._cut(session)
        self.execute(f"DROP DATABASE IF EXISTS {_quote(name)}")
        self.drop_user(name)

    def drop_user(self, name: str) -> None:
        """Drop the user if it is there."""
        self.execute(f"DROP USER IF EXISTS {_user(name)}")

    def _cut(self, session: int) -> None:
        try:
            self.execute(f"KILL {session}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != ER.NO_SUCH_THREAD:
                raise

    def stop(self) -> None:
        """End the server, if it is ours; open connections are cut."""
        if self.process:
            self.process.stop()


def connect(url: str) -> Any:
    """Return a connection that commits each statement."""
    parts = make_url(url)
    return pymysql.connect(
        host=parts.host or LOCALHOST,
        port=parts.port or 3306,
        user=parts.username or "",
        password=str(parts.password or ""),
        database=parts.database or None,
        charset="utf8mb4",
        autocommit=True,
        # To read the system's certificates takes longer than everything else.
        ssl_disabled=parts.host == LOCALHOST,
    )


def is_available() -> bool:
    """Return whether there is a server to start, or MYSQL_URL names one."""
    return bool(os.environ.get(URL_VARIABLE) or shutil.which("mariadbd", path=SEARCHED))


def start_mysql(directory: Path, *, port: int | None = None, settings: Mapping[str, str] = NO_SETTINGS) -> MySQLServer:
    """Start a server with its data in ``directory``, and wait until it accepts logins.

    The directory is created at the first start and kept for the next one. With MYSQL_URL set, that server is used
    instead. Raises ConfigurationError if MariaDB is not installed, Unreachable if it does not start.
    """
    return wait_for_mysql(launch_mysql(directory, port=port, settings=settings))


def launch_mysql(directory: Path, *, port: int | None = None, settings: Mapping[str, str] = NO_SETTINGS) -> MySQLServer:
    """Start a server with its data in ``directory`` without waiting for it; ``settings`` are further ones."""
    if given := os.environ.get(URL_VARIABLE):
        return MySQLServer(None, make_url(given))
    install, serve = _program("mariadb-install-db"), _program("mariadbd")
    user = UNPRIVILEGED_USER if os.getuid() == 0 else None
    password = _prepare(directory, user)
    process = Process(
        "mysql",
        ["/bin/sh", "-ec", _script(install, serve, port := port or free_port(), settings)],
        log_path=directory / "mysql.log",
        environment=ENVIRONMENT,
        user=user,
    )
    process.start()
    return MySQLServer(process, URL.create("mysql", SUPERUSER, password, LOCALHOST, port))


def wait_for_mysql(server: MySQLServer) -> MySQLServer:
    """Wait until a launched server accepts logins."""
    if server.process:
        server.process.wait_until(lambda: _accepts_logins(server.url()))
    return server


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        raise ConfigurationError(
            f"{name} is not installed",
            place="MySQL",
            remedy=f"make mysql (on Debian: apt-get install mariadb-server-core), or set {URL_VARIABLE} to the URL of "
            "a server's superuser",
        )
    return found


def _prepare(directory: Path, user: str | None) -> str:
    """Return the superuser's password; the server sets it by statements that it runs at its start."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    password_path, statements_path = directory / "superuser-password", directory / "start.sql"
    if not password_path.exists():
        password_path.touch(mode=0o600)
        password_path.write_text(secrets.token_urlsafe(12), encoding="utf-8")
    password = password_path.read_text(encoding="utf-8")
    statements_path.touch(mode=0o600)
    statements_path.write_text(
        "DELETE FROM mysql.global_priv WHERE user IN ('', 'root');\nFLUSH PRIVILEGES;\n"
        f"CREATE USER {SUPERUSER}@'{LOCALHOST}' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL PRIVILEGES ON *.* TO {SUPERUSER}@'{LOCALHOST}' WITH GRANT OPTION;\n",
        encoding="utf-8",
    )
    for path in (directory, statements_path) if user else ():
        shutil.chown(path, user, as_user(user)["group"])
    return password


def _script(install: str, serve: str, port: int, settings: Mapping[str, str]) -> str:
    """Return a script that installs the data at the first start, then becomes the server.

    The data gets its final name when it is complete. Each server has its own directory for temporary tables, because it
    removes what it finds there at its start.
    """
    log_size = f"--innodb-log-file-size={SETTINGS['innodb-log-file-size']}"
    installing = ["--auth-root-authentication-method=normal", "--skip-test-db", log_size]
    options = [f"--{name}={value}" for name, value in {**SETTINGS, **settings}.items()]
    serving = [f"--port={port}", "--socket=mysql.sock", *options]
    own = '--no-defaults --tmpdir="$PWD/temporary"'
    return (
        "mkdir -p temporary; [ -d data ] || { rm -rf data.unfinished; "
        f'{install} {own} --datadir="$PWD/data.unfinished" {shlex.join(installing)} > install.log; '
        "mv data.unfinished data; }; "
        f'exec {serve} {own} --datadir="$PWD/data" --init-file="$PWD/start.sql" {shlex.join(serving)}'
    )


def _accepts_logins(url: str) -> bool:
    try:
        connect(url).close()
    except pymysql.err.OperationalError:
        return False
    return True


def _derive_password(secret: str, user: str) -> str:
    return hmac.digest(secret.encode(), user.encode(), "sha256").hex()[:32]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


def _quote(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"


def _pattern(database: str) -> str:
    """Return a database's name for GRANT, which treats ``_`` and ``%`` as wildcards."""
    return _quote(database.replace("_", "\\_").replace("%", "\\%"))


def _user(name: str) -> str:
    return f"'{_escape(name)}'@'%'"
