"""`stocks` from MySQL into either warehouse, day by day, against a recomputation from the platform's history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy.engine import make_url

from local.demos import stocks_source as platform
from local.demos.stocks_star import compare_stocks
from local.mysql import MySQLServer
from millrace.pipelines.stocks import pipeline
from millrace.runs.choose import ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import BatchDestination
from millrace.seed_data.stocks.script import SUFFIX
from millrace.seed_data.stocks.simulation import StocksSimulation, install
from millrace.sources.mysql import MySQLSource
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import Together

VIEWS = Path(__file__).parents[3] / "sql" / "stocks" / "views.sql"
START = date(2026, 1, 5)
MISSED = 4
DAYS = 6


def opener(url: str) -> Callable[[], Any]:
    made = make_url(url)

    def connect() -> Any:
        return pymysql.connect(
            host=made.host, port=made.port, user=made.username, password=made.password, database=made.database
        )

    return connect


@pytest.fixture
def simulation(mysql: MySQLServer) -> Iterator[StocksSimulation]:
    """An empty platform, where rare things are not."""
    for name in (platform.DATABASE, f"{platform.DATABASE}{SUFFIX}"):
        mysql.drop_database(name)
    platform.install(mysql)
    connect = opener(mysql.url(platform.DATABASE, user=platform.WRITER))
    with closing(connect()) as connection:
        install(connection)
    with closing(connect()) as connection:
        yield StocksSimulation(connection, 3, START, rare_rate=10)


def half_past_midnight(day: int) -> datetime:
    """Of the platform's day, in UTC."""
    moment = datetime.combine(START + timedelta(days=day), datetime.min.time())
    return moment + timedelta(minutes=30) - timedelta(hours=7)


async def run(together: Together, mysql: MySQLServer) -> dict[str, LoadResult]:
    """As a run of the pipeline."""
    warehouse, store = together.engine.warehouse, together.engine.store
    source = MySQLSource(opener(mysql.url(platform.DATABASE, user=platform.READER)))
    batches = []
    for stream in pipeline.streams:
        with warehouse.lease(pipeline, stream, "test") as token:
            limits = warehouse.dialect.limits
            landing = BatchDestination(pipeline.name, store, limits, token=token, dated=pipeline.dated)
            batches.append(await read(StreamContext(source, landing, warehouse, pipeline, stream), ReadRequest()))
    return together.load(pipeline, together.transform(pipeline, [batch for batch in batches if batch]))


async def test_the_star_follows_the_platform_and_a_recomputation_agrees(
    together: Together, mysql: MySQLServer, simulation: StocksSimulation
) -> None:
    """Six days, one of them missed and one run twice."""
    runs = []
    for day in range(1, DAYS + 1):
        if day == MISSED:
            continue
        moment = half_past_midnight(day)
        simulation.advance(moment.replace(tzinfo=simulation.now().tzinfo))
        runs.append(moment)
        await run(together, mysql)
        if day == MISSED - 1:
            again = await run(together, mysql)
            assert all(result.loaded == 0 for result in again.values()), "a rerun changes nothing"
    made = together.engine.warehouse.make_views(pipeline, VIEWS.read_text(encoding="utf-8"))
    assert made == ["stocks.stock_dim_at", "stocks.user_dim_at", "stocks.trade", "stocks.portfolio_value"]
    compared = compare_stocks(mysql.execute, f"`{platform.DATABASE}{SUFFIX}`", runs, together.engine.query)
    assert [(one.table, one.missing, one.extra) for one in compared] == [
        (name, 0, 0) for name in ("stock_dim", "user_dim", "trade", "portfolio_value")
    ]
    held = together.engine.query("SELECT user_id FROM stocks.trade")
    assert len(held) == compared[2].rows == 10 * 5 * DAYS
    assert (None,) in held
