"""Options of `Scd2` on real servers, and those that are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from millrace import Model, Pipeline, Scd2, Stream
from millrace.base.errors import ConfigurationError
from tests.support.engine import Together
from tests.support.markets import (
    LOG,
    LOGGED,
    OPEN,
    PRICES,
    STATES,
    PriceOf,
    change,
    day,
    fill,
    market,
    price_of,
    put,
    versions,
)


async def test_the_convention_is_chosen(together: Together) -> None:
    end = datetime(2500, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    load = replace(STATES, gap=timedelta(0), open_end=end, start="begins", end="ends", current="valid")
    fill(together, ("x", "a", 1, 1))
    await together.run(market(load=load))
    change(together, "price = 2", 2)
    await together.run(market(load=load))
    assert together.engine.query("SELECT price, begins::text, ends::text, valid FROM market.price_of ORDER BY 2") == [
        (1, day(1), day(2), False),
        (2, day(2), "2500-01-01 00:00:00", True),
    ]


@pytest.mark.parametrize(
    ("keys", "load"),
    [(("code", "since"), STATES), (("market", "note"), replace(LOGGED, untracked=(), tie_breaker="note"))],
)
def test_what_orders_rows_of_a_key_is_not_of_the_key(keys: tuple[str, ...], load: Scd2) -> None:
    with pytest.raises(ConfigurationError, match="orders the rows of one key"):
        Model(price_of, PriceOf, keys, load=load)


async def test_the_end_of_the_current_version_may_be_null(together: Together) -> None:
    load = replace(STATES, open_end=None)
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market(load=load))
    assert versions(together) == [(1, day(1), None, True)]
    change(together, "price = 2", 2)
    together.engine.source("DELETE FROM prices WHERE code = 'b'")
    await together.run(market(load=load))
    assert versions(together) == [(1, day(1), day(2, "11:59:59"), False), (2, day(2), None, True)]
    assert versions(together, "b", "end_date IS NULL") == [(False, False)]
    put(together, ("x", "b", 5, 1))
    await together.run(market(load=load))
    assert versions(together, "b", "end_date IS NULL") == [(False, False), (True, True)]


@pytest.mark.parametrize("is_log", [False, True], ids=["states", "log"])
async def test_a_deletion_may_be_a_version_of_its_own(together: Together, is_log: bool) -> None:
    """With the last values, never current; what returns follows it. A sweep finds nothing in it."""
    load = replace(STATES, changes=is_log, deletes_as_versions=True, gap=timedelta(0), open_end=None)
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market(load=load))
    together.engine.source("DELETE FROM prices WHERE code = 'a'")
    assert (await together.run(market(load=load)))["price_of"].deleted == 1
    columns = ("price", "start_date", "end_date", "_deleted_at AT TIME ZONE 'UTC'")
    first, gone = versions(together, "a", *columns)
    assert first[2] == gone[1]
    assert (first[3], first[4]) == (None, False)
    assert gone == (1, gone[1], None, gone[1], False)
    before = together.engine.query("SELECT * FROM market.price_of ORDER BY 1")
    assert all(one.loaded == 0 for one in (await together.run(market(load=load))).values())
    assert together.engine.query("SELECT * FROM market.price_of ORDER BY 1") == before
    put(together, ("x", "a", 1, 1))
    await together.run(market(load=load))
    rows = versions(together, "a", *columns)
    assert [(row[0], row[3] is None, row[4]) for row in rows] == [(1, True, False), (1, False, False), (1, True, True)]
    assert rows[1][1] < rows[2][1] == rows[1][2]
    assert together.engine.query("SELECT count(DISTINCT price_key) FROM market.price_of") == [(4,)]


@pytest.mark.parametrize(("stream", "load"), [(PRICES, STATES), (LOG, LOGGED)], ids=["states", "log"])
async def test_the_first_version_of_a_key_may_begin_at_the_beginning(
    together: Together, stream: Stream, load: Scd2
) -> None:
    """And of a log the first in time, whichever came first."""
    load = replace(load, from_beginning=True)
    fill(together, ("x", "a", 5, 5))
    await together.run(market(stream, load))
    assert versions(together) == [(5, "1900-01-01 00:00:00", OPEN, True)]
    if stream is LOG:
        put(together, ("x", "a", 3, 3))
        await together.run(market(stream, load))
        assert versions(together)[0] == (3, "1900-01-01 00:00:00", day(5, "11:59:59"), False)
        put(together, ("x", "a", 9, 9))
    else:
        change(together, "price = 9", 9)
    await together.run(market(stream, load))
    assert versions(together)[-2:] == [
        (5, versions(together)[-2][1], day(9, "11:59:59"), False),
        (9, day(9), OPEN, True),
    ]


@pytest.mark.parametrize(
    ("load", "because"),
    [
        (Scd2("price_key", effective_from="stamped"), "has no column 'stamped', which the load mode asks for"),
        (Scd2("price_key", effective_from="note"), "has a column 'note' that is no date and no timestamp"),
        (Scd2("price_key", start="note"), "has a column 'note', as the load mode has"),
    ],
)
async def test_columns_that_do_not_fit_are_named(on_redshift: Together, load: Scd2, because: str) -> None:
    fill(on_redshift, ("x", "a", 1, 1))
    with pytest.raises(ConfigurationError, match=because):
        await on_redshift.run(Pipeline("market", streams=[replace(PRICES, load=load)], landing="csv"))
