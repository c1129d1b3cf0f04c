"""The databases that rows are read from, one value for each kind: its variable, its block, and how to open it.

A new kind of source has its entry in ``DATABASES`` (docs/extending.md). Queues are not here: consumers collect their
messages into the lake, from which a run reads them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from prefect_sqlalchemy import SqlAlchemyConnector
from pydantic import SecretStr

from millrace.base.errors import ConfigurationError
from millrace.blocks.mongo import MongoDB
from millrace.blocks.mysql import mysql_connector
from millrace.blocks.reference import UrlBlock
from millrace.blocks.sql import opener_naming, postgres_connector, sql_block
from millrace.blocks.variables import Variable
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.mongo_log import MongoLog
from millrace.change_logs.mysql_log import MySQLLog
from millrace.change_logs.postgres_log import PostgresLog
from millrace.change_logs.reading import SourceLog
from millrace.declaration.source_kinds import MONGO, MYSQL, POSTGRES, SourceKind
from millrace.drivers.mongo_client import check
from millrace.drivers.psycopg_errors import database_errors
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.sources.chunk import Source
from millrace.sources.mongo import MongoSource
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource


@dataclass(frozen=True)
class Database:
    """A kind of database: where its URL is found, which block holds it, and how the block becomes a source."""

    kind: SourceKind
    variable: Variable
    """The variable of the connection without a name."""
    block: UrlBlock
    """The type of its blocks, and how they are made."""
    open: Callable[[Any, str], AbstractAsyncContextManager[Source]]
    """Opens the source of a block of this type.

    The second argument is how errors name the server if it cannot be reached.
    """
    make_log: Callable[[Any, LogReader], SourceLog] | None = None
    """Makes the change log of a source that ``open`` gave; None: the log of this kind cannot be read."""


def _opens_tables(
    source: Callable[[Callable[[], Any]], Source], errors: Callable[[str], AbstractContextManager[None]]
) -> Callable[[SqlAlchemyConnector, str], AbstractAsyncContextManager[Source]]:
    @asynccontextmanager
    async def open_tables(connector: SqlAlchemyConnector, place: str) -> AsyncIterator[Source]:
        yield source(opener_naming(connector, errors, place))

    return open_tables


@asynccontextmanager
async def _open_mongo(block: MongoDB, place: str) -> AsyncIterator[Source]:
    with closing(block.get_client()) as client:
        await check(client, place)
        yield MongoSource(client)


def _make_mongo_block(url: str, *, place: str) -> MongoDB:
    if not url.startswith(("mongodb://", "mongodb+srv://")):
        raise ConfigurationError(
            f"the URL begins with {url.partition(':')[0]}:", place=place, remedy="write mongodb:// or mongodb+srv://"
        )
    return MongoDB(url=SecretStr(url))


DATABASES = {
    database.kind: database
    for database in (
        Database(
            POSTGRES,
            Variable(
                "SOURCE_POSTGRES_URL",
                "the source database; SOURCE_POSTGRES_<CONNECTION>_URL is a further one, `postgres/<connection>:` in a "
                "stream",
                "postgresql://reader:password@db.example.com:5432/bank",
                "one source at least",
                secret=True,
            ),
            sql_block(postgres_connector),
            _opens_tables(PostgresSource, database_errors),
            lambda source, reader: PostgresLog(source.connect, reader),
        ),
        Database(
            MYSQL,
            Variable(
                "SOURCE_MYSQL_URL",
                "the source MySQL, or MariaDB; SOURCE_MYSQL_<CONNECTION>_URL is a further one, `mysql/<connection>:` "
                "in a stream",
                "mysql://reader:password@db.example.com:3306/shop",
                "one source at least",
                secret=True,
            ),
            sql_block(mysql_connector),
            _opens_tables(MySQLSource, mysql_errors),
            lambda source, reader: MySQLLog(source.connect, reader),
        ),
        Database(
            MONGO,
            Variable(
                "SOURCE_MONGO_URL",
                "the source MongoDB; SOURCE_MONGO_<CONNECTION>_URL is a further one, `mongo/<connection>:` in a stream",
                "mongodb://reader:password@db.example.com:27017/",
                "one source at least",
                secret=True,
            ),
            UrlBlock(
                MongoDB,
                _make_mongo_block,
                lambda reference: MongoDB(url=SecretStr(reference)),
                lambda block: block.url.get_secret_value(),
            ),
            _open_mongo,
            lambda source, reader: MongoLog(source.client, reader),
        ),
    )
}
"""Every kind of database."""
