"""Streams from MySQL through the flow, beside one from Postgres, into the warehouse that the pipeline names."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from local.prefect_server import PrefectServer
from millrace.base.errors import SourceMissing
from millrace.blocks.mysql import mysql_connector
from millrace.blocks.sql import opener
from millrace.declaration.source_kinds import SOURCE_KINDS
from millrace.flows.extract import EXTRACT
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from tests.saved_blocks import save_blocks

MODULE = """
from millrace import Incremental, Pipeline, Stream
shop = Pipeline("shop", warehouse="stocks", streams=[
    Stream("price", "mysql/stocks:stock_db.{table}", "stock_id", Incremental("changed")),
    Stream("sale", "postgres:public.sale", "sale_id", Incremental("changed")),
])
"""
PRICES = "SELECT stock_id, company, price FROM shop.price ORDER BY 1"


class Shop:
    """A table of prices in MySQL, one of sales in Postgres, and the warehouse of the pipeline."""

    def __init__(self, variables: dict[str, str], directory: Path) -> None:
        self.variables, self.directory = variables, directory
        self.writer = opener(mysql_connector(variables["SOURCE_MYSQL_STOCKS_WRITER_URL"], place="test"))()

    def prices(self, statement: str) -> None:
        with self.writer.cursor() as cursor:
            cursor.execute(statement)
        self.writer.commit()

    def declare(self, table: str) -> ReplicateRequest:
        path = self.directory / "shop.py"
        path.write_text(MODULE.format(table=table))
        return ReplicateRequest(pipeline=f"{path}:shop")

    def sales(self, statement: str) -> list[tuple[Any, ...]]:
        return execute(self.variables["SOURCE_POSTGRES_URL"], statement)

    def warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        return execute(self.variables["WAREHOUSE_STOCKS_URL"], statement)

    def common_warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        return execute(self.variables["WAREHOUSE_URL"].replace("redshift+psycopg2", "postgresql"), statement)


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def shop(prefect_server: PrefectServer, stocks_environment: dict[str, str], tmp_path: Path) -> Any:
    await save_blocks(stocks_environment)
    shop = Shop(stocks_environment, tmp_path)
    shop.sales("CREATE TABLE sale (sale_id int PRIMARY KEY, changed timestamptz NOT NULL DEFAULT now())")
    shop.sales("INSERT INTO sale VALUES (1), (2)")
    shop.prices(
        "CREATE TABLE price (stock_id varchar(5) PRIMARY KEY, company varchar(100), price decimal(10,2), "
        "changed timestamp(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6))"
    )
    shop.prices("INSERT INTO price (stock_id, company, price) VALUES ('A', 'O''Hara 𝄞', 54.03), ('B', NULL, 2052)")
    yield shop
    shop.writer.close()


async def test_mysql_arrives_in_the_warehouse_that_the_pipeline_names(shop: Shop) -> None:
    request = shop.declare("price")
    report = await replicate(request)
    assert {one.stream: (one.read, one.inserted) for one in report.streams} == {"price": (2, 2), "sale": (2, 2)}
    assert shop.warehouse(PRICES) == [("A", "O'Hara 𝄞", Decimal("54.03")), ("B", None, Decimal("2052.00"))]
    assert shop.common_warehouse("SELECT 1 FROM pg_namespace WHERE nspname IN ('shop', 'millrace')") == []

    shop.prices("UPDATE price SET price = 55.5 WHERE stock_id = 'A'")
    shop.prices("INSERT INTO price (stock_id, price) VALUES ('C', 1)")
    plans = (await replicate(request.model_copy(update={"dry_run": True}))).plans
    assert [(one.stream, one.reads, "`price`" in one.query) for one in plans] == [
        ("price", "window", True),
        ("sale", "window", False),
    ]
    (price, _) = (await replicate(request)).streams
    assert (price.stream, price.inserted, price.updated, price.rejected) == ("price", 1, 1, 0)
    assert [row[::2] for row in shop.warehouse(PRICES)] == [
        ("A", Decimal("55.50")),
        ("B", Decimal("2052.00")),
        ("C", Decimal("1.00")),
    ]


async def test_a_stream_of_mysql_that_fails_stops_none_of_postgres(shop: Shop) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await replicate(shop.declare("no_price"))
    (reason,) = raised.value.exceptions
    assert isinstance(reason, SourceMissing)
    assert "stream price (mysql" in str(reason)
    assert shop.warehouse("SELECT count(*) FROM shop.sale") == [(2,)]


def test_there_is_an_extract_flow_for_every_kind_of_source() -> None:
    assert {kind.name: extract.name for kind, extract in EXTRACT.items()} == {
        name: f"extract-{name}" for name in SOURCE_KINDS
    }
