"""Faults that readers of change logs are known for (docs/testing.md names them, with the tests of the others)."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from millrace.change_logs.changed_keys import ChangedKeys
from millrace.change_logs.pgoutput import DecodedBlock
from millrace.change_logs.postgres_log import PostgresLog
from tests.millrace.change_logs.conftest import Orders
from tests.support.engine import counts, pipeline_of

CONFIRMED = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()"


async def test_the_server_is_told_a_position_only_after_the_warehouse_has_it(orders: Orders) -> None:
    """Confirmed before it is safe, a change is lost with the run that read it."""
    await orders.follow()
    await orders.engine.follow(orders.stream)
    before = orders.engine.source(CONFIRMED)
    orders.change("DELETE FROM orders WHERE id = 1")
    await orders.engine.read_log(pipeline_of(orders.stream), [orders.stream])
    await orders.follow()
    assert orders.engine.source(CONFIRMED) == before
    assert await orders.engine.follow(orders.stream) == {}
    assert orders.engine.source(CONFIRMED) == orders.engine.query("SELECT position FROM millrace.logs") != before


async def test_a_transaction_that_wrote_before_the_position_and_ended_after_it_is_read_whole(orders: Orders) -> None:
    """By the places of its changes and not of its end, the first ones would be skipped."""
    await orders.follow()
    with closing(psycopg2.connect(orders.engine.postgres_url)) as writer, writer.cursor() as cursor:
        cursor.execute("UPDATE orders SET note = 'early' WHERE id = 1")
        orders.change("DELETE FROM orders WHERE id = 5")
        assert counts(await orders.follow()) == {"read": 1, "deleted": 1}
        cursor.execute("UPDATE orders SET note = 'late' WHERE id = 2")
        writer.commit()
    assert counts(await orders.follow()) == {"read": 2, "updated": 2}
    orders.assert_equal()


async def test_a_large_transaction_is_folded_to_its_keys(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory follows the number of keys, also of one transaction with savepoints."""
    await orders.follow()
    heights: list[int] = []
    add = ChangedKeys.add

    def add_and_note(changed: ChangedKeys, block: DecodedBlock) -> None:
        heights.extend(keys.height for keys in block.keys.values())
        add(changed, block)

    monkeypatch.setattr(ChangedKeys, "add", add_and_note)
    orders.change(
        "DO $$ BEGIN FOR step IN 1..3000 LOOP "
        "BEGIN UPDATE orders SET note = 'step ' || step; EXCEPTION WHEN division_by_zero THEN NULL; END; "
        "END LOOP; END $$"
    )
    assert counts(await orders.follow()) == {"read": 5, "updated": 5}
    assert heights == [5]
    orders.assert_equal()


async def test_changes_during_the_first_load_are_neither_lost_nor_doubled(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the snapshot and the read of its rows, others write."""
    find_end = PostgresLog._find_end

    def find_end_while_written(log: PostgresLog, control: Any) -> str:
        orders.change("DELETE FROM orders WHERE id = 1", "INSERT INTO orders VALUES (6, 'meanwhile')")
        end = find_end(log, control)
        orders.change("UPDATE orders SET note = 'meanwhile' WHERE id = 2")
        return end

    with monkeypatch.context() as patched:
        patched.setattr(PostgresLog, "_find_end", find_end_while_written)
        assert counts(await orders.follow()) == {"read": 5, "inserted": 5}
    assert counts(await orders.follow()) == {"read": 3, "inserted": 1, "updated": 1, "deleted": 1}
    orders.assert_equal()
