"""Connect to MySQL and MariaDB sources: what their URLs mean to the driver, above all for TLS."""

from __future__ import annotations

import inspect
import ipaddress
from typing import Any

import pymysql
from prefect_sqlalchemy import SqlAlchemyConnector
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.engine import URL

from millrace.base.errors import ConfigurationError
from millrace.blocks.connector import MYSQL_DRIVER, connector_of, parse_url

SOURCE_STATEMENT_TIMEOUT_SECONDS = 1800
MYSQL_5_7_8, MARIADB_10_1_1 = "50708", "100101"
# Each server runs what stands in the comment of its own and sees a comment in the other one.
STATEMENT_TIMEOUT = (
    f"SET /*M!{MARIADB_10_1_1} max_statement_time = {SOURCE_STATEMENT_TIMEOUT_SECONDS} */"
    f" /*!{MYSQL_5_7_8} max_execution_time = {SOURCE_STATEMENT_TIMEOUT_SECONDS * 1000} */"
)
CONNECT_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    # Later than the server's own end of a statement: this is for a server that is gone without a word.
    "read_timeout": SOURCE_STATEMENT_TIMEOUT_SECONDS + 60,
    "write_timeout": 60,
    "program_name": "millrace",
    "init_command": STATEMENT_TIMEOUT,
}
CHARACTER_SET = {"charset": "utf8mb4"}
TLS_MODES: dict[str, dict[str, Any]] = {
    "disabled": {"ssl_disabled": True},
    "preferred": {},
    "required": {"ssl_verify_cert": "no"},
    # An empty name of a file stands for the system's certificates; without any the driver does not look at the host.
    "verify_ca": {"ssl_ca": "", "ssl_verify_cert": True},
    "verify_identity": {"ssl_ca": "", "ssl_verify_cert": True, "ssl_verify_identity": True},
}
"""The driver's arguments by ``ssl_mode`` of the URL, which has the words of MySQL."""
TLS_FILES = ("ssl_ca", "ssl_cert", "ssl_key")
OPTIONS = frozenset(inspect.signature(pymysql.Connection).parameters)


def mysql_connector(url: str, *, place: str) -> SqlAlchemyConnector:
    """Return a connector to a MySQL or MariaDB source; its statements are stopped after half an hour.

    TLS is as ``ssl_mode`` says, by default ``verify_identity`` (to this machine, without ``ssl_ca``: ``preferred``);
    ``ssl_ca``, ``ssl_cert`` and ``ssl_key`` are files where flows run. Raises ConfigurationError, naming ``place``, if
    the URL is wrong.
    """
    parsed_url = parse_url(url, place, MYSQL_DRIVER)
    tls = _tls(parsed_url, place)
    plain = parsed_url.difference_update_query(
        [name for name in parsed_url.query if _is_of_tls(name) or name in CHARACTER_SET]
    )
    _check_options(plain, place)
    return connector_of(plain, CONNECT_ARGUMENTS | CHARACTER_SET | tls)


def _check_options(url: URL, place: str) -> None:
    """Raise ConfigurationError for an option that the driver does not know.

    The driver would end a run with an error of Python that does not name the block.
    """
    try:
        MySQLDialect_pymysql().create_connect_args(url)
    except ValueError:
        wrong = "an option of the URL has a value of another type"
    else:
        unknown = sorted(url.query.keys() - OPTIONS)
        if not unknown:
            return
        wrong = f"the driver knows no option {', '.join(unknown)}"
    raise ConfigurationError(wrong, place=place, remedy="correct what stands behind the question mark, or leave it out")


def _tls(url: URL, place: str) -> dict[str, Any]:
    """Return the driver's arguments for TLS.

    SQLAlchemy would pass some of them as text, and then ``ssl_disabled=false`` would disable TLS.
    """
    given = {
        name.lower().replace("-", "_"): value if isinstance(value, str) else value[-1]
        for name, value in url.query.items()
        if _is_of_tls(name)
    }
    is_private = _is_loopback(url.host or "") and "ssl_ca" not in given
    mode = given.pop("ssl_mode", "preferred" if is_private else "verify_identity")
    arguments = TLS_MODES.get(mode.lower().replace("-", "_"))
    if arguments is None or not given.keys() <= set(TLS_FILES):
        raise ConfigurationError(
            "what the URL says of TLS is not understood",
            place=place,
            remedy=f"write ssl_mode ({', '.join(TLS_MODES)}) and {', '.join(TLS_FILES)}",
        )
    return arguments | given


def _is_of_tls(name: str) -> bool:
    return name.lower().startswith(("ssl", "tls"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
