"""Facts hold the key of the version that was valid at their own time, whichever comes first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dataframely as dy
import polars as pl
import pytest
from engine_on_servers import Engine, Together, database_of

from blocks.store import BucketStore
from millrace import Append, Bind, History, Incremental, Merge, Model, Pipeline, Replace, Scd2, Snapshot, Stream
from millrace.errors import ConfigurationError, MillraceError
from millrace.run import Bounds
from millrace.warehouse import changes_of_form
from millrace.warehouse.changes import Step

NO_OVERLAP = timedelta(0)


class Person(dy.Schema):
    """Of a country and a number."""

    country = dy.String(nullable=False)
    number = dy.Int32(nullable=False)
    mail = dy.String(nullable=True)
    since = dy.Datetime(nullable=True)


class Order(dy.Schema):
    """Somebody's, or nobody's."""

    order_id = dy.Int32(nullable=False)
    country = dy.String(nullable=True)
    person = dy.Int32(nullable=True)
    ordered = dy.Datetime(time_zone="UTC", nullable=True)


def person(people: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return people.select("country", "number", "mail", since=pl.col("stamp").dt.replace_time_zone(None))


def orders_made(orders: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return orders.select("order_id", "country", "person", "ordered")


PEOPLE = Stream("people", "postgres:public.people", ("country", "number"), Incremental("stamp", NO_OVERLAP))
ORDERS = Stream("orders", "postgres:public.orders", "order_id", Incremental("stamp", NO_OVERLAP), load=Append())
BIND = Bind("person_key", "person", by=("country", "person"), at="ordered")
PERSON = Model(person, Person, ("country", "number"), load=Scd2("person_key", effective_from="since", changes=True))
MADE = Model(orders_made, Order, "order_id", load=Append(), binds=[BIND])
SALES = Pipeline(
    "sales", streams=[replace(PEOPLE, sweep="every run"), ORDERS], schema="sales_source", models=[PERSON, MADE]
)


def fill(together: Together) -> None:
    together.engine.source(
        "CREATE TABLE people (country text, number int, mail text, stamp timestamptz, PRIMARY KEY (country, number)); "
        "CREATE TABLE orders (order_id serial PRIMARY KEY, country text, person int, ordered timestamptz, "
        "stamp timestamptz DEFAULT clock_timestamp())"
    )


def a_person(together: Together, mail: str, day: str, country: str = "a", number: int = 1) -> None:
    together.engine.source(
        f"INSERT INTO people VALUES ('{country}', {number}, '{mail}', '2024-03-{day}+00') "
        f"ON CONFLICT (country, number) DO UPDATE SET mail = excluded.mail, stamp = excluded.stamp"
    )


def an_order(together: Together, moment: str | None, country: str | None = "a", number: int | None = 1) -> None:
    values = [f"'{one}'" if one is not None else "NULL" for one in (country, number, moment and f"2024-03-{moment}+00")]
    together.engine.source(f"INSERT INTO orders (country, person, ordered) VALUES ({', '.join(values)})")


def bound(together: Together) -> dict[int, Any]:
    """By order, the mail of the version it is bound to."""
    return dict(
        together.engine.query(
            "SELECT o.order_id, p.mail FROM sales.orders_made AS o "
            "LEFT JOIN sales.person AS p ON p.person_key = o.person_key ORDER BY 1"
        )
    )


async def test_a_fact_is_bound_to_the_version_of_its_own_time(together: Together) -> None:
    """Not to the current one; the second between two versions is the earlier one's."""
    fill(together)
    for number, (mail, day) in enumerate((("first", "01"), ("second", "05"), ("third", "09"))):
        a_person(together, mail, day)
        if number < 2:
            await together.run(SALES)
    moments = ("01", "04 23:59:59.5", "05", "08 12:00", "09", "20")
    for moment in moments:
        an_order(together, moment)
    an_order(together, "02", number=None)
    an_order(together, None)
    result = (await together.run(SALES))["orders_made"]
    assert list(bound(together).values()) == ["first", "first", "second", "second", "third", "third", None, None]
    assert "1 rows have no version in sales.person yet for their country, person" in result.warnings


