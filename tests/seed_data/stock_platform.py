"""Databases of a stock platform on the tests' MySQL server, as local/demos/stocks_source.py makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from local.demos.stocks_source import install as install_database
from local.mysql import MySQLServer, connect
from millrace.seed_data.stocks.script import SUFFIX
from millrace.seed_data.stocks.simulation import install
from millrace.seed_data.stocks.world import TABLES
from tests.conftest import unique


@dataclass(frozen=True)
class StockPlatform:
    """One database with its users."""

    mysql: MySQLServer
    database: str

    @property
    def writer(self) -> str:
        return f"{self.database}_writer"

    @property
    def reader(self) -> str:
        return f"{self.database}_reader"

    @property
    def writer_url(self) -> str:
        return self.mysql.url(self.database, user=self.writer)

    @property
    def reader_url(self) -> str:
        return self.mysql.url(self.database, user=self.reader)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """As the superuser, who lives in the real time; ``simulation.`` stands for the simulation's schema."""
        return self.mysql.execute(query.replace("simulation.", f"{self.database}{SUFFIX}."), database=self.database)

    def one(self, query: str) -> Any:
        """The one value that the question has for an answer, or the row of them."""
        [row] = self.rows(query)
        return row[0] if len(row) == 1 else row

    def history(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        return self.rows(f"SELECT {columns} FROM simulation.{table}_history ORDER BY sequence")

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Of each table the rows, and of its history all but the numbers, which have gaps where something failed."""
        tables = {table: self.rows(f"SELECT * FROM `{table}` ORDER BY 1") for table in TABLES}
        return tables | {f"{table}_history": [row[1:] for row in self.history(table)] for table in TABLES}


@contextmanager
def stock_platform(mysql: MySQLServer) -> Iterator[StockPlatform]:
    """A fresh one with its tables, dropped at the end."""
    platform = StockPlatform(mysql, unique("stock"))
    install_database(mysql, platform.database, platform.writer, platform.reader)
    with closing(connect(platform.writer_url)) as connection:
        install(connection)
    yield platform
    mysql.drop_database(platform.database)
    mysql.drop_database(f"{platform.database}{SUFFIX}")
    mysql.drop_user(platform.writer)
    mysql.drop_user(platform.reader)
