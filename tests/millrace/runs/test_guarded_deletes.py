"""A run does not delete most of a target by itself, whichever way it finds that rows are gone."""

from __future__ import annotations

from dataclasses import replace

import dataframely as dy
import pytest

from millrace import Model, Replace, Scd2
from millrace.base.errors import ConfigurationError, TooManyDeletes
from tests.support import shop
from tests.support.engine import Engine, Together
from tests.support.guarded import ALLOW_DELETES, ROWS, WHOLE, everything, fill
from tests.support.notes import NOTES

REPLACED = replace(WHOLE, load=Replace(), key="")
WAYS = {
    "a sweep": replace(NOTES, sweep="every run"),
    "a sweep that marks": replace(NOTES, sweep="every run", deletes="soft"),
    "a snapshot": WHOLE,
    "a snapshot that marks": replace(WHOLE, deletes="soft"),
    "a snapshot that replaces": REPLACED,
    "a snapshot of versions": replace(WHOLE, load=Scd2("version_id")),
}


@pytest.mark.parametrize("left", [0, 99], ids=["emptied", "half restored"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_source_that_lost_most_of_its_rows_deletes_nothing_until_a_person_allows_it(
    either: Engine, way: str, left: int
) -> None:
    stream = WAYS[way]
    fill(either)
    await either.run(stream)
    before = everything(either)
    either.source(f"DELETE FROM notes WHERE id > {left}")
    told = rf"{ROWS - left} of the {ROWS} rows of engine\.notes .* 50% \(max_delete_share\).*--allow-deletes"
    with pytest.raises(TooManyDeletes, match=told):
        await either.run(stream)
    assert everything(either) == before, "nothing was committed"
    result = await either.run(stream, ALLOW_DELETES)
    assert result is not None
    assert result.deleted == ROWS - left


async def test_half_of_the_rows_may_go_and_any_share_of_a_small_target(engine: Engine) -> None:
    fill(engine)
    await engine.run(WHOLE)
    for gone in (100, 50, 50):
        engine.source(f"DELETE FROM notes WHERE id IN (SELECT id FROM notes LIMIT {gone})")
        result = await engine.run(WHOLE)
        assert result is not None
        assert result.deleted == gone


async def test_the_share_is_of_the_rows_that_are_present_now(engine: Engine) -> None:
    """Rows that were marked before do not make room for more."""
    stream = replace(WHOLE, deletes="soft")
    fill(engine, rows=400)
    await engine.run(stream)
    engine.source("DELETE FROM notes WHERE id <= 200")
    await engine.run(stream)
    engine.source("DELETE FROM notes WHERE id <= 310")
    with pytest.raises(TooManyDeletes, match="110 of the 200 rows"):
        await engine.run(stream)


async def test_a_replaced_table_whose_every_row_changed_loses_none(engine: Engine) -> None:
    fill(engine)
    await engine.run(REPLACED)
    engine.source("UPDATE notes SET body = 'another'")
    result = await engine.run(REPLACED)
    assert result is not None
    assert (result.inserted, result.deleted) == (ROWS, ROWS)


@pytest.mark.parametrize(("share", "gone"), [(0, 1), (0.05, 11)])
async def test_a_stream_sets_its_own_share(engine: Engine, share: float, gone: int) -> None:
    stream = replace(WHOLE, max_delete_share=share)
    fill(engine)
    await engine.run(stream)
    engine.source(f"DELETE FROM notes WHERE id <= {gone}")
    with pytest.raises(TooManyDeletes):
        await engine.run(stream)
    result = await engine.run(replace(stream, max_delete_share=1))
    assert result is not None
    assert result.deleted == gone


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_a_delete_share_that_is_no_share_is_refused(share: object) -> None:
    with pytest.raises(ConfigurationError, match="max_delete_share"):
        replace(NOTES, max_delete_share=share)


async def test_deletes_that_are_ignored_are_not_counted(engine: Engine) -> None:
    stream = replace(WHOLE, deletes="ignore")
    fill(engine)
    await engine.run(stream)
    engine.source("DELETE FROM notes")
    result = await engine.run(stream)
    assert result is not None
    assert result.deleted == 0


async def test_a_model_deletes_most_of_its_rows_only_if_a_person_allows_it(on_redshift: Together) -> None:
    engine = on_redshift.engine
    shop.fill(engine, designs=ROWS)
    design = replace(shop.DESIGN, max_delete_share=1)
    pipeline = replace(shop.SHOP, streams=[design, shop.ORDERS], models=[shop.DIM_DESIGN])
    await on_redshift.run(pipeline)
    engine.source("DELETE FROM orders; DELETE FROM design WHERE design_id > 20")
    with pytest.raises(TooManyDeletes, match=r"model shop\.dim_design"):
        await on_redshift.run(pipeline)
    assert engine.query("SELECT count(*) FROM shop_source.design") == [(ROWS,)], "all or nothing"
    done = await on_redshift.run(pipeline, read_request=ALLOW_DELETES)
    assert done["dim_design"].deleted == ROWS - 20


async def test_a_model_that_is_replaced_is_guarded_though_rows_of_it_were_rejected(on_redshift: Together) -> None:
    """The batch is not complete then, and yet what it lacks is not written again."""
    engine = on_redshift.engine
    shop.fill(engine, designs=ROWS)
    listed = Model(shop.dim_design, shop.DimDesign, "design_id", load=Replace(), max_reject_share=1)
    pipeline = replace(shop.SHOP, streams=[shop.DESIGN], models=[listed])
    await on_redshift.run(pipeline)
    engine.source("UPDATE design SET name = NULL WHERE design_id > 20")
    with pytest.raises(TooManyDeletes, match=r"180 of the 200 rows of shop\.dim_design"):
        await on_redshift.run(pipeline)


async def test_a_replaced_model_holds_rows_whose_source_is_rejected_now(on_redshift: Together) -> None:
    class Named(dy.Schema):
        name = dy.String(nullable=False)

    engine = on_redshift.engine
    shop.fill(engine, designs=ROWS)
    design = replace(shop.DESIGN, contract=Named, max_reject_share=1)
    listed = Model(shop.dim_design, shop.DimDesign, "design_id", load=Replace())
    pipeline = replace(shop.SHOP, streams=[design], models=[listed])
    await on_redshift.run(pipeline)
    engine.source("UPDATE design SET name = NULL WHERE design_id > 20")
    await on_redshift.run(pipeline)
    assert engine.query("SELECT count(*) FROM shop.dim_design") == [(ROWS,)]
