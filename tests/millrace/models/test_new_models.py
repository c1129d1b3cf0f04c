"""A model that is declared later holds all rows after its first run, not those alone that change from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import dataframely as dy
import polars as pl
import pytest

from millrace import Model, Pipeline, Stream
from millrace.base.errors import SchemaConflict, TargetLost
from millrace.runs.choose import ReadRequest
from millrace.runs.reload import find_applied_groups, reload_model
from tests.support.engine import Together
from tests.support.shop import DAYS, DIM_DESIGN, FACT_ORDER, SHOP, fill

BEFORE = replace(SHOP, models=[DIM_DESIGN])
SWEPT_SELDOM = [replace(stream, sweep="") for stream in SHOP.streams]


def rows(together: Together, model: str) -> int:
    ((count,),) = together.engine.query(f"SELECT count(*) FROM shop.{model}")
    return int(count)


@pytest.mark.parametrize("read_request", [ReadRequest(), ReadRequest("sweep"), ReadRequest("full")])
@pytest.mark.parametrize("streams", [SHOP.streams, SWEPT_SELDOM])
async def test_a_model_that_is_declared_later_is_filled(
    on_redshift: Together, streams: Sequence[Stream], read_request: ReadRequest
) -> None:
    await _ran_before(on_redshift, streams)
    on_redshift.engine.source("UPDATE orders SET units = 7, changed = now() WHERE order_id = 1")
    own = replace(SHOP, streams=streams, models=[DIM_DESIGN, FACT_ORDER, DAYS])
    told, _ = on_redshift.engine.warehouse.plan(own, FACT_ORDER, FACT_ORDER.columns)
    assert told[-1] == "fill fact_order: orders is read whole (6 rows in shop_source.orders)"
    results = await on_redshift.run(own, read_request=read_request)
    assert (rows(on_redshift, "fact_order"), rows(on_redshift, "days")) == (6, 6)
    told = "all rows were read for fact_order, days, which was never loaded"
    assert any(told in one for one in results["orders"].warnings)
    assert on_redshift.engine.warehouse.plan(own, FACT_ORDER, FACT_ORDER.columns)[0] == []
    results = await on_redshift.run(own)
    assert {name: one.loaded for name, one in results.items() if one.loaded} == {}
    assert not any("never loaded" in text for one in results.values() for text in one.warnings)


async def test_a_model_that_gives_no_row_is_filled_once(on_redshift: Together) -> None:
    none = Model(_none, FACT_ORDER.schema, "order_id")
    await _ran_before(on_redshift, SWEPT_SELDOM)
    own = replace(SHOP, streams=SWEPT_SELDOM, models=[DIM_DESIGN, none])
    assert (await on_redshift.run(own))["orders"].read == 6
    again = (await on_redshift.run(own)).get("orders")
    assert again is None or again.read <= 1


async def test_a_part_is_no_beginning(on_redshift: Together) -> None:
    await _ran_before(on_redshift, SWEPT_SELDOM)
    own = replace(SHOP, streams=SWEPT_SELDOM, models=[DIM_DESIGN, FACT_ORDER])
    with pytest.raises(TargetLost, match=r"shop\.fact_order was never loaded.*run `millrace run shop` first"):
        await on_redshift.run(
            own, read_request=ReadRequest(start="2020-01-01T00:00:00+00:00", end="2999-01-01T00:00:00+00:00")
        )


async def test_a_function_that_has_changed_is_told_until_all_rows_are_computed_by_it(on_redshift: Together) -> None:
    fill(on_redshift.engine)
    former, other = Model(_as_they_are(), Units, "order_id"), Model(_doubled(), Units, "order_id")
    await on_redshift.run(replace(SHOP, streams=SWEPT_SELDOM, models=[former]))
    own = replace(SHOP, streams=SWEPT_SELDOM, models=[other])
    told, _ = on_redshift.engine.warehouse.plan(own, other, other.columns)
    assert "the function of units has changed" in told[-1]
    for order in (1, 2):
        on_redshift.engine.source(f"UPDATE orders SET changed = now() WHERE order_id = {order}")
        results = await on_redshift.run(own)
        assert "millrace reload shop units" in results["units"].warnings[-1]
    assert on_redshift.engine.query("SELECT sum(units) FROM shop.units") == [(10 + 20 + 210,)]
    results = await on_redshift.run(own, read_request=ReadRequest("full"))
    assert results["units"].warnings == ()
    assert on_redshift.engine.query("SELECT sum(units) FROM shop.units") == [(420,)]
    on_redshift.engine.source("UPDATE orders SET changed = now() WHERE order_id = 1")
    assert (await on_redshift.run(own))["units"].warnings == ()


class Units(dy.Schema):
    """Of an order."""

    order_id = dy.Int64(nullable=False)
    units = dy.Int32(nullable=True)


def _as_they_are() -> Callable[[pl.DataFrame], pl.DataFrame]:
    def units(orders: pl.DataFrame) -> pl.DataFrame:
        return orders.select("order_id", "units")

    return units


def _doubled() -> Callable[[pl.DataFrame], pl.DataFrame]:
    def units(orders: pl.DataFrame) -> pl.DataFrame:
        return orders.select("order_id", units=pl.col("units") * 2)

    return units


def test_layout_and_comments_are_not_the_function() -> None:
    def units(orders: pl.DataFrame) -> pl.DataFrame:
        """As they are."""
        return orders.select(
            "order_id",
            "units",  # of the order
        )

    one, other, third = (Model(made, Units, "order_id") for made in (units, _as_they_are(), _doubled()))
    assert one.function_hash == other.function_hash != third.function_hash


async def _ran_before(together: Together, streams: Sequence[Stream]) -> Pipeline:
    fill(together.engine)
    own = replace(BEFORE, streams=streams)
    await together.run(own)
    return own


def _none(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.filter(pl.lit(value=False)).select("order_id", "design_id", "units", day=pl.lit(None, dtype=pl.Date))


async def test_a_model_that_was_not_declared_meanwhile_is_computed_again(on_redshift: Together) -> None:
    """Rows that left the source then would stay in its table; nothing is loaded before."""
    own = replace(SHOP, models=[DIM_DESIGN, FACT_ORDER])
    fill(on_redshift.engine)
    await on_redshift.run(own)
    without = replace(SHOP, models=[DIM_DESIGN])
    await on_redshift.run(without)
    await on_redshift.run(own)
    on_redshift.engine.source("DELETE FROM orders WHERE order_id = 1; UPDATE orders SET units = 7 WHERE order_id = 2")
    results = await on_redshift.run(without)
    told = "fact_order: it is not declared any more: its table stays as it is"
    assert [text for one in results.values() for text in one.warnings] == [told]
    because = (
        "model shop.fact_order: rows were loaded while the model of shop.fact_order was not declared, and it lacks "
        "them. Remedy: make the table again: `millrace reload shop fact_order`"
    )
    for read_request in (ReadRequest(), ReadRequest("full")):
        with pytest.raises(SchemaConflict, match=because):
            await on_redshift.run(own, read_request=read_request)
    engine = on_redshift.engine
    groups = find_applied_groups(engine.warehouse, own, FACT_ORDER)
    reload_model(own, FACT_ORDER, groups, engine.store, on_redshift.processed, engine.warehouse)
    there = on_redshift.engine.query(
        'SELECT order_id, units FROM shop.fact_order AS f WHERE "_deleted_at" IS NULL AND "_version" = (SELECT '
        'max("_version") FROM shop.fact_order AS o WHERE o.order_id = f.order_id) AND order_id < 4 ORDER BY 1'
    )
    assert there == [(2, 7), (3, 30)]
    results = await on_redshift.run(own)
    assert {name: one.loaded for name, one in results.items() if one.loaded} == {}
