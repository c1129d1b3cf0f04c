"""References on real servers: a fact that names what is not there yet is loaded, and its dimension has a row for it."""

from __future__ import annotations

from dataclasses import replace

import dataframely as dy
import polars as pl
import pytest

from millrace import Incremental, Model, Pipeline, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, Together
from tests.support.shop import DIM_DESIGN, FACT_ORDER, NO_OVERLAP, SHOP, fill

HOSTILE = "100 % of O'Keefe\\'s \"%s\""


class Priced(dy.Schema):
    """A dimension with more than texts."""

    design_id = dy.Int32(nullable=False)
    title = dy.String(nullable=False)
    price = dy.Decimal(10, 2, nullable=False)
    since = dy.Date(nullable=False)
    is_sold = dy.Bool(nullable=False)
    colour = dy.String(nullable=True)


def dim_design(design: pl.DataFrame) -> pl.DataFrame:
    """Never asked here: the stream is not read."""
    return design


UNKNOWN = {"title": HOSTILE, "price": -1, "since": "1900-01-01", "is_sold": False, "colour": None}
PRICED = Model(dim_design, Priced, "design_id", deletes="ignore", unknown=UNKNOWN)


def dimension(engine: Engine) -> list[tuple[object, ...]]:
    """Key, title, whether the source has it."""
    return engine.query('SELECT design_id, title, "_deleted_at" IS NULL FROM shop.dim_design ORDER BY 1')


async def test_a_fact_before_its_dimension_has_a_row_there_until_the_real_one_comes(together: Together) -> None:
    """And keeps one after it has left again."""
    engine = together.engine
    fill(engine, designs=1)
    await together.run(SHOP)
    engine.source(
        "INSERT INTO orders VALUES (7, 9, 70, '2024-03-07'), (8, 9, 80, '2024-03-07'), (9, NULL, 9, '2024-03-07')"
    )
    early = await together.run(SHOP)
    assert dimension(engine) == [(1, "DESIGN 1", True), (9, "Unknown", False)]
    assert early["fact_order"].warnings == ("1 keys in design_id are not in shop.dim_design yet",)
    assert (await together.run(SHOP))["dim_design"].deleted == 0, "what never was there does not leave"

    engine.source("INSERT INTO design VALUES (9, 'late')")
    late = await together.run(SHOP)
    assert dimension(engine) == [(1, "DESIGN 1", True), (9, "LATE", True)]
    assert (late["dim_design"].inserted, late["dim_design"].updated) == (0, 1)

    engine.source("DELETE FROM design WHERE design_id = 9; UPDATE orders SET units = 71 WHERE order_id = 7")
    left = await together.run(SHOP)
    assert dimension(engine) == [(1, "DESIGN 1", True), (9, "LATE", False)]
    assert (left["dim_design"].deleted, left["fact_order"].updated, left["fact_order"].warnings) == (1, 1, ())


async def test_a_dimension_that_was_never_loaded_is_made_with_its_facts(together: Together) -> None:
    engine = together.engine
    fill(engine)
    await together.run(SHOP, "orders")
    assert dimension(engine) == [(key, "Unknown", False) for key in (1, 2, 3)]
    results = await together.run(SHOP)
    assert dimension(engine) == [(key, f"DESIGN {key}", True) for key in (1, 2, 3)]
    assert (results["dim_design"].updated, results["dim_design"].changes) == (3, ())


async def test_what_is_unknown_may_be_any_value_and_a_dimension_need_not_mark_deletions(together: Together) -> None:
    pipeline = replace(SHOP, models=[PRICED, FACT_ORDER])
    fill(together.engine, designs=1)
    await together.run(pipeline, "orders")
    query = "SELECT design_id, title, price::INT, since::TEXT, is_sold, colour FROM shop.dim_design"
    assert together.engine.query(query) == [(1, HOSTILE, -1, "1900-01-01", False, None)]


async def test_two_facts_and_two_columns_that_miss_one_key_have_one_row_for_it(on_redshift: Together) -> None:
    def resale(orders: pl.DataFrame) -> pl.DataFrame:
        return FACT_ORDER.function(orders)

    second = Model(resale, FACT_ORDER.schema, "order_id", references={"design_id": "dim_design", "units": "dim_design"})
    pipeline: Pipeline = replace(SHOP, models=[DIM_DESIGN, FACT_ORDER, second])
    fill(on_redshift.engine, designs=1, orders=0)
    on_redshift.engine.source("INSERT INTO orders VALUES (1, 5, 5, '2024-03-07'), (2, 6, 5, '2024-03-07')")
    await on_redshift.run(pipeline)
    assert dimension(on_redshift.engine) == [(1, "DESIGN 1", True), (5, "Unknown", False), (6, "Unknown", False)]


