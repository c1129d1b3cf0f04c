"""Snapshot capture on real servers: every run finds what came, what changed and what is gone."""

from __future__ import annotations

from dataclasses import replace

import dataframely as dy

from millrace import Pipeline, Stream
from tests.support.engine import Engine, Together, counts
from tests.support.shop import DESIGN, DIM_DESIGN, ORDERS, SHOP, fill


class Named(dy.Schema):
    """A design must have a name."""

    name = dy.String(nullable=False)


class Sold(dy.Schema):
    """An order must have units."""

    units = dy.Int32(nullable=False)


CHECKED = replace(DESIGN, contract=Named)
DESIGNS = replace(SHOP, streams=[CHECKED], models=[DIM_DESIGN])
"""Designs and their dimension, nothing else."""


def dimension(engine: Engine) -> list[tuple[object, ...]]:
    """Key, title, whether it is there."""
    return engine.query('SELECT design_id, title, "_deleted_at" IS NULL FROM shop.dim_design ORDER BY 1')


def replica(engine: Engine) -> list[tuple[object, ...]]:
    return engine.query("SELECT design_id, name FROM shop_source.design ORDER BY 1")


def open_rejects(engine: Engine, pipeline: Pipeline, stream: Stream) -> list[tuple[str, str, int]]:
    return [(one.reason, one.field, one.rows) for one in engine.warehouse.list_open_rejects(pipeline, stream)]


async def test_every_run_finds_what_came_changed_and_left(together: Together) -> None:
    """None of it has a stamp that would show it. The stream takes out what is gone, the model marks it."""
    engine = together.engine
    fill(engine, designs=4)
    first = await together.run(DESIGNS)
    assert {name: counts(one) for name, one in first.items()} == {
        name: {"read": 4, "inserted": 4} for name in ("design", "dim_design")
    }
    engine.source(
        "INSERT INTO design VALUES (5, 'new', '2020-01-01'); UPDATE design SET name = 'silent' WHERE design_id = 1; "
        "DELETE FROM design WHERE design_id IN (2, 3)"
    )
    second = await together.run(DESIGNS)
    assert {name: counts(one) for name, one in second.items()} == {
        name: {"read": 5, "inserted": 1, "updated": 1, "deleted": 2, "unchanged": 1}
        for name in ("design", "dim_design")
    }
    assert replica(engine) == [(1, "silent"), (4, "design 4"), (5, "new")]
    assert dimension(engine) == [
        (1, "SILENT", True), (2, "DESIGN 2", False), (3, "DESIGN 3", False), (4, "DESIGN 4", True), (5, "NEW", True),
    ]  # fmt: skip
    engine.source("INSERT INTO design VALUES (2, 'design 2', '2020-01-01')")
    assert counts((await together.run(DESIGNS))["dim_design"]) == {"read": 4, "updated": 1, "unchanged": 3}
    assert dimension(engine)[1] == (2, "DESIGN 2", True), "back with the very values it had"


async def test_a_run_without_changes_changes_nothing(on_redshift: Together) -> None:
    fill(on_redshift.engine)
    await on_redshift.run(DESIGNS)
    tables = "SELECT * FROM shop_source.design ORDER BY 1", "SELECT * FROM shop.dim_design ORDER BY 1"
    before = [on_redshift.engine.query(table) for table in tables]
    results = await on_redshift.run(DESIGNS)
    assert [counts(one) for one in results.values()] == [{"read": 3, "unchanged": 3}] * 2
    assert [on_redshift.engine.query(table) for table in tables] == before


