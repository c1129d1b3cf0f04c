"""Several tables in one commit, on real servers: all of a run is there, or none of it, also for who looks meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from millrace.base.errors import FatalError, Superseded, Unreachable
from tests.support.changed_batches import change_batch
from tests.support.engine import Engine, Together
from tests.support.shop import DESIGN, ORDERS, SHOP, fill
from tests.support.standin_faults import command, inject

TABLES = ("shop_source.design", "shop_source.orders", "shop.dim_design", "shop.fact_order", "shop.days")
LEDGER = ("millrace.batches", "millrace.rejects")
TORN = """
SELECT (SELECT count(*) FROM shop.fact_order AS f LEFT JOIN shop.dim_design AS d ON d.design_id = f.design_id
        WHERE d.design_id IS NULL),
       (SELECT count(*) FROM shop.fact_order AS f LEFT JOIN shop.days AS d ON d.day = f.day WHERE d.day IS NULL),
       (SELECT count(*) FROM shop.fact_order) - (SELECT count(*) FROM shop_source.orders),
       (SELECT count(*) FROM shop_source.orders) - (SELECT sum(rows_inserted) FROM millrace.batches
        WHERE stream = 'orders')
"""
"""Facts without dimension, without day, facts or rows of the ledger without their order: never any."""


def state(together: Together) -> list[object]:
    """Every table, the ledger, and where each stream goes on."""
    engine = together.engine
    found: list[object] = [engine.query(f"SELECT * FROM {table} ORDER BY 1, 2") for table in (*TABLES, *LEDGER)]
    return [*found, *(engine.warehouse.find_state(SHOP, stream).position for stream in (DESIGN, ORDERS))]


@contextmanager
def broken(engine: Engine, statement: str, nth: int) -> Iterator[None]:
    """Within it the connection is cut before the nth such statement."""
    inject(engine, statement, "close", nth)
    try:
        yield
    finally:
        command(engine, "STANDIN RESET")


def change(engine: Engine) -> None:
    """Something for every table."""
    engine.source(
        "UPDATE design SET name = 'changed' WHERE design_id = 1; UPDATE orders SET units = 99 WHERE order_id = 1; "
        "DELETE FROM orders WHERE order_id = 2; INSERT INTO orders VALUES (7, 9, 70, '2025-01-01')"
    )


async def test_a_connection_lost_anywhere_leaves_nothing_of_the_run(on_redshift: Together) -> None:
    """At the first insert, the last, one between, and the commit itself."""
    fill(on_redshift.engine)
    await on_redshift.run(SHOP)
    before = state(on_redshift)
    change(on_redshift.engine)
    batches = on_redshift.transform(SHOP, await on_redshift.read(SHOP))
    stages = sum(bool(batch.files.rows) + bool(batch.files.deletes) for batch in batches)
    inserts = len(TABLES) + 2 + len(batches)  # the deleted order's last version, the missing design, the ledger
    for statement, nth in (("insert", 1), ("insert", 4), ("insert", inserts), ("commit", stages + 1)):
        with broken(on_redshift.engine, statement, nth), pytest.raises(Unreachable):
            on_redshift.load(SHOP, batches)
        assert state(on_redshift) == before, (statement, nth)
    with broken(on_redshift.engine, "insert", inserts + 1):
        on_redshift.load(SHOP, batches)
    assert all(now != then for now, then in zip(state(on_redshift), before, strict=True) if then != [])


async def test_a_failure_at_the_last_table_leaves_nothing_of_the_first(together: Together) -> None:
    """The stream's own table, where somebody made a column NOT NULL."""
    engine = together.engine
    fill(engine)
    await together.run(SHOP)
    engine.query("DROP TABLE shop_source.orders")
    engine.query(
        "CREATE TABLE shop_source.orders (order_id BIGINT, design_id INT, units INT NOT NULL, ordered VARCHAR(256), "
        "changed TIMESTAMPTZ, _row_hash VARCHAR(39), _loaded_at TIMESTAMPTZ)"
    )
    before = state(together)
    engine.source("UPDATE design SET name = 'changed'; UPDATE orders SET units = NULL WHERE order_id = 1")
    with pytest.raises(FatalError, match=r"^stream shop\.orders .*: INSERT: null value in .*units"):
        await together.run(SHOP)
    assert state(together) == before
    engine.source("UPDATE orders SET units = 1 WHERE order_id = 1")
    await together.run(SHOP)
    assert engine.query("SELECT count(*) FROM shop.dim_design WHERE title = 'CHANGED'") == [(3,)]
    assert engine.query("SELECT count(*) FROM shop_source.orders") == [(6,)]


async def test_nobody_sees_a_part_of_a_run(together: Together) -> None:
    """A reader on a connection of its own, who never waits, while five runs are loaded."""
    engine, seen, done = together.engine, set[tuple[object, ...]](), threading.Event()
    fill(engine)
    await together.run(SHOP)

    def look() -> None:
        with closing(engine.connect_warehouse()) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not done.is_set():
                cursor.execute(TORN)
                seen.add(tuple(map(int, cursor.fetchone())))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(10, 15):
            engine.source(
                f"INSERT INTO design VALUES ({number}, 'new'); "
                f"INSERT INTO orders VALUES ({number}, {number}, 1, '2025-01-{number}')"
            )
            await together.run(SHOP)
    finally:
        done.set()
        reader.join()
    assert seen == {(0, 0, 0, 0)}


async def test_one_batch_that_was_superseded_stops_all(on_redshift: Together) -> None:
    """A run that was paused after its read, while another one took a single stream over."""
    fill(on_redshift.engine)
    await on_redshift.run(SHOP)
    on_redshift.engine.source("UPDATE design SET name = 'early'; INSERT INTO orders VALUES (7, 1, 1, '2024-03-07')")
    paused = on_redshift.transform(SHOP, await on_redshift.read(SHOP))
    on_redshift.engine.source("UPDATE design SET name = 'late'")
    taken = on_redshift.transform(SHOP, await on_redshift.read(SHOP, "design"))
    before = state(on_redshift)
    with pytest.raises(Superseded, match="pipeline shop, stream design: another run took the stream over"):
        on_redshift.load(SHOP, paused)
    assert state(on_redshift) == before
    on_redshift.load(SHOP, taken)
    before = state(on_redshift)
    renewed = [change_batch(batch, token=1_000 if batch.progress.token else 0) for batch in paused]
    with pytest.raises(Superseded, match="older, by its lease, than one that is already applied"):
        on_redshift.load(SHOP, renewed)
    assert state(on_redshift) == before
