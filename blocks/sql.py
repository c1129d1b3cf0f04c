"""SQL connections on prefect-sqlalchemy: connectors made from URLs, and the block of the warehouse.

Connectors hold components, never a URL string: Prefect would store that in plain text.
What does not belong here: statements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.blocks.core import Block
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import Field, SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from millrace.errors import ConfigurationError

POSTGRES_DRIVER = "postgresql+psycopg2"
REDSHIFT_DRIVER = "redshift+psycopg2"
DRIVERS = {
    "postgres": POSTGRES_DRIVER,
    "postgresql": POSTGRES_DRIVER,
    POSTGRES_DRIVER: POSTGRES_DRIVER,
    "redshift": REDSHIFT_DRIVER,
    REDSHIFT_DRIVER: REDSHIFT_DRIVER,
}
SOURCE_STATEMENT_TIMEOUT_SECONDS = 1800
CONNECT_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    # An idle connection behind a NAT gateway is dropped after 350 seconds, and a COPY may be longer than that.
    "keepalives": 1,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 5,
    "application_name": "millrace",
}


class Warehouse(Block):
    """The warehouse: its connection, and the role with which it reads the lake.

    Example:
        ```python
        from blocks.sql import Warehouse

        engine = (await Warehouse.aload("warehouse")).connector.get_engine()
        ```
    """

    _block_type_name = "Millrace Warehouse"
    _block_type_slug = "millrace-warehouse"

    connector: SqlAlchemyConnector = Field(description="redshift+psycopg2, or postgresql+psycopg2.")
    iam_role: str = Field(
        default="",
        title="IAM Role",
        description="ARN of the role Redshift reads S3 with, or `default` for the cluster's own. Empty on Postgres.",
    )

    @property
    def is_redshift(self) -> bool:
        """Whether the warehouse is Amazon Redshift."""
        return driver_of(self.connector) == REDSHIFT_DRIVER


def source_connector(url: str, *, place: str) -> SqlAlchemyConnector:
    """A connector to a source database; its statements are cut off after half an hour.

    Raises ConfigurationError, naming ``place``, if the URL is wrong.
    """
    milliseconds = SOURCE_STATEMENT_TIMEOUT_SECONDS * 1000
    options = {"options": f"-c statement_timeout={milliseconds}"}
    return _connector(_parsed(url, place, POSTGRES_DRIVER), options)


def warehouse_connector(url: str, *, place: str) -> SqlAlchemyConnector:
    """A connector to the warehouse. Raises ConfigurationError, naming ``place``, if the URL is wrong."""
    return _connector(_parsed(url, place, POSTGRES_DRIVER, REDSHIFT_DRIVER), {})


def driver_of(connector: SqlAlchemyConnector) -> str:
    """``postgresql+psycopg2`` or ``redshift+psycopg2``."""
    return str(connector.connection_info.create_url().drivername)


def opener(connector: SqlAlchemyConnector) -> Callable[[], Any]:
    """A function that opens psycopg2 connections of the caller's own, outside any pool."""
    engine = connector.get_engine(poolclass=NullPool)

    def connect() -> Any:
        pooled = engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        return connection

    return connect


def _parsed(url: str, place: str, *drivers: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "this is not a database URL", place=place, remedy=f"write {drivers[-1]}://user:password@host:port/database"
        ) from None
    driver = DRIVERS.get(parsed.drivername, "")
    if driver not in drivers:
        raise ConfigurationError(
            f"the URL begins with {parsed.drivername}://", place=place, remedy=f"write {' or '.join(drivers)}"
        )
    if not (parsed.host and parsed.database):
        raise ConfigurationError("the URL has no host or no database", place=place, remedy="write both")
    if "password" in parsed.query:
        raise ConfigurationError(
            "the password stands behind the question mark, where it would be stored unencrypted",
            place=place,
            remedy="write it before the @",
        )
    return parsed.set(drivername=driver)


def _connector(url: URL, further: dict[str, Any]) -> SqlAlchemyConnector:
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
    arguments = {name: value for name, value in (CONNECT_ARGUMENTS | further).items() if name not in query}
    return SqlAlchemyConnector(connection_info=components, connect_args=arguments)
