"""Facts that are there are bound again: by a bind that is declared later, and by a full run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millrace import Merge, Replace, Snapshot
from millrace.base.errors import MillraceError
from millrace.blocks.store import BucketStore
from millrace.runs.choose import ReadRequest
from millrace.warehouse.schema import form_changes
from millrace.warehouse.schema.column_changes import Step
from tests.support.bound_facts import (
    BIND,
    MADE,
    MARKET,
    PERSON,
    PRICED,
    QUOTES,
    SALES,
    TRADES,
    a_person,
    an_order,
    bound,
    fill,
    fill_market,
)
from tests.support.engine import Engine, Together

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
    monkeypatch.setattr(form_changes, "ROWS_OF_A_STEP", 1)
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
    await on_redshift.run(SALES, read_request=ReadRequest("full"))
    assert [bound(on_redshift)[number] for number in (5, 6, 7)] == ["eight"] * 3


async def test_binding_that_ended_in_the_middle_is_done_by_the_next_run(
    postgres_engine: Engine, processed: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(postgres_engine, processed)
    monkeypatch.setattr(form_changes, "ROWS_OF_A_STEP", 1)
    await some_orders(together)
    with monkeypatch.context() as broken:
        steps = form_changes.BindRows.steps
        broken.setattr(form_changes.BindRows, "steps", lambda one: [*steps(one)[:2], Step(("SELECT 1 / 0",))])
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
    await together.run(SALES, read_request=ReadRequest("full"))
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
