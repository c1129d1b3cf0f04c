"""Facts hold the key of the version that was valid at their own time, whichever comes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dataframely as dy
import pytest

from millrace import History, Merge, Model, Scd2
from millrace.base.errors import ConfigurationError
from millrace.runs.choose import ReadRequest
from tests.support.bound_facts import BIND, MADE, PERSON, SALES, Order, a_person, an_order, bound, fill, orders_made
from tests.support.engine import Together


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
    await together.run(SALES, read_request=ReadRequest("full"))
    assert bound(together) == {1: "first", 2: "between", 3: "last"}
    before = together.engine.query("SELECT * FROM sales.orders_made ORDER BY 1")
    await together.run(SALES)
    assert together.engine.query("SELECT * FROM sales.orders_made ORDER BY 1") == before


@pytest.mark.parametrize(
    ("model", "because"),
    [
        ({"binds": [replace(BIND, dimension="nothing")]}, "is not a model that keeps versions"),
        ({"binds": [replace(BIND, by="person")]}, "the key of person is country, number"),
    ],
)
def test_a_wrong_bind_is_refused_by_the_pipeline(model: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        replace(SALES, models=[PERSON, replace(MADE, **model)])


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"binds": [replace(BIND, at="country")]}, "is not a date or timestamp"),
        ({"binds": [replace(BIND, by="nobody")]}, "has no column 'nobody'"),
        ({"binds": [replace(BIND, column="person")]}, "or its schema"),
        ({"load": History("record_id")}, "it keeps versions, so it cannot be bound"),
        ({"load": Scd2("order_key", effective_from="country")}, "is not a date or timestamp"),
        ({"load": Scd2("order_key", untracked=["colour"]), "binds": []}, "no column 'colour'"),
        ({"load": Scd2("person"), "binds": []}, "or its schema"),
    ],
)
def test_a_wrong_bind_is_refused_by_the_model(wrong: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        Model(
            **({"function": orders_made, "schema": Order, "key": "order_id", "load": Merge(), "binds": [BIND]} | wrong)
        )


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
