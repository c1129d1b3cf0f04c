"""Declarations of models: a wrong one fails when it is made, and says which model and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import History, Merge, Model, Pipeline
from millrace.base.errors import ConfigurationError
from millrace.base.types import DATE, INT32, INT64, Column
from tests.support.shop import (
    DAYS,
    DESIGN,
    DIM_DESIGN,
    FACT_ORDER,
    ORDERS,
    SHOP,
    DimDesign,
    FactOrder,
    dim_design,
    fact_order,
)

OTHERS = replace(ORDERS, name="others")


class Text(dy.Schema):
    """A key that no record id can be made of."""

    code = dy.String(nullable=False)


class Nested(dy.Schema):
    """What no column of a warehouse takes."""

    design_id = dy.Int32(nullable=False)
    tags = dy.List(dy.String())


class Opaque(dy.Schema):
    """The same."""

    design_id = dy.Int32(nullable=False)
    thing = dy.Object()


class Own(dy.Schema):
    """A column that history has of its own."""

    design_id = dy.Int32(nullable=False)
    version = dy.Int32(alias="_version")


class Shouted(dy.Schema):
    """A name that a warehouse would fold."""

    design_id = dy.Int32(nullable=False)
    title = dy.String(alias="Title")


def of_two(orders: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Two inputs that change apart."""
    return pl.concat([orders, others])


def of_both(orders: pl.DataFrame, fact_order: pl.DataFrame) -> pl.DataFrame:
    """A stream's changes, and rows that a model makes of them."""
    return pl.concat([orders, fact_order])


def of_nothing() -> pl.DataFrame:
    """Never asked for."""
    return pl.DataFrame()


def design(orders: pl.DataFrame) -> pl.DataFrame:
    """Has the name of a stream."""
    return orders


def test_the_function_says_what_it_is_and_needs() -> None:
    assert (FACT_ORDER.name, FACT_ORDER.inputs, FACT_ORDER.keys) == ("fact_order", ("orders",), ("order_id",))
    assert FACT_ORDER.required == {"order_id", "day"}
    assert FACT_ORDER.columns == tuple(
        Column(name, name, kind)
        for name, kind in (("order_id", INT64), ("design_id", INT32), ("units", INT32), ("day", DATE))
    )


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"key": "nothing"}, "its schema has no column 'nothing'"),
        ({"key": ()}, "no key is declared"),
        ({"references": {"nothing": "dim_design"}}, "its schema has no column 'nothing'"),
        ({"unknown": {"nothing": 1}}, "its schema has no column 'nothing'"),
        ({"schema": Text, "key": "code", "load": History("record_id")}, "History needs a key of one integer column"),
        ({"key": ("design_id", "title"), "load": History("r")}, "History needs a key of one integer column"),
        ({"load": History("title")}, "its column 'title' is not a valid name, or its schema"),
        ({"load": History("_version")}, "its column '_version' is not a valid name, or its schema"),
        ({"function": of_nothing}, "it has no input"),
        ({"schema": Nested}, "its column tags is nested"),
        ({"schema": Opaque}, "column thing: Polars type Object has no type in the warehouse"),
        ({"schema": Own}, "its column '_version' is not a valid name, or is reserved"),
        ({"schema": Shouted}, "its column 'Title' is not a valid name"),
    ],
)
def test_a_wrong_model_is_refused(wrong: dict[str, Any], because: str) -> None:
    declaration: dict[str, Any] = {"function": dim_design, "schema": DimDesign, "key": "design_id"} | wrong
    with pytest.raises(ConfigurationError) as failure:
        Model(**declaration)
    assert f"model {declaration['function'].__name__}: {because}" in str(failure.value)
    assert failure.value.remedy


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="model '<lambda>' is not a name"):
        Model(lambda orders: orders, FactOrder, "order_id")


@pytest.mark.parametrize(
    ("models", "because"),
    [
        ((DAYS,), "its parameter 'fact_order' is neither a stream nor a model declared before it"),
        ((DAYS, FACT_ORDER, DIM_DESIGN), "its parameter 'fact_order' is neither"),
        ((Model(of_two, FactOrder, "order_id"),), "the changes of orders and others, which do not change together"),
        (
            (DIM_DESIGN, FACT_ORDER, Model(of_both, FactOrder, "order_id")),
            "the changes of orders and fact_order, which do not change together",
        ),
        ((FACT_ORDER,), "it refers to a model 'dim_design', which does not exist"),
        ((Model(design, FactOrder, "order_id"),), "name 'design' is declared twice"),
        ((Model(fact_order, FactOrder, "order_id"),) * 2, "name 'fact_order' is declared twice"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(models: tuple[Model, ...], because: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        Pipeline("shop", [DESIGN, ORDERS, OTHERS], models=models)
    assert because in str(failure.value)
    assert "pipeline shop" in str(failure.value)
    if "declared twice" not in because:
        assert any(f"model {model.name}" in str(failure.value) for model in models)


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"unknown": {}}, "a row of which only the key is known needs values for title"),
        ({"unknown": {"title": None}}, "a row of which only the key is known needs values for title"),
        ({"deletes": "hard"}, "its rows must stay. Remedy: declare deletes='soft' or 'ignore'"),
        ({"load": History("record_id")}, "it must have one row per key. Remedy: declare load=Merge"),
        ({"key": ("design_id", "title")}, "another model refers to it by one column, so its key must be one"),
    ],
)
def test_a_dimension_that_cannot_be_referred_to_is_refused(wrong: dict[str, Any], because: str) -> None:
    dimension = replace(DIM_DESIGN, **wrong)
    Pipeline("shop", [DESIGN, ORDERS], models=[dimension])  # nobody refers to it
    with pytest.raises(ConfigurationError, match="model dim_design: another model refers to it") as failure:
        Pipeline("shop", [DESIGN, ORDERS], models=[dimension, FACT_ORDER])
    assert because in str(failure.value)


def test_a_table_of_a_model_and_one_of_a_stream_do_not_meet() -> None:
    stream = replace(ORDERS, target="fact_order")
    Pipeline("shop", [DESIGN, stream], models=[DIM_DESIGN, FACT_ORDER], schema="shop_source")
    with pytest.raises(ConfigurationError, match=r"pipeline shop: table 'shop\.fact_order' is declared twice"):
        Pipeline("shop", [DESIGN, stream], models=[DIM_DESIGN, FACT_ORDER])


def test_a_pipeline_knows_its_members() -> None:
    assert [one.name for one in SHOP.members] == ["design", "orders", "dim_design", "fact_order", "days"]
    assert (SHOP.find("days"), SHOP.find("orders")) == (DAYS, ORDERS)
    assert (SHOP.target_schema, SHOP.target_model_schema) == ("shop_source", "shop")
    assert SHOP.is_transformed
    assert not Pipeline("plain", [ORDERS]).is_transformed
    assert Pipeline("plain", [ORDERS], landing="csv").is_transformed
    assert (DIM_DESIGN.load, FACT_ORDER.load) == (Merge(), History("record_id"))
