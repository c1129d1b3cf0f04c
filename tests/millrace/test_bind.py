"""Facts hold the key of the version that was valid at their own time, whichever comes first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from engine_on_servers import Together

from millrace import Append, Bind, History, Incremental, Merge, Model, Pipeline, Scd2, Stream
from millrace.errors import ConfigurationError
from millrace.run import Bounds

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
