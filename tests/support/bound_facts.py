"""Facts and the versions that they are bound to: orders of people, trades at prices."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import dataframely as dy
import polars as pl

from millrace import Append, Bind, Incremental, Model, Pipeline, Scd2, Snapshot, Stream
from tests.support.engine import Together

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
