"""A model is computed again: from the batches that were applied, with every version, or from a read of the source."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import History, Incremental, Merge, Model, Pipeline, Scd2, Stream
from millrace.base.errors import ConfigurationError, FatalError, SchemaConflict, Superseded
from millrace.base.naming import MAX_IDENTIFIER_BYTES
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import ReadRequest
from millrace.runs.reload import BatchGroup, find_applied_groups, reload_model
from tests.support.engine import Together
from tests.support.shop import DIM_DESIGN, FACT_ORDER, NO_OVERLAP, SHOP, FactOrder, fill

COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = 'fact_order'"
LOADS: dict[str, LoadMode] = {"merge": Merge(), "scd2": Scd2("order_key"), "history": History("record_id")}
ORDERS = Stream(
    "orders", "postgres:public.orders", "order_id", Incremental("changed", overlap=NO_OVERLAP), sweep="every run"
)


class Logged(dy.Schema):
    """Of an order, since when."""

    order_id = dy.Int64(nullable=False)
    units = dy.Int32(nullable=True)
    since = dy.Datetime(nullable=False)


def fact_order(orders: pl.DataFrame, design: pl.DataFrame) -> pl.DataFrame:
    """Orders, but for those of no design that there is."""
    known = orders.join(design, on="design_id", how="semi")
    return known.select("order_id", "design_id", "units", day=pl.col("ordered").str.to_date("%Y-%m-%d"))


def shop(load: LoadMode) -> Pipeline:
    return replace(SHOP, models=[Model(fact_order, FactOrder, "order_id", load=load)])


def reload_fact(together: Together, own: Pipeline, name: str = "fact_order") -> None:
    model = next(one for one in own.models if one.name == name)
    groups = find_applied_groups(together.engine.warehouse, own, model)
    reload_model(own, model, groups, together.engine.store, together.processed, together.engine.warehouse)


async def test_a_new_model_that_was_reloaded_is_no_model_to_be_filled(together: Together) -> None:
    """Also by what the lake says, which was told of the model when the leases for the reload were taken."""
    engine = together.engine
    sleeping = replace(together, engine=engine.with_leases_in("lake"))
    fill(engine)
    await sleeping.run(replace(SHOP, models=[]))
    own = shop(Merge())
    for stream in own.streams:
        with sleeping.engine.warehouse.lease(own, stream, "test") as token:
            sleeping.engine.warehouse.release(own, {stream.name: token})
    assert sleeping.engine.warehouse.find_state(own, own.stream("orders")).unfilled == ("fact_order",)
    reload_fact(sleeping, own)
    assert sleeping.engine.warehouse.find_state(own, own.stream("orders")).unfilled == ()


def held(together: Together, name: str = "fact_order") -> list[tuple[Any, ...]]:
    """All columns but when a row was loaded, and when its deletion was (of a table that holds one row per key)."""
    columns = together.engine.query(
        f"SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = '{name}' "
        "AND column_name NOT IN ('_loaded_at', '_deleted_at')"
    )
    names = ", ".join(f'"{column}"' for (column,) in sorted(columns))
    return sorted(together.engine.query(f'SELECT {names}, "_deleted_at" IS NULL FROM shop.{name}'), key=repr)


async def some_runs(together: Together, own: Pipeline) -> None:
    fill(together.engine)
    await together.run(own)
    for change in (
        "UPDATE orders SET units = 7, changed = now() WHERE order_id IN (1, 2)",
        "DELETE FROM orders WHERE order_id = 3; UPDATE orders SET units = 8 WHERE order_id = 1",
        "SELECT 1",
        "UPDATE orders SET design_id = 99, changed = now() WHERE order_id = 4; "
        "INSERT INTO orders VALUES (3, 1, 5, '2024-04-01', now())",
    ):
        together.engine.source(change)
        await together.run(own)


@pytest.mark.parametrize("load", LOADS)
async def test_what_a_reload_from_the_landing_zone_gives_is_what_was_there(together: Together, load: str) -> None:
    """Whatever was done to the table; grants and views of it stay."""
    own = shop(LOADS[load])
    await some_runs(together, own)
    before = held(together)
    together.engine.query("CREATE VIEW shop.seen AS SELECT count(*) AS n FROM shop.fact_order")
    together.engine.query("DELETE FROM shop.fact_order WHERE order_id = 1; UPDATE shop.fact_order SET units = -1")
    reload_fact(together, own)
    assert held(together) == before
    assert together.engine.query("SELECT n FROM shop.seen") == [(len(before),)]
    results = await together.run(own)
    assert {name: one.loaded for name, one in results.items() if one.loaded} == {}
    assert held(together) == before


async def test_the_longest_name_is_told_from_that_of_the_new_table(on_redshift: Together) -> None:
    """The server cuts longer names silently, and would take the new table for the old one."""
    name = "f" * (MAX_IDENTIFIER_BYTES - 10)

    def log(orders: pl.DataFrame) -> pl.DataFrame:
        days = pl.col("ordered").str.to_datetime("%Y-%m-%d", time_unit="us")
        return orders.select("order_id", "units", since=days)

    log.__name__ = name
    model = Model(log, Logged, "order_id", load=Scd2("order_key", effective_from="since", changes=True))
    own = replace(SHOP, models=[model])
    await some_runs(on_redshift, own)
    before = held(on_redshift, name)
    reload_fact(on_redshift, own, name)
    assert held(on_redshift, name) == before
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'shop'"
    assert on_redshift.engine.query(tables) == [(2,)]


async def test_a_former_load_mode_leaves_no_table_beside(on_redshift: Together) -> None:
    def log(orders: pl.DataFrame) -> pl.DataFrame:
        days = pl.col("ordered").str.to_datetime("%Y-%m-%d", time_unit="us")
        return orders.select("order_id", "units", since=days)

    def declare(load: LoadMode) -> Pipeline:
        return replace(SHOP, models=[Model(log, Logged, "order_id", load=load)])

    await some_runs(on_redshift, declare(Scd2("order_key", effective_from="since", changes=True)))
    names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1"
    assert on_redshift.engine.query(names) == [("log",), ("log$events",)]
    reload_fact(on_redshift, declare(Merge()), "log")
    assert on_redshift.engine.query(names) == [("log",)]


async def test_another_load_mode_is_taken_over_by_a_reload(together: Together) -> None:
    await some_runs(together, shop(Merge()))
    own = shop(History("record_id"))
    reload_fact(together, own)
    versions = together.engine.query(
        'SELECT order_id, "_version", "_deleted_at" IS NULL FROM shop.fact_order WHERE order_id < 5 ORDER BY 1, 2'
    )
    assert versions == [
        *((1, 1, True), (1, 2, True), (1, 3, True), (2, 1, True), (2, 2, True)),
        *((3, 1, True), (3, 2, False), (3, 3, True), (4, 1, True), (4, 2, False)),
    ]
    together.engine.source("UPDATE orders SET units = 70, changed = now() WHERE order_id = 2")
    assert (await together.run(own))["fact_order"].updated == 1


async def test_a_reload_into_other_columns_names_the_views_as_what_is_in_its_way(together: Together) -> None:
    own = shop(Scd2("order_key"))
    await some_runs(together, own)
    together.engine.warehouse.make_views(own, "")
    before = held(together)
    with pytest.raises(SchemaConflict, match="depend on it") as refused:
        reload_fact(together, shop(Merge()))
    assert "drop the views over it" in refused.value.remedy
    assert held(together) == before
    together.engine.query("DROP VIEW shop.fact_order_at")
    reload_fact(together, shop(Merge()))
    assert "is_current" not in [name for (name,) in together.engine.query(COLUMNS)]


async def test_a_reload_that_fails_changes_nothing_and_the_next_one_begins_again(on_redshift: Together) -> None:
    own = shop(Merge())
    await some_runs(on_redshift, own)
    before = held(on_redshift)
    calls = iter(range(100))

    def failing(orders: pl.DataFrame, design: pl.DataFrame) -> pl.DataFrame:
        if next(calls) > 10:
            raise ValueError
        return fact_order(orders, design)

    failing.__name__ = "fact_order"
    with pytest.raises(FatalError, match="it raised ValueError"):
        reload_fact(on_redshift, replace(own, models=[Model(failing, FactOrder, "order_id")]))
    assert held(on_redshift) == before
    reload_fact(on_redshift, own)
    assert held(on_redshift) == before
    assert on_redshift.engine.query("SELECT count(*) FROM millrace.batches WHERE stream LIKE '%$n'") == [(0,)]


async def test_a_table_that_was_loaded_meanwhile_is_not_replaced(on_redshift: Together) -> None:
    """As by a run that took over the streams of a reload which was frozen."""
    own = shop(Merge())
    await some_runs(on_redshift, own)
    engine, (model,) = on_redshift.engine, own.models
    before = held(on_redshift)

    def load_meanwhile(done: int, groups: int) -> None:
        if done == groups:
            engine.query(
                "CREATE TEMPORARY TABLE one AS SELECT * FROM millrace.batches WHERE stream = 'orders' LIMIT 1; "
                "UPDATE one SET batch_id = 'another', applied_at = GETDATE(); "
                "INSERT INTO millrace.batches SELECT * FROM one"
            )

    groups = find_applied_groups(engine.warehouse, own, model)
    with pytest.raises(Superseded, match="another run loaded design or orders meanwhile"):
        reload_model(own, model, groups, engine.store, on_redshift.processed, engine.warehouse, load_meanwhile)
    assert held(on_redshift) == before


async def test_a_dimension_that_is_reloaded_keeps_its_facts(together: Together) -> None:
    """Also the rows of keys that only facts know."""
    own = replace(SHOP, models=[DIM_DESIGN, FACT_ORDER])
    fill(together.engine)
    together.engine.source("INSERT INTO orders VALUES (9, 77, 1, '2024-04-01', now())")
    await together.run(own)
    before = held(together, "dim_design")
    assert (77, "Unknown") in [row[1:3] for row in before]
    reload_fact(together, own, "dim_design")
    assert held(together, "dim_design") == before
    reload_fact(together, own, "fact_order")
    assert held(together, "dim_design") == before


async def test_a_read_of_the_source_gives_what_is_true_now(on_redshift: Together) -> None:
    own = shop(History("record_id"))
    await some_runs(on_redshift, own)
    batches = await on_redshift.read(own, read_request=ReadRequest("full"))
    group = BatchGroup(tuple(batch.manifest_key for batch in batches), sum(batch.counts.read for batch in batches))
    engine, (model,) = on_redshift.engine, own.models
    done = reload_model(own, model, [group], engine.store, on_redshift.processed, engine.warehouse)
    assert (done.groups, done.inserted) == (1, 5)
    assert engine.query('SELECT max("_version"), count(*) FROM shop.fact_order') == [(1, 5)]


async def test_batches_that_are_gone_are_named_with_the_way_to_go_on(on_redshift: Together) -> None:
    own = shop(Merge())
    with pytest.raises(ConfigurationError, match="nothing that it is computed from was ever loaded"):
        reload_fact(on_redshift, own)
    await some_runs(on_redshift, own)
    on_redshift.engine.query("UPDATE millrace.batches SET manifest = manifest || '.gone' WHERE stream = 'orders'")
    with pytest.raises(
        ConfigurationError, match=r"not in the landing zone any more.*millrace reload shop fact_order --from source"
    ):
        reload_fact(on_redshift, own)
