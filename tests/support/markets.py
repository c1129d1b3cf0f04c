"""Prices in markets, whose versions tests of `Scd2` look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl

from millrace import Dated, Incremental, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.runs.choose import ReadRequest
from tests.support.engine import Together

OPEN = "9999-12-31 23:59:59"


NO_OVERLAP = timedelta(0)


FULL = ReadRequest("full")


class PriceOf(dy.Schema):
    """A price in a market."""

    market = dy.String(nullable=False)
    code = dy.String(nullable=False)
    price = dy.Int32(nullable=True)
    note = dy.String(nullable=True)
    since = dy.Datetime(nullable=True)


def price_of(prices: pl.DataFrame) -> pl.DataFrame:
    """As they are, with the time in UTC."""
    return prices.select("market", "code", "price", "note", since=pl.col("stamp").dt.replace_time_zone(None))


KEY = ("market", "code")


A_SECOND = timedelta(seconds=1)


STATES = Scd2("price_key", effective_from="since", untracked=["note"], gap=A_SECOND)


LOGGED = replace(STATES, changes=True)


UNDATED = replace(STATES, effective_from="", untracked=["note", "since"])


PRICES = Stream("prices", "postgres:public.prices", KEY, Incremental("stamp", NO_OVERLAP), sweep="every run")


LOG = Stream("prices", "postgres:public.prices", "number", Incremental("read_again", NO_OVERLAP))


SNAPSHOT = replace(PRICES, capture=Snapshot(), sweep="")


def market(stream: Stream = PRICES, load: Scd2 = STATES, dated: Dated | None = None) -> Pipeline:
    """A pipeline of one table and its versions."""
    model = Model(price_of, PriceOf, KEY, load=load)
    return Pipeline("market", streams=[stream], schema="market_source", models=[model], dated=dated)


def fill(together: Together, *rows: tuple[Any, ...]) -> None:
    together.engine.source(
        "CREATE TABLE prices (number serial PRIMARY KEY, market text, code text, price int, note text, "
        "stamp timestamptz, read_again timestamptz DEFAULT now())"
    )
    put(together, *rows)


def put(together: Together, *rows: tuple[Any, ...]) -> None:
    """Rows of market, code, price, day (None: unstamped)."""
    for place, code, price, on in rows:
        stamp = f"'{day(on)}+00'" if on else "NULL"
        together.engine.source(
            f"INSERT INTO prices (market, code, price, stamp) VALUES ('{place}', '{code}', {price}, {stamp})"
        )


def change(together: Together, setting: str, on: int | None = None, where: str = "code = 'a'") -> None:
    """On a day, or without a stamp."""
    stamp = f", stamp = '{day(on)}+00'" if on else ""
    together.engine.source(f"UPDATE prices SET {setting}{stamp} WHERE {where}")


def versions(together: Together, code: str = "a", *columns: str) -> list[tuple[Any, ...]]:
    """Of a code in order: price, start and end (or other columns), whether it is current."""
    chosen = ", ".join(columns or ("price", "start_date::text", "end_date::text"))
    return together.engine.query(
        f"SELECT {chosen}, is_current FROM market.price_of WHERE code = '{code}' ORDER BY market, start_date"
    )


def day(number: int, second: str = "12:00:00") -> str:
    return f"2024-03-{number:02} {second}"


def now() -> datetime:
    """As the warehouse has moments."""
    return datetime.now(UTC).replace(tzinfo=None)