async def test_a_fact_that_comes_before_its_dimension_is_bound_when_that_comes(together: Together) -> None:
    fill(together)
    for moment in ("02", "06"):
        an_order(together, moment)
    an_order(together, "02", number=2)
    first = await together.run(SALES)
    assert bound(together) == {1: None, 2: None, 3: None}
    assert "3 rows have no version" in " ".join(first["orders_made"].warnings)
    a_person(together, "late", "05")
    await together.run(SALES)
    assert bound(together) == {1: None, 2: "late", 3: None}, "it is not known who they were before"
    a_person(together, "other", "01", number=2)
    await together.run(SALES)
    assert bound(together) == {1: None, 2: "late", 3: "other"}


@pytest.mark.parametrize("is_log", [False, True], ids=["states", "log"])
async def test_a_time_in_the_future_keeps_no_facts_from_later_versions(together: Together, is_log: bool) -> None:
    load = Scd2("person_key", effective_from="since", changes=is_log)
    sales = replace(SALES, models=[replace(PERSON, load=load), MADE])
    fill(together)
    a_person(together, "first", "01")
    await together.run(sales)
    together.engine.source("UPDATE people SET mail = 'from 2999', stamp = '2999-01-01'")
    await together.run(sales)
    together.engine.source("UPDATE people SET mail = 'honest', stamp = clock_timestamp()")
    await together.run(sales)
    an_order(together, "05")
    together.engine.source("INSERT INTO orders (country, person, ordered) VALUES ('a', 1, clock_timestamp())")
    await together.run(sales)
    assert bound(together) == {1: "first", 2: "honest"}


async def test_a_late_version_takes_over_the_facts_of_its_time(together: Together) -> None:
    fill(together)
    a_person(together, "first", "01")
    await together.run(SALES)
    for moment in ("02", "04", "06"):
        an_order(together, moment)
    await together.run(SALES)
    a_person(together, "last", "05")
    await together.run(SALES)
    a_person(together, "between", "03")
    await together.run(SALES, bounds=Bounds("full"))
    assert bound(together) == {1: "first", 2: "between", 3: "last"}
    before = together.engine.query("SELECT * FROM sales.orders_made ORDER BY 1")
    await together.run(SALES)
    assert together.engine.query("SELECT * FROM sales.orders_made ORDER BY 1") == before


class Quote(dy.Schema):
    """A price, since a moment of some zone."""

    stock = dy.String(nullable=False)
    price = dy.Int32(nullable=False)
    since = dy.Datetime(nullable=True)


class Trade(dy.Schema):
    """At a moment of some zone."""

    trade_id = dy.Int32(nullable=False)
    stock = dy.String(nullable=False)
    traded = dy.Datetime(nullable=True)


