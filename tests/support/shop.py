"""A small shop for tests of models: two tables of a source, a dimension, a fact with history, and days."""

from __future__ import annotations

from datetime import date, timedelta

import dataframely as dy
import polars as pl

from millrace import History, Incremental, Model, Pipeline, Snapshot, Stream
from tests.support.engine import Engine, Together

NO_OVERLAP = timedelta(0)
DESIGN = Stream("design", source="postgres:public.design", key="design_id", capture=Snapshot("changed"))
ORDERS = Stream(
    "orders",
    source="postgres:public.orders",
    key="order_id",
    capture=Incremental("changed", overlap=NO_OVERLAP),
    sweep="every run",
)


class DimDesign(dy.Schema):
    """A product."""

    design_id = dy.Int32(nullable=False)
    title = dy.String(nullable=False)


class FactOrder(dy.Schema):
    """An order."""

    order_id = dy.Int64(nullable=False)
    design_id = dy.Int32(nullable=True)
    units = dy.Int32(nullable=True)
    day = dy.Date(nullable=False)


class Days(dy.Schema):
    """A day on which something was ordered."""

    day = dy.Date(nullable=False)
    year = dy.Int32(nullable=False)


def dim_design(design: pl.DataFrame) -> pl.DataFrame:
    """Products."""
    return design.select("design_id", title=pl.col("name").str.to_uppercase())


def fact_order(orders: pl.DataFrame) -> pl.DataFrame:
    """Orders."""
    return orders.select("order_id", "design_id", "units", day=pl.col("ordered").str.to_date("%Y-%m-%d"))


def days(fact_order: pl.DataFrame) -> pl.DataFrame:
    """Days of orders."""
    return fact_order.select("day", year=pl.col("day").dt.year()).unique()


DIM_DESIGN = Model(dim_design, DimDesign, "design_id", unknown={"title": "Unknown"})
FACT_ORDER = Model(fact_order, FactOrder, "order_id", load=History("record_id"), references={"design_id": "dim_design"})
DAYS = Model(days, Days, "day", deletes="ignore")

SHOP = Pipeline(
    "shop", streams=[DESIGN, ORDERS], schema="shop_source", models=[DIM_DESIGN, FACT_ORDER, DAYS], landing="csv"
)
FIRST_DAY = date(2024, 3, 1)


def fill(engine: Engine, designs: int = 3, orders: int = 6) -> None:
    """The tables; order i is of design 1 to ``designs`` in turn, on March i."""
    engine.source(
        "CREATE TABLE design (design_id int PRIMARY KEY, name text, "
        "changed timestamp DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')); "
        "CREATE TABLE orders (order_id bigint PRIMARY KEY, design_id int, units int, ordered text, "
        "changed timestamptz DEFAULT clock_timestamp()); "
        f"INSERT INTO design SELECT i, 'design ' || i FROM generate_series(1, {designs}) AS i; "
        f"INSERT INTO orders SELECT i, 1 + (i - 1) % {max(designs, 1)}, 10 * i, "
        f"to_char(DATE '{FIRST_DAY}' + i::int - 1, 'YYYY-MM-DD') FROM generate_series(1, {orders}) AS i"
    )


def versions(together: Together, order: int) -> list[tuple[object, ...]]:
    """Of an order: record id, version, units, whether it is a deletion."""
    return together.engine.query(
        'SELECT record_id, "_version", units, "_deleted_at" IS NOT NULL FROM shop.fact_order '
        f"WHERE order_id = {order} ORDER BY 2"
    )
