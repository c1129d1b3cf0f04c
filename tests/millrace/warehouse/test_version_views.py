"""The view `<table>_at`: which version was valid at a moment, whatever the table's ends say."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from millrace import Scd2
from tests.support.engine import Together
from tests.support.markets import A_SECOND, LOG, LOGGED, STATES, change, day, fill, market


@pytest.mark.parametrize("gap", [None, timedelta(0), A_SECOND, timedelta(days=1)], ids=str)
async def test_a_moment_is_looked_up_in_the_view_of_versions(on_redshift: Together, gap: timedelta | None) -> None:
    """One version at most is valid, whatever the gap is, also where two changes are half a second apart; by the default
    gap the columns of the table say the same."""
    load = replace(LOGGED, gap=gap) if gap is not None else Scd2("price_key", effective_from="since", changes=True)
    fill(on_redshift, ("x", "a", 1, 1), ("x", "a", 3, 9))
    on_redshift.engine.source(
        "INSERT INTO prices (market, code, price, stamp) VALUES ('x', 'a', 2, '2024-03-01 12:00:00.5+00')"
    )
    await on_redshift.run(market(LOG, load))
    assert on_redshift.engine.warehouse.make_views(market(LOG, load), "") == ["market.price_of_at"]
    moments = {
        "03-01 11:59:59": [],
        "03-01 12:00:00": [1],
        "03-01 12:00:00.499999": [1],
        "03-01 12:00:00.5": [2],
        "03-01 12:00:00.7": [2],
        "03-09 11:59:59.999999": [2],
        "03-20": [3],
    }
    for moment, prices in moments.items():
        at = f"TIMESTAMP '2024-{moment}'"
        valid = f"valid_from <= {at} AND ({at} < valid_until OR valid_until IS NULL)"
        asked = {f"SELECT price FROM market.price_of_at WHERE {valid}"}
        if gap is None:
            asked |= {
                f"SELECT price FROM market.price_of WHERE {at} BETWEEN start_date AND end_date",
                "SELECT price FROM market.price_of "
                f"WHERE start_date <= {at} AND {at} < end_date + INTERVAL '0.000001 seconds'",
            }
        for question in asked:
            assert [row[0] for row in on_redshift.engine.query(question)] == prices, (moment, question)


async def test_the_view_of_versions_ends_with_a_deletion_and_follows_its_table(together: Together) -> None:
    fill(together, ("x", "a", 1, 1))
    await together.run(market())
    together.engine.source("DELETE FROM prices")
    await together.run(market())
    make = together.engine.warehouse.make_views
    assert make(market(), "") == ["market.price_of_at"]
    question = "SELECT valid_until = _deleted_at AT TIME ZONE 'UTC', valid_from, code FROM market.price_of_at"
    assert together.engine.query(question) == [(True, datetime.fromisoformat(day(1)), "a")]
    together.engine.query("ALTER TABLE market.price_of ADD COLUMN further INTEGER")
    assert make(market(), "") == ["market.price_of_at"]
    assert together.engine.query("SELECT further FROM market.price_of_at") == [(None,)]


async def test_a_view_of_versions_whose_name_is_taken_is_told(together: Together) -> None:
    """By a view of the pipeline, by a relation of somebody else, by a column."""
    pipeline, make = market(), together.engine.warehouse.make_views
    assert make(pipeline, "") == ["market.price_of_at is not made: market.price_of is not there yet"]
    fill(together, ("x", "a", 1, 1))
    await together.run(pipeline)
    own = "CREATE OR REPLACE VIEW market.price_of_at AS SELECT 1 AS one;\n"
    told = "market.price_of_at is not made: the pipeline has a table or view of that name"
    assert make(pipeline, own) == [told, "market.price_of_at"]
    assert make(pipeline, "") == ["market.price_of_at is not made: something else has that name in the warehouse"]
    assert together.engine.query("SELECT * FROM market.price_of_at") == [(1,)]
    together.engine.query("DROP VIEW market.price_of_at")
    together.engine.query("ALTER TABLE market.price_of ADD COLUMN valid_from INTEGER")
    assert make(pipeline, "") == ["market.price_of_at is not made: market.price_of has a column valid_from"]


async def test_a_table_that_calls_its_times_as_the_view_does_has_a_view(together: Together) -> None:
    load = replace(STATES, start="valid_from", end="valid_until")
    fill(together, ("x", "a", 1, 1))
    await together.run(market(load=load))
    change(together, "price = 2", 2)
    await together.run(market(load=load))
    assert together.engine.warehouse.make_views(market(load=load), "") == ["market.price_of_at"]
    question = "SELECT price, valid_from::text, valid_until::text FROM market.price_of_at ORDER BY price"
    assert together.engine.query(question) == [(1, day(1), day(2)), (2, day(2), None)]