def price(quotes: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return quotes.select("stock", "price", "since")


def trade(trades: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return trades.select("trade_id", "stock", "traded")


QUOTES = Stream("quotes", "postgres:public.quotes", "stock", Snapshot())
TRADES = Stream("trades", "postgres:public.trades", "trade_id", Incremental("traded", NO_OVERLAP), load=Append())
MARKET = Pipeline(
    "market",
    streams=[QUOTES, TRADES],
    schema="market_source",
    models=[
        Model(price, Quote, "stock", load=Scd2("price_key", effective_from="since")),
        Model(trade, Trade, "trade_id", load=Append(), binds=[Bind("price_key", "price", by="stock", at="traded")]),
    ],
)
PRICED = (
    "SELECT t.trade_id, p.price FROM market.trade AS t LEFT JOIN market.price AS p ON p.price_key = t.price_key "
    "ORDER BY 1"
)


def fill_market(together: Together, type_of_trades: str = "timestamp") -> None:
    together.engine.source(
        "CREATE TABLE quotes (stock text PRIMARY KEY, price int, since timestamp); "
        f"CREATE TABLE trades (trade_id int PRIMARY KEY, stock text, traded {type_of_trades}); "
        "INSERT INTO quotes VALUES ('a', 1, '2024-03-01 09:00')"
    )


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
    await together.run(market)
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
    with pytest.raises(ConfigurationError, match=r"several zones \(Asia/Tokyo, UTC\)"):
        replace(MARKET, streams=streams, models=[MARKET.models[0], joined])
    assert replace(MARKET, streams=streams, models=[MARKET.models[0], replace(joined, binds=[])])


@pytest.mark.parametrize(
    ("model", "because"),
    [
        ({"binds": [replace(BIND, dimension="nothing")]}, "is no model that keeps versions"),
        ({"binds": [replace(BIND, by="person")]}, "the key of person is country, number"),
    ],
)
def test_a_wrong_bind_is_refused_by_the_pipeline(model: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        replace(SALES, models=[PERSON, replace(MADE, **model)])


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"binds": [replace(BIND, at="country")]}, "no date and no timestamp"),
        ({"binds": [replace(BIND, by="nobody")]}, "has no column 'nobody'"),
        ({"binds": [replace(BIND, column="person")]}, "one that its schema"),
        ({"load": History("record_id")}, "it keeps versions, and so cannot be bound"),
        ({"load": Scd2("order_key", effective_from="country")}, "no date and no timestamp"),
        ({"load": Scd2("order_key", untracked=["colour"]), "binds": []}, "no column 'colour'"),
        ({"load": Scd2("person"), "binds": []}, "one that its schema"),
    ],
)
def test_a_wrong_bind_is_refused_by_the_model(wrong: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        Model(
            **({"function": orders_made, "schema": Order, "key": "order_id", "load": Merge(), "binds": [BIND]} | wrong)
        )


KEYS = "SELECT order_id, person_key FROM sales.orders_made ORDER BY 1"
UNBOUND = replace(SALES, models=[PERSON, replace(MADE, binds=[])])


async def some_orders(together: Together) -> None:
    """Of a person with two versions, of a person of nobody, and of nobody; none is bound."""
    fill(together)
    a_person(together, "first", "01")
    for moment in ("02", "06"):
        an_order(together, moment)
    an_order(together, "02", number=7)
    an_order(together, "02", number=None)
    await together.run(UNBOUND)
    a_person(together, "second", "05")
    await together.run(UNBOUND)


async def test_a_bind_that_is_declared_later_reaches_the_rows_that_are_there(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps, also in a run in which only the dimension changed; the plan says how many rows are looked at."""
    monkeypatch.setattr(changes_of_form, "ROWS_OF_A_STEP", 1)
    await some_orders(together)
    told, statements = together.engine.warehouse.plan(SALES, SALES.models[1], MADE.columns)
    text = "bind person_key of all 4 rows of sales.orders_made to sales.person"
    assert text in told
    assert sum("UPDATE" in statement for statement in statements) == 4, "one for each row"
    a_person(together, "other", "03", number=2)
    results = await together.run(SALES)
    assert text in [change for one in results.values() for change in one.changes]
    assert bound(together) == {1: "first", 2: "second", 3: None, 4: None}
    an_order(together, "03", number=2)
    result = (await together.run(SALES))["orders_made"]
    assert (result.changes, bound(together)[5]) == ((), "other")


async def test_another_bind_binds_all_rows_again(on_redshift: Together) -> None:
    """By other columns, at another time, with another number of what is unknown; one that is gone is told."""
    await some_orders(on_redshift)
    a_person(on_redshift, "third", "09")
    await on_redshift.run(SALES)
    a_person(on_redshift, "fourth", "11")
    other = replace(SALES, models=[PERSON, replace(MADE, binds=[replace(BIND, unknown=-1)])])
    results = await on_redshift.run(other)
    assert any("bind person_key of all 4 rows" in text for one in results.values() for text in one.changes)
    assert [key for _, key in on_redshift.engine.query(KEYS)][2:] == [-1, -1]
    an_order(on_redshift, "02", number=8)
    a_person(on_redshift, "late", "05", number=9)
    result = (await on_redshift.run(other))["orders_made"]
    assert on_redshift.engine.query(KEYS)[4] == (5, -1)
    assert "2 rows have no version in sales.person yet" in " ".join(result.warnings)
    a_person(on_redshift, "eight", "01", number=8)
    await on_redshift.run(other)
    assert bound(on_redshift)[5] == "eight"
    an_order(on_redshift, "02", number=8)
    result = (await on_redshift.run(UNBOUND))["orders_made"]
    told = "column person_key of sales.orders_made is bound no more; it is NULL in rows that are put in from now on"
    assert result.changes == (told,)
    an_order(on_redshift, "02", number=8)
    assert (await on_redshift.run(UNBOUND))["orders_made"].changes == ()
    await on_redshift.run(SALES, bounds=Bounds("full"))
    assert [bound(on_redshift)[number] for number in (5, 6, 7)] == ["eight"] * 3


async def test_binding_that_ended_in_the_middle_is_done_by_the_next_run(
    postgres_engine: Engine, processed: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(postgres_engine, processed)
    monkeypatch.setattr(changes_of_form, "ROWS_OF_A_STEP", 1)
    await some_orders(together)
    with monkeypatch.context() as broken:
        steps = changes_of_form.BindRows.steps
        broken.setattr(changes_of_form.BindRows, "steps", lambda one: [*steps(one)[:2], Step(("SELECT 1 / 0",))])
        a_person(together, "other", "03", number=2)
        with pytest.raises(MillraceError):
            await together.run(SALES)
    assert [key is None for _, key in together.engine.query(KEYS)] == [False, True, True, True], "one step is done"
    await together.run(SALES)
    assert bound(together) == {1: "first", 2: "second", 3: None, 4: None}


async def test_a_full_run_binds_facts_again_that_were_damaged(together: Together) -> None:
    await some_orders(together)
    a_person(together, "third", "09")
    await together.run(SALES)
    whole = bound(together)
    together.engine.query("UPDATE sales.orders_made SET person_key = NULL WHERE order_id = 1")
    together.engine.query("UPDATE sales.orders_made SET person_key = 5 WHERE order_id = 2")
    await together.run(SALES, bounds=Bounds("full"))
    assert bound(together) == whole


async def test_facts_without_a_version_are_told_in_every_run_while_there_are_some(on_redshift: Together) -> None:
    """Also when only the dimension has a batch."""
    fill(on_redshift)
    an_order(on_redshift, "02", number=7)
    an_order(on_redshift, "02", number=None)
    await on_redshift.run(SALES)
    for day in ("01", "02"):
        a_person(on_redshift, day, day)
        warnings = [text for one in (await on_redshift.run(SALES)).values() for text in one.warnings]
        told = "1 rows have no version in sales.person yet for their country, person"
        assert [text for text in warnings if told in text] == [f"orders_made: {told}"]
    a_person(on_redshift, "seven", "01", number=7)
    warnings = [text for one in (await on_redshift.run(SALES)).values() for text in one.warnings]
    assert not [text for text in warnings if "have no version" in text]


async def test_rows_of_a_replaced_table_stay_bound(on_redshift: Together) -> None:
    """All of them are written again when one differs."""
    fill_market(on_redshift)
    on_redshift.engine.source("INSERT INTO trades VALUES (1, 'a', '2024-03-02')")
    trades = replace(TRADES, capture=Snapshot(), load=Merge())
    market = replace(
        MARKET, streams=[QUOTES, trades], models=[MARKET.models[0], replace(MARKET.models[1], load=Replace())]
    )
    await on_redshift.run(market)
    on_redshift.engine.source("INSERT INTO trades VALUES (2, 'a', '2024-03-03')")
    await on_redshift.run(market)
    assert on_redshift.engine.query(PRICED) == [(1, 1), (2, 1)]


class Texts(Order):
    """A person's number as text."""

    person = dy.String(nullable=True)


def test_a_bind_of_another_type_is_refused_when_it_is_declared() -> None:
    with pytest.raises(ConfigurationError, match=r"its column person is text, and number, the key of person, is int32"):
        replace(SALES, models=[PERSON, replace(MADE, schema=Texts)])


@pytest.mark.parametrize("unknown", [1, 5, -(2**63)])
def test_a_number_that_a_version_may_have_is_none_of_what_is_unknown(unknown: int) -> None:
    with pytest.raises(ConfigurationError, match="which a version may have"):
        replace(BIND, unknown=unknown)


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
