"""The simulated clock: what a session takes as the source's time, never in the future, never before its events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pymysql
import pytest

from local.mysql import MySQLServer, connect
from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError
from millrace.seed_data.stocks.simulation import StocksSimulation
from millrace.sources.chunk import Window
from millrace.sources.mysql import MySQLSource
from tests.seed_data.stock_platform import StockPlatform, stock_platform

START = date(2025, 3, 3)
NOON = datetime(2025, 3, 4, 5, 0, 0, 123457, tzinfo=UTC)
"""In UTC+7, and a little more."""
NOW = "SELECT utc_timestamp(6)"
REAL = "SELECT abs(timestampdiff(SECOND, {}, sysdate(6))) < 60"
LOCKED = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"


@pytest.fixture
def platform(mysql: MySQLServer) -> Iterator[StockPlatform]:
    with stock_platform(mysql) as fresh:
        yield fresh


@pytest.fixture
def writer(platform: StockPlatform) -> Iterator[Any]:
    with closing(connect(platform.writer_url)) as connection:
        yield connection


def asked(url: str, question: str) -> Any:
    """The one answer that a session of its own gets."""
    with closing(connect(url)) as connection:
        return one(connection, question)


def one(connection: Any, question: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(question)
        [(answer,)] = cursor.fetchall()
        return answer


def naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def test_a_reader_lives_in_simulated_time(platform: StockPlatform, writer: Any) -> None:
    simulation = StocksSimulation(writer, 1, START)
    for moment in (NOON, NOON + timedelta(hours=12, minutes=30), NOON + timedelta(days=1, microseconds=1)):
        simulation.advance(moment)
        assert asked(platform.reader_url, NOW) == naive(moment)
        assert asked(platform.reader_url, "SELECT cast(now(6) AS char)") == str(naive(moment))
        assert asked(platform.reader_url, "SELECT unix_timestamp()") == int(moment.timestamp())


async def test_the_engine_reads_at_simulated_time(platform: StockPlatform, writer: Any) -> None:
    StocksSimulation(writer, 1, START).advance(NOON)
    source = f"mysql:{platform.database}.transaction"
    stream = Stream("transaction", source=source, key="transaction_id", capture=Incremental("transaction_date"))
    async with MySQLSource(lambda: connect(platform.reader_url)).read(stream, (), Window()) as reading:
        chunks = [chunk async for chunk in reading.read_chunks()]
    assert reading.facts.read_at == NOON
    assert reading.facts.next_position == (NOON - timedelta(seconds=1)).isoformat()
    assert sum(len(chunk.frame) for chunk in chunks) == platform.one("SELECT count(*) FROM `transaction`") == 70


def test_a_session_keeps_the_moment_in_which_it_began(platform: StockPlatform, writer: Any) -> None:
    simulation = StocksSimulation(writer, 1, START)
    simulation.advance(NOON)
    with closing(connect(platform.reader_url)) as reader:
        simulation.advance(NOON + timedelta(hours=3))
        assert one(reader, NOW) == naive(NOON)
        written = naive(NOON) + timedelta(hours=7)
        trades = one(
            reader, f"SELECT count(*) FROM `transaction` WHERE transaction_date > '{written:%Y-%m-%d %H:%M:%S}'"
        )
        assert trades == 15


def test_a_reader_may_ask_the_time_and_nothing_else(platform: StockPlatform, writer: Any) -> None:
    StocksSimulation(writer, 1, START).advance(NOON)
    schema = f"{platform.database}_simulation"
    with closing(connect(platform.reader_url)) as reader:
        assert float(one(reader, f"SELECT {schema}.now()")) == NOON.timestamp()
        for statement in (
            f"SELECT count(*) FROM {schema}.stock_history",
            f"UPDATE {schema}.clock SET speed = 1",
            "DELETE FROM `stock`",
        ):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                one(reader, statement)


def test_the_superuser_and_other_databases_keep_the_real_time(platform: StockPlatform, writer: Any) -> None:
    StocksSimulation(writer, 1, START).advance(NOON)
    assert asked(platform.mysql.url(platform.database), REAL.format("now(6)"))
    with stock_platform(platform.mysql) as other:
        StocksSimulation(connect(other.writer_url), 1, START).advance(NOON + timedelta(hours=1))
        assert asked(other.reader_url, NOW) == naive(NOON + timedelta(hours=1))
        assert asked(platform.reader_url, NOW) == naive(NOON)


def test_before_anything_is_begun_the_time_is_the_real_one_and_passes(platform: StockPlatform) -> None:
    with closing(connect(platform.reader_url)) as reader:
        assert one(reader, REAL.format("now(6)"))
        assert one(reader, NOW) < one(reader, NOW)


def test_who_may_not_ask_the_clock_is_let_in(platform: StockPlatform, writer: Any) -> None:
    StocksSimulation(writer, 1, START).advance(NOON)
    stranger = platform.mysql.create_reader(f"{platform.database}_stranger", platform.database)
    try:
        assert asked(stranger, REAL.format("now(6)"))
        assert asked(stranger, "SELECT count(*) FROM `stock`") == 48
    finally:
        platform.mysql.drop_user(f"{platform.database}_stranger")


def test_what_another_hand_writes_is_in_the_history_at_simulated_time(platform: StockPlatform, writer: Any) -> None:
    StocksSimulation(writer, 1, START).advance(NOON)
    with closing(connect(platform.writer_url)) as other, other.cursor() as cursor:
        cursor.execute("UPDATE `stock` SET price = 1.23 LIMIT 1")
    assert platform.history("stock", "at, operation, price")[-1] == (naive(NOON), "updated", Decimal("1.23"))


def test_on_a_running_clock_each_session_begins_later(platform: StockPlatform, writer: Any) -> None:
    simulation = StocksSimulation(writer, 1, START)
    seen = []

    def pause(_seconds: float) -> bool:
        seen.append(asked(platform.reader_url, NOW))
        return len(seen) == 3

    list(simulation.live(3_600, NOON + timedelta(days=300), pause))
    assert naive(NOON) - timedelta(days=2) < seen[0] < seen[1] < seen[2] < naive(NOON)


def test_a_clock_that_runs_fast_stops_at_the_present(platform: StockPlatform, writer: Any) -> None:
    StocksSimulation(writer, 1, START)
    platform.rows("UPDATE simulation.clock SET speed = 1e8, anchor_real = anchor_real - 10, complete_until = 9e9")
    assert asked(platform.reader_url, REAL.format("now(6)"))
    assert asked(platform.reader_url, "SELECT now(6) <= sysdate(6)")


def test_a_clock_that_runs_waits_for_what_is_not_committed(platform: StockPlatform, writer: Any) -> None:
    simulation = StocksSimulation(writer, 1, START)
    simulation.advance(NOON)
    platform.rows("UPDATE simulation.clock SET speed = 1e6, anchor_real = anchor_real - 10")
    now, complete_until, target = platform.one(
        "SELECT simulation.now(), complete_until, simulation.target() FROM simulation.clock"
    )
    assert NOON.timestamp() < now == complete_until < target
    following = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(complete_until * 1_000_000))
    assert simulation.advance(following).tables == {}
    assert len(simulation.advance(following + timedelta(microseconds=1)).tables) > 0


def test_a_reader_sees_no_moment_before_its_events_are_committed(platform: StockPlatform, writer: Any) -> None:
    simulation = StocksSimulation(writer, 1, START, 0)
    simulation.advance(NOON)
    with closing(connect(platform.mysql.url(platform.database))) as blocker, ThreadPoolExecutor(1) as threads:
        blocker.begin()
        one(blocker, "SELECT price FROM `stock` ORDER BY stock_id LIMIT 1 FOR UPDATE")
        advancing = threads.submit(simulation.advance, NOON + timedelta(days=1))
        while not platform.rows(LOCKED):
            assert not advancing.done()
            # The server shows what it showed last to who asks more often than ten times a second.
            time.sleep(0.2)
        # New e-mails and users came at 11:00 UTC; it is about to move the prices at 23:00.
        assert asked(platform.reader_url, NOW) < naive(datetime(2025, 3, 4, 23, 0, 59, tzinfo=UTC))
        assert asked(
            platform.reader_url, "SELECT max(transaction_date) <= utc_timestamp(6) + INTERVAL 7 HOUR FROM `transaction`"
        )
        assert asked(platform.reader_url, "SELECT max(transaction_date) FROM `transaction`").hour == 17
        blocker.rollback()
        advancing.result()
    assert asked(platform.reader_url, NOW) == naive(NOON + timedelta(days=1))


def test_the_future_is_refused(platform: StockPlatform, writer: Any) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    simulation = StocksSimulation(writer, 1, START)
    with pytest.raises(ConfigurationError, match="lies in the future"):
        simulation.advance(tomorrow)
    with pytest.raises(ConfigurationError, match="lies in the future"):
        simulation.fill(36_500)
    assert simulation.now() == datetime(2025, 3, 2, 17, tzinfo=UTC)
    with pytest.raises(pymysql.err.OperationalError, match="never_in_the_future"):
        platform.rows(f"UPDATE simulation.clock SET anchor_simulated = {tomorrow.timestamp()}")


def test_a_start_in_the_future_is_refused(platform: StockPlatform, writer: Any) -> None:
    with pytest.raises(ConfigurationError, match="lies in the future"):
        StocksSimulation(writer, 1, datetime.now(UTC).date() + timedelta(days=2))
    assert platform.one("SELECT count(*) FROM simulation.clock") == 0


def test_on_a_server_without_the_clock_time_is_the_real_one_and_the_same_happens(
    platform: StockPlatform, writer: Any
) -> None:
    [(installed,)] = platform.rows("SELECT @@global.init_connect")
    platform.rows("SET GLOBAL init_connect = ''")
    try:
        with closing(connect(platform.writer_url)) as plain:
            simulation = StocksSimulation(plain, 1, START)
            simulation.advance(NOON)
            assert simulation.now() == NOON
        assert asked(platform.reader_url, REAL.format("now(6)"))
    finally:
        with closing(connect(platform.mysql.url())) as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL init_connect = %s", (installed,))
    assert asked(platform.reader_url, NOW) == naive(NOON)
    assert platform.one(
        "SELECT max(at) <= max(transaction_date) - INTERVAL 7 HOUR + INTERVAL 1 SECOND "
        "FROM simulation.transaction_history"
    )
