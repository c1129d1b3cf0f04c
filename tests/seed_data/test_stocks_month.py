"""A month of the simulated stock platform: its volumes, its hours, and everything rare, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby, islice, pairwise
from typing import Any

import pytest

from local.mysql import MySQLServer, connect
from millrace.seed_data.stocks.course import Origin, events_after
from millrace.seed_data.stocks.jobs import GREATEST_PRICE, LEAST_PRICE, draw_price, jobs
from millrace.seed_data.stocks.rare import KINDS, rare_events
from millrace.seed_data.stocks.reference import first_changes
from millrace.seed_data.stocks.simulation import StocksSimulation
from millrace.seed_data.stocks.world import StocksWorld, midnight
from millrace.seed_data.totesys.chance import Chance
from tests.seed_data.stock_platform import StockPlatform, stock_platform

START, DAYS, RATE = date(2025, 3, 3), 30, 20.0
LOCAL = "{} + INTERVAL 7 HOUR"


@pytest.fixture(scope="module")
def month(mysql: MySQLServer) -> Iterator[StockPlatform]:
    with stock_platform(mysql) as platform, closing(connect(platform.writer_url)) as connection:
        StocksSimulation(connection, 1, START, RATE).fill(DAYS)
        yield platform


@pytest.fixture(scope="module")
def calm_month(mysql: MySQLServer) -> Iterator[StockPlatform]:
    with stock_platform(mysql) as platform, closing(connect(platform.writer_url)) as connection:
        StocksSimulation(connection, 1, START, 0).fill(DAYS)
        yield platform


def versions(platform: StockPlatform, table: str) -> Iterator[list[tuple[Any, ...]]]:
    """Of each key: at, operation, key and the other columns, in order."""
    history = sorted((row[1:] for row in platform.history(table)), key=lambda row: row[2])
    return (list(rows) for _, rows in groupby(history, key=lambda row: row[2]))


@pytest.mark.parametrize("seed", range(4))
def test_what_there_is_when_it_opens(seed: int) -> None:
    changes = first_changes(seed)
    stocks = [change.values for change in changes if change.table == "stock"]
    users = [change.values for change in changes if change.table == "user"]
    assert (len(stocks), len(users)) == (48, 20)
    assert len({row["category"] for row in stocks}) == 15
    assert len({row["stock_id"] for row in stocks}) == len({row["company"].casefold() for row in stocks}) == 48
    assert all(Decimal("54.03") <= row["price"] <= Decimal("2052.00") for row in stocks)
    assert all(len(row["stock_id"]) <= 5 and len(row["company"]) <= 100 for row in stocks)
    assert {(row["updated_at"], row["status"]) for row in users} == {(None, None)}
    for names in ([row["company"] for row in stocks], [row["name"] for row in users], [row["email"] for row in users]):
        assert any("'" in name for name in names)


def test_volumes(calm_month: StockPlatform) -> None:
    one = calm_month.one
    assert one("SELECT count(*) FROM `stock`") == 48
    assert one("SELECT count(*), max(user_id) FROM `user`") == (20 + 10 * DAYS, 20 + 10 * DAYS)
    assert one("SELECT count(*), max(transaction_id) FROM `transaction`") == (50 * DAYS, 50 * DAYS)
    assert one("SELECT count(*) FROM `user` WHERE updated_at IS NULL AND status IS NULL") > 0
    assert one("SELECT count(*) FROM `user` WHERE (updated_at IS NULL) <> (status IS NULL)") == 0


def test_every_price_moves_at_six(calm_month: StockPlatform) -> None:
    moved = f"SELECT DISTINCT date_format({LOCAL.format('at')}, '%H:%i') FROM simulation.stock_history"
    assert calm_month.rows(f"{moved} WHERE operation = 'updated'") == [("06:00",)]
    updated = calm_month.one("SELECT count(*) FROM simulation.stock_history WHERE operation = 'updated'")
    assert 0.005 < 1 - updated / (48 * DAYS) < 0.04
    factors = [after[-1] / before[-1] for rows in versions(calm_month, "stock") for before, after in pairwise(rows)]
    assert Decimal("0.69") < min(factors) < Decimal("0.71")
    assert Decimal("1.29") < max(factors) < Decimal("1.31")


def test_prices_stay_within_their_column() -> None:
    for number in range(200):
        chance = Chance(number, "test")
        assert draw_price(chance, GREATEST_PRICE) <= GREATEST_PRICE
        price = draw_price(chance, LEAST_PRICE)
        assert LEAST_PRICE <= price == price.quantize(Decimal("0.01"))


def test_users_come_and_move_at_eighteen(calm_month: StockPlatform) -> None:
    days = calm_month.rows(
        f"""
        SELECT date_format({LOCAL.format("at")}, '%Y-%m-%d %H:%i'), count(DISTINCT at), sum(operation = 'inserted'),
            sum(operation = 'updated'), sum(updated_at <> at - INTERVAL microsecond(at) MICROSECOND + INTERVAL 7 HOUR),
            sum(status <> IF(operation = 'inserted', 'I', 'U'))
        FROM simulation.user_history WHERE updated_at IS NOT NULL GROUP BY 1 ORDER BY 1
        """
    )
    assert [row[0] for row in days] == [f"{START + timedelta(days=day)} 18:00" for day in range(DAYS)]
    assert {(row[1], row[2], row[4], row[5]) for row in days} == {(1, 10, 0, 0)}
    shares = [float(row[3]) / (20 + 10 * number) for number, row in enumerate(days)]
    assert max(shares) <= 0.15
    assert max(shares) > 0.12
    assert min(shares) < 0.03


def test_trades_are_in_trading_hours(calm_month: StockPlatform) -> None:
    hours = calm_month.rows(
        """
        SELECT hour(local), count(*), count(DISTINCT date(local)), max(minute(local))
        FROM (SELECT transaction_date AS local FROM `transaction`) AS trade GROUP BY 1 ORDER BY 1
        """
    )
    assert hours == [(hour, 5 * DAYS, DAYS, 0) for hour in range(8, 18)]
    assert calm_month.one("SELECT min(quantity), max(quantity) FROM `transaction`") == (1, 100)
    nobody = calm_month.one("SELECT count(*) FROM `transaction` WHERE user_id IS NULL")
    assert 0.005 < nobody / (50 * DAYS) < 0.04
    late = (
        "SELECT count(*) FROM simulation.transaction_history WHERE transaction_date <> at - INTERVAL microsecond(at) "
    )
    assert calm_month.one(f"{late} MICROSECOND + INTERVAL 7 HOUR") == 0


def test_a_stock_goes_and_comes_back_as_it_was(month: StockPlatform) -> None:
    gone = back = 0
    for rows in versions(month, "stock"):
        for before, after in pairwise(rows):
            gone += after[1] == "deleted"
            if before[1] == "deleted":
                back += 1
                assert after[1] == "inserted"
                assert after[2:] == before[2:]
    assert gone >= back > 3
    assert month.one("SELECT count(*) FROM simulation.stock_history WHERE operation = 'deleted'") == gone


def test_a_stock_that_came_back_is_traded(month: StockPlatform) -> None:
    relisted = (
        "SELECT stock_id, max(at) AS at FROM simulation.stock_history WHERE operation = 'inserted' "
        "GROUP BY 1 HAVING count(*) > 1"
    )
    trades = (
        f"SELECT count(DISTINCT stock_id), min(transaction_date > {LOCAL.format('back.at')}) "
        f"FROM `transaction` JOIN ({relisted}) AS back"
    )
    assert month.one(f"{trades} USING (stock_id)") == (2, 1)


def test_users_who_never_traded_leave(month: StockPlatform) -> None:
    assert month.one("SELECT count(*) FROM simulation.user_history WHERE operation = 'deleted'") in range(10, 31)
    assert {rows[-1][1] for rows in versions(month, "user") if any(row[1] == "deleted" for row in rows)} == {"deleted"}


def test_users_are_renamed_and_nothing_says_so(month: StockPlatform) -> None:
    silent = [
        (before, after)
        for rows in versions(month, "user")
        for before, after in pairwise(rows)
        if after[1] == "updated" and after[5] == before[5]
    ]
    assert len(silent) in range(10, 31)
    assert all(after[3] != before[3] and after[4:] == before[4:] for before, after in silent)


def test_a_user_changes_twice_on_a_day(month: StockPlatform) -> None:
    assert days_with_two(month, "user", "operation = 'updated' AND status = 'U'") > 10


def test_a_new_user_changes_on_the_same_day(month: StockPlatform) -> None:
    first = "operation = 'inserted' OR (operation = 'updated' AND status = 'U')"
    assert days_with_two(month, "user", first, "sum(operation = 'inserted') = 1") > 5


def test_a_price_moves_twice_on_a_day(month: StockPlatform) -> None:
    assert days_with_two(month, "stock", "operation = 'updated'") > 10


def days_with_two(platform: StockPlatform, table: str, condition: str, also: str = "true") -> int:
    day = f"date({LOCAL.format('at')})"
    return len(
        platform.rows(
            f"SELECT {table}_id, {day} FROM simulation.{table}_history WHERE {condition} "
            f"GROUP BY 1, 2 HAVING count(*) > 1 AND {also}"
        )
    )


def test_at_the_usual_rate_each_kind_is_rare() -> None:
    days = [START + timedelta(days=number) for number in range(3_000)]
    acts = sum(len(steps) for steps in KINDS.values())
    assert sum(len(rare_events(1, day, 1)) for day in days) in range(90 * acts, 110 * acts)


def test_events_follow_from_seed_and_date_and_no_two_share_a_moment() -> None:
    for seed in range(3):
        begin = midnight(START)
        events = list(islice(events_after(begin, Origin(seed, START), 300), 3_000))
        moments = [event.at for event in events]
        assert moments == sorted(set(moments))
        assert all(moment > begin for moment in moments)
        later = moments[1_234]
        again = islice(events_after(later, Origin(seed, START), 300), 100)
        assert [event.at for event in again] == moments[1_235:1_335]


def test_rare_events_lie_beside_all_others() -> None:
    rare, usual = rare_events(1, START, 300), jobs(1, START)
    assert {event.at.microsecond % 1_000 for event in rare} == {500}
    assert {event.at.microsecond % 1_000 for event in usual} == {0}


def test_an_empty_platform_gets_users_and_nothing_else() -> None:
    events = islice(events_after(midnight(START) + timedelta(hours=1), Origin(1, START), 300), 500)
    changes = [change for event in events for change in event.occur(StocksWorld())]
    assert {(change.table, change.kind) for change in changes} == {("user", "inserted")}
    assert len(changes) % 10 == 0
