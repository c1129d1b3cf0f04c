"""SQL connections on prefect-sqlalchemy: connectors of psycopg2, the block of the warehouse, and how to open both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from prefect.blocks.core import Block
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import Field
from sqlalchemy.pool import NullPool

from millrace.blocks.connector import POSTGRES_DRIVER, REDSHIFT_DRIVER, connector_of, parse_url
from millrace.blocks.redshift_iam import REDSHIFT_IAM_DRIVER, access_by_iam
from millrace.blocks.reference import MakeBlock, UrlBlock
from millrace.blocks.tls import add_verification

CONNECT_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    # An idle connection behind a NAT gateway is dropped after 350 seconds, and a COPY may be longer than that.
    "keepalives": 1,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 5,
    "application_name": "millrace",
    # Settings are made in the session (millrace/drivers/session_settings.py), because poolers refuse most of them here.
    # The driver must know this one from the beginning, whatever a role or PGCLIENTENCODING says.
    "client_encoding": "utf8",
}

WAREHOUSE_ARGUMENTS = CONNECT_ARGUMENTS | {"connect_timeout": 60}
"""A Serverless workgroup that is at rest takes longer than other servers to answer."""


class Warehouse(Block):
    """The warehouse: its connection, and the role with which it reads the lake.

    Example:
        ```python
        from millrace.blocks.sql import Warehouse

        engine = (await Warehouse.aload("warehouse")).connector.get_engine()
        ```
    """

    _block_type_name = "Millrace Warehouse"
    _block_type_slug = "millrace-warehouse"

    connector: SqlAlchemyConnector = Field(description="redshift+psycopg2, redshift+iam, or postgresql+psycopg2.")
    iam_role: str = Field(
        default="",
        title="IAM Role",
        description="ARN of the role Redshift reads S3 with, or `default` for the cluster's own. Empty on Postgres.",
    )
    leases: str = Field(
        default="",
        description="Where leases are kept: `warehouse`, or `lake`. Empty: in the lake, if it is Redshift Serverless.",
    )

    @property
    def is_redshift(self) -> bool:
        """Whether the warehouse is Amazon Redshift."""
        return driver_of(self.connector) in {REDSHIFT_DRIVER, REDSHIFT_IAM_DRIVER}


def postgres_connector(url: str, *, place: str) -> SqlAlchemyConnector:
    """Return a connector to a Postgres source. Raises ConfigurationError, naming ``place``, if the URL is wrong."""
    return connector_of(parse_url(url, place, POSTGRES_DRIVER), CONNECT_ARGUMENTS)


def warehouse_connector(url: str, *, place: str) -> SqlAlchemyConnector:
    """Return a connector to the warehouse. Raises ConfigurationError, naming ``place``, if the URL is wrong."""
    components = parse_url(url, place, POSTGRES_DRIVER, REDSHIFT_IAM_DRIVER, REDSHIFT_DRIVER)
    if components.drivername == REDSHIFT_IAM_DRIVER:
        access_by_iam(components, place)
    return connector_of(components, WAREHOUSE_ARGUMENTS)


def sql_block(make_connector: MakeBlock) -> UrlBlock:
    """Return the type of block of an SQL connection, with the function that makes its connectors from URLs."""
    return UrlBlock(SqlAlchemyConnector, make_connector, _make_referring_connector, _read_database)


def _make_referring_connector(reference: str) -> Block:
    # Of a URL nobody knows yet the driver is not known either; it is that of the URL once it is there.
    components = ConnectionComponents(driver=POSTGRES_DRIVER, database=reference)
    connector: Block = SqlAlchemyConnector(connection_info=components)
    return connector


def _read_database(connector: SqlAlchemyConnector) -> str:
    info = connector.connection_info
    return str(info.database) if isinstance(info, ConnectionComponents) else ""


WAREHOUSE_CONNECTION = sql_block(warehouse_connector)


def driver_of(connector: SqlAlchemyConnector) -> str:
    """Return the driver of a connector: ``postgresql+psycopg2``, ``redshift+psycopg2`` or ``mysql+pymysql``."""
    return str(connector.connection_info.create_url().drivername)


def opener(connector: SqlAlchemyConnector) -> Callable[[], Any]:
    """Return a function that opens connections of the driver, one for each call, outside any pool."""
    engine = connector.get_engine(poolclass=NullPool)
    positional, named = engine.dialect.create_connect_args(engine.url)
    given = {name: named[name] for name in engine.url.query if name in named} | (connector.connect_args or {})
    arguments = add_verification(engine.url.get_backend_name(), engine.url.host or "", named, given)
    # Not by the engine, which asks the server first, in a transaction that some poolers do not take.
    return lambda: engine.dialect.connect(*positional, **arguments)


def opener_naming(
    connector: SqlAlchemyConnector, errors: Callable[[str], AbstractContextManager[None]], place: str
) -> Callable[[], Any]:
    """Return an ``opener`` whose errors ``errors`` translates, naming ``place``."""
    connect = opener(connector)

    def connect_naming() -> Any:
        with errors(place):
            return connect()

    return connect_naming
