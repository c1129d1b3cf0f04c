"""Make connectors of prefect-sqlalchemy from URLs.

They hold components, never a URL string, which Prefect would store in plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from millrace.base.errors import ConfigurationError
from millrace.blocks.redshift_iam import REDSHIFT_IAM_DRIVER

POSTGRES_DRIVER = "postgresql+psycopg2"
REDSHIFT_DRIVER = "redshift+psycopg2"
MYSQL_DRIVER = "mysql+pymysql"
DRIVERS = {
    "postgres": POSTGRES_DRIVER,
    "postgresql": POSTGRES_DRIVER,
    POSTGRES_DRIVER: POSTGRES_DRIVER,
    "redshift": REDSHIFT_DRIVER,
    REDSHIFT_DRIVER: REDSHIFT_DRIVER,
    REDSHIFT_IAM_DRIVER: REDSHIFT_IAM_DRIVER,
    "mysql": MYSQL_DRIVER,
    MYSQL_DRIVER: MYSQL_DRIVER,
    "mariadb": MYSQL_DRIVER,
    "mariadb+pymysql": MYSQL_DRIVER,
}
PASSWORDS = frozenset({"password", "passwd", "sslpassword", "ssl_key_password"})


def parse_url(url: str, place: str, *drivers: str) -> URL:
    """Parse a URL, with the driver that its spelling means.

    Raises ConfigurationError, naming ``place``, if the text is no URL, is not for one of ``drivers``, lacks host or
    database, or has a password where it would be stored unencrypted.
    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "this is not a database URL", place=place, remedy=f"write {drivers[-1]}://user:password@host:port/database"
        ) from None
    driver = DRIVERS.get(found.drivername, "")
    if driver not in drivers:
        raise ConfigurationError(
            f"the URL begins with {found.drivername}://", place=place, remedy=f"write {' or '.join(drivers)}"
        )
    if not (found.host and found.database):
        raise ConfigurationError("the URL has no host or no database", place=place, remedy="write both")
    if PASSWORDS & found.query.keys():
        raise ConfigurationError(
            "a password stands behind the question mark, where it would be stored unencrypted",
            place=place,
            remedy="write the user's before the @, and use a key file without one",
        )
    return found.set(drivername=driver)


def connector_of(url: URL, arguments: Mapping[str, Any]) -> SqlAlchemyConnector:
    """Return a connector to ``url`` with these arguments of the driver, unless the URL itself gives them."""
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    components = ConnectionComponents(
        driver=url.drivername,
        username=url.username,
        password=SecretStr(url.password) if url.password else None,
        host=url.host,
        port=url.port,
        database=url.database,
        query=query or None,
    )
    unset = {name: value for name, value in arguments.items() if name not in query}
    return SqlAlchemyConnector(connection_info=components, connect_args=unset)
