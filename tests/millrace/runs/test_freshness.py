"""Freshness on real servers: how old a change was when it became visible, whatever any clock says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import pytest

from millrace import Incremental, Pipeline, Snapshot
from millrace.runs import extract
from millrace.runs.choose import ReadRequest
from millrace.warehouse import commit
from millrace.warehouse.freshness import Freshness
from tests.support.clocks import clock_that_is_off
from tests.support.engine import Together
from tests.support.shop import DESIGN, ORDERS, SHOP, fill

PLAIN = Pipeline("shop", [ORDERS, DESIGN])
"""Swept orders and snapshots of designs."""
FOR_A_LOAD = 300.0
"""Seconds that no load takes, however slow the machine."""
YEAR = timedelta(days=365)


class Sold(dy.Schema):
    """An order must have units."""

    units = dy.Int32(nullable=False)


def recorded(together: Together, stream: str) -> list[tuple[Any, ...]]:
    """The ledger's columns of freshness, the latest read last."""
    return together.engine.query(
        "SELECT rows_stamped, rows_silent, age_p50_seconds, age_p95_seconds, age_max_seconds FROM millrace.batches "
        f"WHERE stream = '{stream}' ORDER BY read_at"
    )


async def test_the_age_is_from_stamp_to_read_and_from_read_to_commit(together: Together) -> None:
    """A source whose clock is a year ahead; 21 orders, aged 0, 10, … 200 s at the read, which began 1,000 s ago."""
    fill(together.engine, orders=30)
    await together.run(PLAIN)
    read_at = datetime.now(UTC) + YEAR
    together.engine.source(
        "UPDATE orders SET units = 0, "
        f"changed = TIMESTAMPTZ '{read_at.isoformat()}' - (order_id - 1) * INTERVAL '10 s' WHERE order_id <= 21"
    )
    (batch,) = await together.read(PLAIN, "orders")
    batch = replace(batch, read_at=read_at, begun_at=datetime.now(UTC) - timedelta(seconds=1_000))
    found = together.load(PLAIN, together.transform(PLAIN, [batch]))["orders"].freshness
    assert found is not None
    assert (found.stamped, found.silent) == (21, 0)
    p50, p95, largest = (float(age or 0) for age in (found.p50_seconds, found.p95_seconds, found.max_seconds))
    assert 1_100 <= p50 <= 1_100 + FOR_A_LOAD
    assert (round(p95 - p50, 1), round(largest - p50, 1)) == (90, 100)
    assert recorded(together, "orders") == [(None,) * 5, (21, 0, p50, p95, largest)]


async def test_a_runner_whose_clock_is_wrong_finds_the_same_ages(
    on_redshift: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(on_redshift.engine)
    await on_redshift.run(PLAIN)
    on_redshift.engine.source("UPDATE orders SET units = 0, changed = clock_timestamp()")
    for module in (extract, commit):
        monkeypatch.setattr(module, "datetime", clock_that_is_off(-YEAR))
    found = (await on_redshift.run(PLAIN))["orders"].freshness
    assert found is not None
    assert found.stamped == 6
    assert 0 < float(found.p50_seconds or 0) <= float(found.max_seconds or 0) <= FOR_A_LOAD
    (behind,) = on_redshift.engine.query(
        "SELECT max(read_at) - max(applied_at) > INTERVAL '360 days' FROM millrace.batches WHERE rows_stamped > 0"
    )
    assert behind == (True,), "the clock was wrong indeed"


async def test_a_change_without_a_new_stamp_is_silent(together: Together) -> None:
    """Its age is not known, so it is in none of the ages; rows that were read and had not changed are not counted."""
    fill(together.engine)
    together.engine.source(
        "UPDATE orders SET changed = CASE WHEN order_id < 6 THEN changed - INTERVAL '1 hour' END; "
        "UPDATE design SET changed = changed - INTERVAL '1 hour'"
    )
    await together.run(PLAIN)
    together.engine.source(
        "UPDATE orders SET units = 0 WHERE order_id IN (1, 2, 6); DELETE FROM orders WHERE order_id = 3; "
        "UPDATE orders SET units = 0, changed = clock_timestamp() WHERE order_id = 4; "
        "UPDATE design SET name = 'silent' WHERE design_id < 3"
    )
    results = await together.run(PLAIN)
    orders, designs = results["orders"].freshness, results["design"].freshness
    assert orders is not None
    assert (orders.stamped, orders.silent) == (1, 3)
    assert orders.p50_seconds == orders.p95_seconds == orders.max_seconds is not None
    assert designs == Freshness(0, 2)
    assert recorded(together, "design")[-1] == (0, 2, None, None, None)


async def test_there_is_no_age_where_none_could_be_told(on_redshift: Together) -> None:
    """A first load, a backfill, a replay, a table without stamps: what they load was there long before, or is not
    known to be new."""
    swept = replace(ORDERS, contract=Sold, sweep="", capture=Incremental("changed", overlap=timedelta(0)))
    pipeline = Pipeline("shop", [swept, replace(DESIGN, capture=Snapshot())])
    fill(on_redshift.engine)
    on_redshift.engine.source("UPDATE orders SET units = NULL WHERE order_id = 1")
    first = await on_redshift.run(pipeline)
    on_redshift.engine.source("UPDATE orders SET units = 1, changed = clock_timestamp(); UPDATE design SET name = 'x'")
    replay = await on_redshift.run(pipeline, "orders", read_request=ReadRequest("replay"))
    backfill = await on_redshift.run(pipeline, "orders", read_request=ReadRequest(start="2020-01-01T00:00:00+00:00"))
    stampless = await on_redshift.run(pipeline, "design")
    assert [one["orders"].loaded for one in (first, replay, backfill)] == [5, 1, 5]
    assert stampless["design"].updated == 3
    assert {one.freshness for results in (first, replay, backfill, stampless) for one in results.values()} == {None}
    assert recorded(on_redshift, "orders") + recorded(on_redshift, "design") == [(None,) * 5] * 5
    on_redshift.engine.source("UPDATE orders SET units = 2, changed = clock_timestamp()")
    window = (await on_redshift.run(pipeline, "orders"))["orders"]
    assert (window.kind, window.freshness and window.freshness.stamped) == ("window", 6)


async def test_a_model_has_no_age_of_its_own(on_redshift: Together) -> None:
    """It is as fresh as the stream it comes from: both become visible at once."""
    fill(on_redshift.engine)
    await on_redshift.run(SHOP)
    on_redshift.engine.source("UPDATE orders SET units = 0, changed = clock_timestamp()")
    results = await on_redshift.run(SHOP)
    assert [name for name, one in results.items() if one.freshness and one.freshness.stamped] == ["orders"]
    assert results["fact_order"].freshness is None