UNREFERRED = replace(SHOP, models=[DIM_DESIGN, replace(FACT_ORDER, references={})])


async def test_a_reference_that_is_declared_later_completes_its_dimension_for_the_rows_that_are_there(
    together: Together,
) -> None:
    """Also in a run in which no fact is read."""
    engine = together.engine
    fill(engine, designs=1)
    engine.source(
        "UPDATE orders SET design_id = 9 WHERE order_id > 4; UPDATE orders SET design_id = 8 WHERE order_id = 1"
    )
    await together.run(UNREFERRED)
    text = "add the keys in design_id of all rows of shop.fact_order that shop.dim_design lacks"
    assert text in engine.warehouse.plan(SHOP, FACT_ORDER, FACT_ORDER.columns)[0]
    results = await together.run(SHOP)
    assert text in [change for one in results.values() for change in one.changes]
    assert "2 keys in design_id are not in shop.dim_design yet" in " ".join(
        warning for one in results.values() for warning in one.warnings
    )
    assert dimension(engine) == [(1, "DESIGN 1", True), (8, "Unknown", False), (9, "Unknown", False)]
    results = await together.run(SHOP)
    assert not [change for one in results.values() for change in one.changes]


async def test_a_full_run_puts_back_rows_of_a_dimension_that_facts_refer_to(on_redshift: Together) -> None:
    engine = on_redshift.engine
    fill(engine, designs=1)
    await on_redshift.run(SHOP)
    engine.source("INSERT INTO orders VALUES (7, 9, 70, '2024-03-07')")
    await on_redshift.run(SHOP)
    engine.query("DELETE FROM shop.dim_design WHERE design_id = 9")
    await on_redshift.run(SHOP, read_request=ReadRequest("full"))
    assert dimension(engine) == [(1, "DESIGN 1", True), (9, "Unknown", False)]


class Coded(dy.Schema):
    """By a text."""

    code = dy.String(nullable=False)
    name = dy.String(nullable=True)


class Sold(dy.Schema):
    """What, and when."""

    sale_id = dy.Int64(nullable=False)
    code = dy.String(nullable=True)


def coded(codes: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return codes


def sold(sales: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return sales.select("sale_id", "code")


@pytest.mark.both_warehouses
@pytest.mark.parametrize("is_declared_later", [True, False])
async def test_a_key_that_is_longer_than_the_dimensions_column_widens_it(
    together: Together, *, is_declared_later: bool
) -> None:
    engine = together.engine
    engine.source(
        "CREATE TABLE codes (code text PRIMARY KEY, name text); INSERT INTO codes VALUES ('a', 'one'); "
        "CREATE TABLE sales (sale_id bigint PRIMARY KEY, code text, changed timestamptz DEFAULT clock_timestamp())"
    )
    pipeline = Pipeline(
        "coded",
        streams=[
            Stream("codes", "postgres:public.codes", "code", Snapshot()),
            Stream("sales", "postgres:public.sales", "sale_id", Incremental("changed", NO_OVERLAP)),
        ],
        schema="coded_source",
        models=[Model(coded, Coded, "code"), Model(sold, Sold, "sale_id", references={"code": "coded"})],
    )
    unreferred = replace(pipeline, models=[pipeline.models[0], replace(pipeline.models[1], references={})])
    await together.run(pipeline)
    engine.source(f"INSERT INTO sales VALUES (1, '{'x' * 300}')")
    await together.run(unreferred if is_declared_later else pipeline)
    await together.run(pipeline)
    assert engine.query("SELECT length(code) FROM coded.coded ORDER BY 1") == [(1,), (300,)]


class Numbered(Sold):
    """By a number."""

    code = dy.Int32(nullable=True)


def test_a_reference_of_another_type_is_refused_when_it_is_declared() -> None:
    models = [Model(coded, Coded, "code"), Model(sold, Numbered, "sale_id", references={"code": "coded"})]
    streams = [Stream(name, f"postgres:public.{name}", "id", Snapshot()) for name in ("codes", "sales")]
    with pytest.raises(ConfigurationError, match="its column code is int32, and code, the key of coded, is text"):
        Pipeline("coded", streams=streams, models=models)