async def test_a_table_that_is_empty_at_first_has_its_targets_and_one_that_is_emptied_too(together: Together) -> None:
    engine = together.engine
    fill(engine, designs=0, orders=0)
    results = await together.run(DESIGNS)
    assert {name: (one.read, one.changes) for name, one in results.items()} == {
        "design": (0, ("create table shop_source.design",)),
        "dim_design": (0, ("create table shop.dim_design",)),
    }
    assert (replica(engine), dimension(engine)) == ([], [])
    engine.source("INSERT INTO design VALUES (1, 'first'), (2, 'second')")
    await together.run(DESIGNS)
    assert dimension(engine) == [(1, "FIRST", True), (2, "SECOND", True)]
    engine.source("DELETE FROM design")
    results = await together.run(DESIGNS)
    assert [counts(one) for one in results.values()] == [{"read": 2, "deleted": 2}] * 2
    assert (replica(engine), dimension(engine)) == ([], [(1, "FIRST", False), (2, "SECOND", False)])
    assert [counts(one) for one in (await together.run(DESIGNS)).values()] == [{}, {}], "counted once"


async def test_a_rejected_row_keeps_everything_until_it_is_mended(together: Together) -> None:
    """It is still in the source, so that what a snapshot lacks may be there too."""
    engine = together.engine
    fill(engine)
    await together.run(DESIGNS)
    engine.source("UPDATE design SET name = NULL WHERE design_id = 1; DELETE FROM design WHERE design_id = 2")
    for _ in range(2):
        results = await together.run(DESIGNS)
        assert counts(results["design"]) == {"read": 2, "unchanged": 1, "rejected": 1}
        assert results["design"].warnings == ("rows were rejected, so nothing is taken for deleted",)
        assert replica(engine) == [(1, "design 1"), (2, "design 2"), (3, "design 3")]
        assert dimension(engine) == [(key, f"DESIGN {key}", True) for key in (1, 2, 3)]
        assert open_rejects(engine, DESIGNS, CHECKED) == [("contract_nullability", "name", 1)], "one row, met twice"
    engine.source("UPDATE design SET name = 'mended' WHERE design_id = 1")
    results = await together.run(DESIGNS)
    assert counts(results["design"]) == {"read": 3, "updated": 1, "deleted": 1, "unchanged": 1}
    assert results["design"].warnings == ()
    assert dimension(engine) == [(1, "MENDED", True), (2, "DESIGN 2", False), (3, "DESIGN 3", True)]
    assert open_rejects(engine, DESIGNS, CHECKED) == []


async def test_a_bad_row_that_three_sweeps_meet_is_one_open_reject(on_redshift: Together) -> None:
    engine, stream = on_redshift.engine, replace(ORDERS, contract=Sold)
    pipeline = replace(SHOP, streams=[stream], models=[])
    fill(engine)
    await on_redshift.run(pipeline)
    engine.source("UPDATE orders SET units = NULL WHERE order_id = 1")
    for _ in range(3):
        results = await on_redshift.run(pipeline)
        assert (results["orders"].kind, results["orders"].rejected) == ("sweep", 1)
        assert open_rejects(engine, pipeline, stream) == [("contract_nullability", "units", 1)]
    engine.source("UPDATE orders SET units = 1 WHERE order_id = 1")
    await on_redshift.run(pipeline)
    assert open_rejects(engine, pipeline, stream) == []
    assert engine.query("SELECT count(*), count(closed_by) FROM millrace.rejects") == [(3, 3)]


async def test_what_left_follows_the_policy(on_redshift: Together) -> None:
    engine = on_redshift.engine
    fill(engine)
    streams = [replace(DESIGN, name=policy, deletes=policy) for policy in ("hard", "soft", "ignore")]
    pipeline = Pipeline("shop", streams)
    await on_redshift.run(pipeline)
    engine.source("DELETE FROM design WHERE design_id > 1")
    for deleted in (2, 0):
        results = await on_redshift.run(pipeline)
        assert {name: one.deleted for name, one in results.items()} == {"hard": deleted, "soft": deleted, "ignore": 0}
    assert engine.query("SELECT design_id FROM shop.hard ORDER BY 1") == [(1,)]
    assert engine.query('SELECT design_id, "_deleted_at" IS NULL FROM shop.soft ORDER BY 1') == [
        (1, True), (2, False), (3, False),
    ]  # fmt: skip
    assert engine.query("SELECT count(*) FROM shop.ignore") == [(3,)]
