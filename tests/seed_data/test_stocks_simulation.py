"""The life of the simulated stock platform: the same however it is cut up, restarted or killed, and kept in full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from local.mysql import MySQLServer, connect
from millrace.base.errors import ConfigurationError, MillraceError, RetryableError, SourceMissing
from millrace.seed_data.stocks.simulation import StocksSimulation, install
from millrace.seed_data.stocks.world import TABLES, key_of
from millrace.seed_data.totesys.happened import Counts, Happened
from tests.conftest import unique
from tests.seed_data.stock_platform import StockPlatform, stock_platform

START, DAYS, RATE = date(2025, 3, 6), 4, 40.0
BEGIN = datetime(2025, 3, 5, 17, tzinfo=UTC)
"""Midnight in UTC+7."""
END = BEGIN + timedelta(days=DAYS)
WAITING = "SELECT id FROM information_schema.processlist WHERE user = '{}' AND state LIKE 'Waiting for table%'"


@pytest.fixture(scope="module")
def advanced(mysql: MySQLServer) -> Iterator[tuple[dict[str, list[tuple[Any, ...]]], Happened]]:
    """Four days with many rare events, made in one step."""
    with stock_platform(mysql) as platform, closing(connect(platform.writer_url)) as connection:
        happened = StocksSimulation(connection, 5, START, RATE).advance(END)
        yield platform.everything(), happened


@pytest.fixture
def platform(mysql: MySQLServer) -> Iterator[StockPlatform]:
    with stock_platform(mysql) as fresh:
        yield fresh


@pytest.fixture
def connection(platform: StockPlatform) -> Iterator[Any]:
    with closing(connect(platform.writer_url)) as connection:
        yield connection


def test_in_small_steps_with_restarts_the_same_happens(advanced: Any, platform: StockPlatform) -> None:
    expected, happened = advanced
    total, moment = Happened(), BEGIN
    while moment < END:
        with closing(connect(platform.writer_url)) as connection:
            simulation = (
                StocksSimulation.resume(connection, RATE)
                if total.tables
                else StocksSimulation(connection, 5, START, RATE)
            )
            for _ in range(12):
                moment = min(moment + timedelta(minutes=67, milliseconds=1), END)
                total += simulation.advance(moment)
                assert simulation.now() == moment
    assert platform.everything() == expected
    assert total == happened


def test_at_once_the_same_happens(advanced: Any, platform: StockPlatform, connection: Any) -> None:
    expected, happened = advanced
    simulation = StocksSimulation(connection, 5, START, RATE)
    assert simulation.fill(DAYS) == happened
    assert platform.everything() == expected
    assert simulation.now() == END


def test_after_that_it_lives_on(advanced: Any, platform: StockPlatform, connection: Any) -> None:
    expected, _ = advanced
    simulation = StocksSimulation(connection, 5, START, RATE)
    happened = simulation.fill(DAYS - 2)
    happened += simulation.advance(END)
    assert platform.everything() == expected
    assert happened == advanced[1]


def test_another_seed_gives_something_else(advanced: Any, platform: StockPlatform, connection: Any) -> None:
    expected, _ = advanced
    StocksSimulation(connection, 6, START, RATE).fill(DAYS)
    other = platform.everything()
    assert all(other[table] != expected[table] for table in TABLES)


def test_on_a_running_clock_the_same_happens(advanced: Any, platform: StockPlatform, connection: Any) -> None:
    expected, happened = advanced
    simulation = StocksSimulation(connection, 5, START, RATE)
    parts = list(simulation.live(1e6, END, lambda _seconds: False))
    assert [moment for moment, _ in parts[:-1]] == [BEGIN + timedelta(hours=hour + 1) for hour in range(DAYS * 24)]
    assert sum((part for _, part in parts), Happened()) == happened
    assert platform.everything() == expected
    assert END <= simulation.now() == parts[-1][0]


def test_a_running_clock_can_be_stopped_and_rests(platform: StockPlatform, connection: Any) -> None:
    simulation = StocksSimulation(connection, 5, START)
    [(moment, _)] = simulation.live(1.0, END, lambda _seconds: True)
    assert BEGIN < moment == simulation.now() < BEGIN + timedelta(hours=1)
    assert platform.one("SELECT speed FROM simulation.clock") == 0


def test_an_event_at_the_very_moment_of_a_restart_happens_once(
    advanced: Any, platform: StockPlatform, connection: Any
) -> None:
    expected, _ = advanced
    simulation = StocksSimulation(connection, 5, START, RATE)
    simulation.advance(BEGIN + timedelta(hours=12))
    next_at = platform.one("SELECT complete_until FROM simulation.clock")
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(next_at * 1_000_000) + 1)
    assert simulation.advance(moment).tables
    StocksSimulation.resume(connection, RATE).advance(END)
    assert platform.everything() == expected


def test_a_clock_that_was_left_running_rests_when_it_is_taken_up(
    advanced: Any, platform: StockPlatform, connection: Any
) -> None:
    expected, _ = advanced
    StocksSimulation(connection, 5, START, RATE).advance(BEGIN + timedelta(hours=12))
    platform.rows("UPDATE simulation.clock SET speed = 1000000000")
    left_at = platform.one("SELECT simulation.now()")
    simulation = StocksSimulation.resume(connection, RATE)
    assert platform.one("SELECT speed, simulation.now(), complete_until FROM simulation.clock") == (0, left_at, left_at)
    simulation.advance(END)
    assert platform.everything() == expected


def test_killed_in_the_middle_it_goes_on_without_a_gap(advanced: Any, platform: StockPlatform) -> None:
    expected, _ = advanced
    victim = connect(platform.writer_url)
    with closing(connect(platform.mysql.url(platform.database))) as blocker, ThreadPoolExecutor(1) as threads:
        simulation = StocksSimulation(victim, 5, START, RATE)
        simulation.advance(BEGIN + timedelta(hours=12))
        blocker.cursor().execute("LOCK TABLES `user` WRITE")
        advancing = threads.submit(simulation.advance, END)
        while not (waiting := platform.rows(WAITING.format(platform.writer))):
            assert not advancing.done()
            time.sleep(0.01)
        platform.rows(f"KILL {waiting[0][0]}")
        with pytest.raises(MillraceError):
            advancing.result()
    with closing(connect(platform.writer_url)) as connection:
        again = StocksSimulation.resume(connection, RATE)
        assert again.now() < END
        again.advance(END)
    assert platform.everything() == expected


def test_an_event_that_fails_leaves_nothing_and_happens_at_the_next_try(
    advanced: Any, platform: StockPlatform, connection: Any
) -> None:
    expected, _ = advanced
    connection.cursor().execute("SET innodb_lock_wait_timeout = 1")
    simulation = StocksSimulation(connection, 5, START, RATE)
    simulation.advance(BEGIN + timedelta(hours=2))
    with closing(connect(platform.mysql.url(platform.database))) as blocker:
        blocker.begin()
        blocker.cursor().execute("SELECT price FROM `stock` ORDER BY stock_id DESC LIMIT 1 FOR UPDATE")
        with pytest.raises(RetryableError):
            simulation.advance(END)
        before = platform.everything()
        assert simulation.now() < END
        assert platform.everything() == before
        assert platform.one("SELECT max(at) FROM simulation.stock_history") <= simulation.now().replace(tzinfo=None)
    simulation.advance(END)
    assert platform.everything() == expected


def test_the_last_versions_of_the_history_are_the_tables(platform: StockPlatform, connection: Any) -> None:
    StocksSimulation(connection, 5, START, RATE).advance(END)
    for table in TABLES:
        latest = {row[3]: row for row in platform.history(table)}
        left = sorted((row[3:] for row in latest.values() if row[2] != "deleted"), key=lambda row: row[0])
        assert tuple(left) == tuple(platform.rows(f"SELECT * FROM `{table}` ORDER BY {key_of(table)}")), table


def test_the_history_counts_as_was_told(advanced: Any) -> None:
    everything, happened = advanced
    for table in TABLES:
        told, seen = Counts(), dict[Any, Any]()
        for at, operation, key, *values in everything[f"{table}_history"]:
            assert BEGIN <= at.replace(tzinfo=UTC) <= END
            before = seen.get(key)
            assert (operation == "inserted") == (before is None)
            assert operation != "updated" or values != before
            is_silent = table == "user" and operation == "updated" and values[2] == before[2]
            told += Counts(**{"silent" if is_silent else operation: 1})
            seen[key] = None if operation == "deleted" else values
        assert told == happened.of_table(table)


def test_a_higher_rate_of_rare_events_moves_none_of_the_others(
    advanced: Any, platform: StockPlatform, connection: Any
) -> None:
    expected, _ = advanced
    happened = StocksSimulation(connection, 5, START, 0).advance(END)
    assert (happened.total.silent, happened.total.deleted) == (0, 0)
    calm = platform.everything()
    for table, operation in (("transaction", "inserted"), ("user", "inserted")):
        moments = [
            [row[0] for row in history if row[1] == operation]
            for history in (calm[f"{table}_history"], expected[f"{table}_history"])
        ]
        assert moments[0] == moments[1]


def test_what_another_hand_changes_is_seen(platform: StockPlatform, connection: Any) -> None:
    simulation = StocksSimulation(connection, 5, START, 0)
    simulation.advance(BEGIN + timedelta(hours=7))
    platform.rows("DELETE FROM `stock` WHERE category <> 'Banking'")
    platform.rows("INSERT INTO `user` (user_id, name, email) VALUES (77, 'Ann', 'ann@example.com')")
    happened = simulation.advance(BEGIN + timedelta(days=1, hours=7))
    assert happened.of_table("transaction").inserted == 50
    assert platform.one("SELECT count(*) FROM `transaction` JOIN `stock` USING (stock_id) WHERE category = 'Banking'")
    assert platform.one("SELECT max(user_id) FROM `user`") == 77 + 10


def test_what_another_hand_has_traded_stays_listed(platform: StockPlatform, connection: Any) -> None:
    simulation = StocksSimulation(connection, 5, START, 300)
    simulation.advance(BEGIN + timedelta(seconds=2))
    platform.rows("INSERT INTO `transaction` (stock_id, quantity) SELECT stock_id, 1 FROM `stock`")
    assert simulation.advance(BEGIN + timedelta(days=1)).of_table("stock").deleted == 0
    assert platform.one("SELECT count(*) FROM `stock`") == 48


def test_a_moment_that_was_reached_changes_nothing(platform: StockPlatform, connection: Any) -> None:
    simulation = StocksSimulation(connection, 5, START)
    simulation.advance(END)
    before = platform.everything()
    assert simulation.advance(BEGIN) == simulation.advance(END) == Happened()
    assert platform.everything() == before
    assert simulation.now() == END


def test_filling_twice_is_refused_and_changes_nothing(platform: StockPlatform, connection: Any) -> None:
    simulation = StocksSimulation(connection, 5, START)
    simulation.fill(1)
    before = platform.everything()
    with pytest.raises(ConfigurationError, match="there is data already"):
        simulation.fill(1)
    assert platform.everything() == before


def test_another_seed_or_start_is_refused(connection: Any) -> None:
    StocksSimulation(connection, 5, START)
    for seed, start in ((6, START), (5, date(2025, 3, 7))):
        with pytest.raises(ConfigurationError, match="seed 5 from 2025-03-06 was begun here"):
            StocksSimulation(connection, seed, start)
    assert StocksSimulation(connection, 5, START).now() == BEGIN


def test_nothing_to_resume_is_told(connection: Any) -> None:
    with pytest.raises(SourceMissing, match="millrace seed stocks"):
        StocksSimulation.resume(connection)


def test_two_at_once_are_refused(platform: StockPlatform, connection: Any) -> None:
    StocksSimulation(connection, 5, START)
    with closing(connect(platform.writer_url)) as other, pytest.raises(ConfigurationError, match="at work"):
        StocksSimulation.resume(other)


def test_installing_again_changes_nothing(platform: StockPlatform, connection: Any) -> None:
    StocksSimulation(connection, 5, START).advance(BEGIN + timedelta(hours=9))
    before = platform.everything()
    install(connection)
    assert platform.everything() == before


def test_without_a_schema_of_its_own_it_says_what_is_denied(mysql: MySQLServer) -> None:
    name = unique("plain")
    url = mysql.create_database(name)
    with closing(connect(url)) as connection, pytest.raises(ConfigurationError, match="denied for user"):
        install(connection)
    mysql.drop_database(name)
