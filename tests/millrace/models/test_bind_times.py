"""Times that bind and say no zone: whose they are, and days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import dataframely as dy
import polars as pl
import pytest

from millrace import Bind, Merge, Model, Snapshot
from millrace.base.errors import ConfigurationError
from millrace.runs.choose import ReadRequest
from tests.support.bound_facts import MARKET, PRICED, QUOTES, TRADES, Trade, fill_market
from tests.support.engine import Together, database_of


@pytest.mark.parametrize("zone", ["Asia/Ho_Chi_Minh", "America/New_York"])
async def test_times_without_zone_are_those_of_the_declared_zone(together: Together, zone: str) -> None:
    """Versions start in UTC; values stay as they are; trades with a zone of their own meet the same versions."""
    fill_market(together)
    market = replace(MARKET, stamps_in=zone)
    await together.run(market)
    together.engine.source("UPDATE quotes SET price = 2, since = '2024-03-05 09:00'")
    together.engine.source(
        "INSERT INTO trades VALUES (1, 'a', '2024-03-01 08:59'), (2, 'a', '2024-03-01 09:00'), "
        "(3, 'a', '2024-03-05 08:59:59'), (4, 'a', '2024-03-05 09:00')"
    )
    # Trades of 2024 lie before the position, which the empty table has.
    await together.run(market, read_request=ReadRequest("full"))
    assert together.engine.query(PRICED) == [(1, None), (2, 1), (3, 1), (4, 2)]
    first = datetime(2024, 3, 1, 9, tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
    assert together.engine.query("SELECT min(start_date) FROM market.price") == [(first,)]
    stored = "SELECT traded FROM market.trade WHERE trade_id = 4"
    assert together.engine.query(stored) == [(datetime(2024, 3, 5, 9),)]  # noqa: DTZ001 - the wall clock


async def test_of_an_hour_that_comes_twice_the_second_is_taken(together: Together) -> None:
    """And of a time that the clock leaves out the hour after it."""
    fill_market(together)
    together.engine.source("UPDATE quotes SET since = '2024-11-03 01:30'")
    await together.run(replace(MARKET, stamps_in="America/New_York"))
    together.engine.source("INSERT INTO quotes VALUES ('b', 1, '2024-03-10 02:30')")
    await together.run(replace(MARKET, stamps_in="America/New_York"))
    starts = together.engine.query("SELECT stock, start_date FROM market.price ORDER BY 1")
    assert starts == [("a", datetime(2024, 11, 3, 6, 30)), ("b", datetime(2024, 3, 10, 7, 30))]  # noqa: DTZ001 - UTC


async def test_times_that_decide_and_say_no_zone_are_told(on_redshift: Together) -> None:
    """A snapshot has no cursor to be read by, and its versions are as doubtful."""
    name = database_of(on_redshift.engine.postgres_url)
    on_redshift.engine.source(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Ho_Chi_Minh'")
    fill_market(on_redshift)
    on_redshift.engine.source("INSERT INTO trades VALUES (1, 'a', '2024-03-01 09:00')")
    result = await on_redshift.run(MARKET)
    for model, column in (("price", "since"), ("trade", "traded")):
        assert any(
            f"{column} decides which version" in warning and "Asia/Ho_Chi_Minh" in warning
            for warning in result[model].warnings
        ), model
    on_redshift.engine.source("INSERT INTO trades VALUES (2, 'a', '2024-03-01 09:00')")
    result = await on_redshift.run(replace(MARKET, stamps_in="Asia/Ho_Chi_Minh"))
    assert not [warning for one in result.values() for warning in one.warnings if "decides" in warning]


def test_a_model_of_streams_in_several_zones_is_refused_where_times_decide() -> None:
    def trade_at_prices(trades: pl.DataFrame, quotes: pl.DataFrame) -> pl.DataFrame:
        return trades.join(quotes, on="stock")

    streams = [replace(QUOTES, stamps_in="Asia/Tokyo"), replace(TRADES, capture=Snapshot())]
    joined = Model(trade_at_prices, Trade, "trade_id", binds=[Bind("price_key", "price", by="stock", at="traded")])
    with pytest.raises(ConfigurationError, match=r"several time zones \(Asia/Tokyo, UTC\)"):
        replace(MARKET, streams=streams, models=[MARKET.models[0], joined])
    assert replace(MARKET, streams=streams, models=[MARKET.models[0], replace(joined, binds=[])])


class Booked(Trade):
    """On a day."""

    traded = dy.Date(nullable=True)


async def test_facts_of_days_are_bound_again_when_a_version_comes(together: Together) -> None:
    """A day begins at midnight of the declared zone."""

    def trade(trades: pl.DataFrame) -> pl.DataFrame:
        return trades.select("trade_id", "stock", "traded")

    fill_market(together, "date")
    stream = replace(TRADES, capture=Snapshot(), load=Merge())
    booked = replace(MARKET.models[1], function=trade, schema=Booked, load=Merge())
    market = replace(MARKET, streams=[QUOTES, stream], models=[MARKET.models[0], booked], stamps_in="Asia/Tokyo")
    together.engine.source(
        "INSERT INTO trades VALUES (1, 'a', '2024-03-01'), (2, 'a', '2024-03-02'), (3, 'a', '2024-03-05'), "
        "(4, 'a', '2024-03-06')"
    )
    await together.run(market)
    assert together.engine.query(PRICED) == [(1, None), (2, 1), (3, 1), (4, 1)]
    together.engine.source("UPDATE quotes SET price = 2, since = '2024-03-05 00:00'")
    await together.run(market)
    assert together.engine.query(PRICED) == [(1, None), (2, 1), (3, 2), (4, 2)]
