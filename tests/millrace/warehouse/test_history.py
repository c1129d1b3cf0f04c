"""History on real servers: a version per change of content and per deletion, numbered for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from millrace import Incremental
from millrace.base.errors import FatalError
from millrace.lake.batch import Batch
from millrace.runs.choose import ReadRequest
from tests.support.engine import Together
from tests.support.shop import FACT_ORDER, ORDERS, SHOP, fill, versions

LONE = replace(SHOP, streams=[ORDERS], models=[replace(FACT_ORDER, references={})])
"""Orders and their history, nothing else."""
THERE_AND_BACK = (
    "UPDATE orders SET units = 99 WHERE order_id = 1",
    "UPDATE orders SET units = 10, changed = clock_timestamp() WHERE order_id = 1; "
    "UPDATE orders SET units = -1 WHERE order_id = 2",
    "DELETE FROM orders WHERE order_id = 1",
    "SELECT 1",
    "INSERT INTO orders VALUES (1, 1, 10, '2024-03-01')",
)
"""A → B → A, deleted, nothing, there again; B is silent."""


async def run_all(together: Together) -> list[list[Batch]]:
    """A run after each step; the batches of each."""
    fill(together.engine)
    landed = []
    for step in ("SELECT 1", *THERE_AND_BACK):
        together.engine.source(step)
        landed.append(await together.read(LONE))
        together.load(LONE, together.transform(LONE, landed[-1]))
    return landed


def history(together: Together) -> list[tuple[object, ...]]:
    """All of it but the times of loads."""
    return together.engine.query(
        'SELECT record_id, order_id, design_id, units, day, "_version", "_row_hash", "_deleted_at" IS NOT NULL '
        "FROM shop.fact_order ORDER BY 1"
    )


async def test_every_change_of_content_and_every_deletion_is_a_version(together: Together) -> None:
    landed = await run_all(together)
    assert versions(together, 1) == [
        (10_001, 1, 10, False),
        (10_002, 2, 99, False),
        (10_003, 3, 10, False),
        (10_004, 4, 10, True),
        (10_005, 5, 10, False),
    ]
    assert versions(together, 2) == [(20_001, 1, 20, False), (20_002, 2, -1, False)]
    assert versions(together, 3) == [(30_001, 1, 30, False)]
    before = history(together)
    assert len(before) == len({record_id for record_id, *_ in before}) == 11

    together.engine.query("DROP SCHEMA shop CASCADE; DROP SCHEMA shop_source CASCADE; DROP SCHEMA millrace CASCADE")
    for batches in landed:
        together.load(LONE, together.transform(LONE, batches))
    assert history(together) == before, "loaded anew from the landing zone every record has the id it had"


async def test_a_row_that_is_read_again_unchanged_is_no_version(on_redshift: Together) -> None:
    """Overlap: every run reads all of it."""
    stream = replace(ORDERS, capture=Incremental("changed", overlap=timedelta(days=1)), sweep="")
    pipeline = replace(LONE, streams=[stream])
    fill(on_redshift.engine)
    await on_redshift.run(pipeline)
    before = on_redshift.engine.query("SELECT * FROM shop.fact_order ORDER BY 1")
    results = await on_redshift.run(pipeline)
    assert {name: (one.read, one.unchanged) for name, one in results.items()} == {
        "orders": (6, 6),
        "fact_order": (6, 6),
    }
    assert on_redshift.engine.query("SELECT * FROM shop.fact_order ORDER BY 1") == before


async def test_altered_values_are_put_right_by_a_full_run_and_make_no_version(together: Together) -> None:
    await run_all(together)
    before = history(together)
    together.engine.query("UPDATE shop.fact_order SET units = 7 WHERE record_id IN (10005, 30001)")
    together.engine.query("UPDATE shop_source.orders SET units = 7 WHERE order_id = 3")
    results = await together.run(LONE, read_request=ReadRequest("full"))
    assert {name: (one.inserted, one.updated) for name, one in results.items()} == {
        "orders": (0, 1),
        "fact_order": (0, 2),
    }
    assert history(together) == before


async def test_a_column_that_a_model_lost_is_filled_by_a_full_run_alone(on_redshift: Together) -> None:
    await run_all(on_redshift)
    before = history(on_redshift)
    on_redshift.engine.query("ALTER TABLE shop.fact_order DROP COLUMN units")
    on_redshift.engine.source("UPDATE orders SET units = 5 WHERE order_id = 4")
    with pytest.raises(FatalError, match=r"the target has lost units, .* `millrace run shop --full`"):
        await on_redshift.run(LONE)
    on_redshift.engine.source("UPDATE orders SET units = 40 WHERE order_id = 4")
    await on_redshift.run(LONE, read_request=ReadRequest("full"))
    latest = "SELECT units FROM shop.fact_order WHERE record_id IN (10005, 20002, 30001) ORDER BY record_id"
    assert on_redshift.engine.query(latest) == [(10,), (-1,), (30,)]
    assert len(history(on_redshift)) == len(before)


async def test_what_is_loaded_or_transformed_twice_is_there_once(together: Together) -> None:
    """A retry of the load, and a retry of the transform, whose objects have other keys."""
    fill(together.engine)
    await together.run(LONE)
    together.engine.source("UPDATE orders SET units = 99 WHERE order_id = 1")
    landed = await together.read(LONE)
    first, second = (together.transform(LONE, landed) for _ in range(2))
    assert {batch.manifest_key for batch in first}.isdisjoint(batch.manifest_key for batch in second)
    results = together.load(LONE, first)
    before = history(together), together.engine.query("SELECT * FROM millrace.batches ORDER BY batch_id")
    for again in (first, second):
        repeated = together.load(LONE, again)
        assert all(one.was_applied_before for one in repeated.values())
        assert {name: one.read for name, one in repeated.items()} == {name: one.read for name, one in results.items()}
    assert (history(together), together.engine.query("SELECT * FROM millrace.batches ORDER BY batch_id")) == before
    assert len(versions(together, 1)) == 2


async def test_the_number_after_the_last_of_a_key_is_refused(together: Together) -> None:
    """It would be the next key's, be it of a change or of a deletion; nothing of the run is loaded then."""
    fill(together.engine)
    await together.run(LONE)
    together.engine.query('UPDATE shop.fact_order SET "_version" = 9998, record_id = 19998 WHERE order_id = 1')
    together.engine.source("UPDATE orders SET units = 99 WHERE order_id = 1")
    await together.run(LONE)
    assert versions(together, 1)[-1] == (19_999, 9_999, 99, False)
    before = history(together), together.engine.query("SELECT * FROM shop_source.orders ORDER BY 1")
    for step in ("UPDATE orders SET units = units - 1", "DELETE FROM orders WHERE order_id = 1"):
        together.engine.source(step)
        with pytest.raises(FatalError, match=r"^model shop\.fact_order: 1 keys have 9,999 versions.*Remedy: see why"):
            await together.run(LONE)
        assert (history(together), together.engine.query("SELECT * FROM shop_source.orders ORDER BY 1")) == before
