"""What the log does not tell: the whole table is compared in the same run, in place, and the run says why."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from local.stack import Stack
from millrace import ChangeLog, Stream
from millrace.base.errors import MillraceError, RetryableError
from millrace.change_logs.postgres_log import PostgresLog
from tests.millrace.change_logs.conftest import Orders
from tests.support.engine import PUBLICATION, Engine, counts

SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
PARTS = Stream("parts", "postgres:public.parts", ["region", "id"], ChangeLog(), max_delete_share=1.0)
PARTITIONED = (
    "CREATE TABLE parts (region int, id int, note text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);"
    "CREATE TABLE first PARTITION OF parts FOR VALUES IN (1);"
    "CREATE TABLE second PARTITION OF parts FOR VALUES IN (2);"
    "CREATE TABLE third (region int NOT NULL, id int NOT NULL, note text, PRIMARY KEY (region, id));"
    "INSERT INTO parts SELECT 1 + number % 2, number, 'first' FROM generate_series(1, 6) AS number;"
    "INSERT INTO third VALUES (3, 1, 'attached');"
    f"CREATE PUBLICATION {PUBLICATION} FOR TABLE parts (region, id) WITH (publish_via_partition_root = true)"
)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["TRUNCATE orders"], "rewritten"),
        (["BEGIN", "TRUNCATE orders", "INSERT INTO orders VALUES (2, 'again')", "COMMIT"], "rewritten"),
        (["ALTER TABLE orders ADD COLUMN price int DEFAULT 7"], "form of the table"),
        (["ALTER TABLE orders ALTER note TYPE varchar(20) USING note || '!'"], "form of the table"),
        (["ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD COLUMN note text"], "form of the table"),
        ([f"ALTER PUBLICATION {PUBLICATION} DROP TABLE orders", "DELETE FROM orders WHERE id = 1",
          f"ALTER PUBLICATION {PUBLICATION} ADD TABLE orders (id)"], "publication"),
        ([f"ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert')", "DELETE FROM orders WHERE id = 1",
          f"ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert, update, delete, truncate')"], "publication"),
        (["DROP TABLE orders", "CREATE TABLE orders (id int PRIMARY KEY, note text)",
          "INSERT INTO orders VALUES (1, 'another table')", f"ALTER PUBLICATION {PUBLICATION} ADD TABLE orders (id)"],
         "form of the table"),
    ],
    ids=["truncated", "truncated and filled", "default", "type", "column again", "table again", "operations",
         "another table"],
)  # fmt: skip
async def test_a_table_is_compared_as_a_whole_after_what_the_log_does_not_tell(
    orders: Orders, statements: list[str], reason: str
) -> None:
    await orders.follow()
    orders.change(*statements)
    result = await orders.follow()
    assert result.kind == "sweep"
    assert reason in "; ".join(result.warnings)
    orders.assert_equal()
    assert await orders.engine.follow(orders.stream) == {}


@pytest.mark.parametrize(
    "statements",
    [
        ["ALTER TABLE parts ATTACH PARTITION third FOR VALUES IN (3)"],
        ["ALTER TABLE parts DETACH PARTITION second"],
        [
            "ALTER TABLE parts DETACH PARTITION second",
            "DELETE FROM second",
            "ALTER TABLE parts ATTACH PARTITION second FOR VALUES IN (2)",
        ],
        ["TRUNCATE first"],
        ["DROP TABLE first"],
    ],
    ids=["attached", "detached", "attached again", "truncated", "dropped"],
)
async def test_changes_of_partitions(logged: Engine, statements: list[str]) -> None:
    logged.source(PARTITIONED)
    await logged.follow(PARTS)
    logged.source("UPDATE parts SET region = 2 WHERE id = 2; UPDATE parts SET note = 'changed' WHERE id = 3")
    assert counts((await logged.follow(PARTS))["parts"]) == {
        "read": 3,
        "inserted": 1,
        "updated": 1,
        "deleted": 1,
    }
    logged.source("UPDATE parts SET region = 1 WHERE id = 3")
    assert counts((await logged.follow(PARTS))["parts"]) == {"read": 2, "inserted": 1, "deleted": 1}
    for statement in statements:
        logged.source(statement)
    assert (await logged.follow(PARTS))["parts"].kind == "sweep"
    assert logged.rows("parts", "region", "id", "note", order="1, 2") == logged.source(
        "SELECT * FROM parts ORDER BY 1, 2"
    )


async def drop_slot(orders: Orders) -> None:
    orders.change(f"SELECT pg_drop_replication_slot(slot_name) FROM ({SLOTS}) AS slots")


async def advance_slot(orders: Orders) -> None:
    orders.change(f"SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM ({SLOTS}) AS slots")


async def create_slot_again(orders: Orders) -> None:
    ((name,),) = orders.engine.source(SLOTS)
    await drop_slot(orders)
    orders.change(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")


async def move_server(orders: Orders) -> None:
    orders.engine.query("UPDATE millrace.logs SET origin = '1/1/other/slot'")


async def restore_server(orders: Orders) -> None:
    orders.engine.query("UPDATE millrace.logs SET position = 'FFFFFF/0'")


@pytest.mark.parametrize("lose", [drop_slot, advance_slot, create_slot_again, move_server, restore_server])
async def test_a_log_that_does_not_go_on_where_the_ledger_is(orders: Orders, lose: Any) -> None:
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1", "UPDATE orders SET note = 'changed' WHERE id = 2")
    await lose(orders)
    result = await orders.follow()
    assert result.kind == "sweep"
    assert "does not go on" in "; ".join(result.warnings)
    orders.assert_equal()
    assert len(orders.engine.source(SLOTS)) == 1
    orders.change("DELETE FROM orders WHERE id = 2")
    assert counts(await orders.follow()) == {"read": 1, "deleted": 1}


@pytest.mark.parametrize("lose", [advance_slot, create_slot_again, drop_slot])
async def test_a_slot_that_is_lost_while_it_is_read(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Orders], Awaitable[None]]
) -> None:
    """By another run, or a person, between the look at the slot and the read of the log."""
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1")
    find_end = PostgresLog._find_end

    def find_end_late(log: PostgresLog, control: Any) -> str:
        # The log is read in a thread of its own, without a loop.
        asyncio.run(lose(orders))
        return find_end(log, control)

    with monkeypatch.context() as patched, pytest.raises(RetryableError, match="created again while it was read"):
        patched.setattr(PostgresLog, "_find_end", find_end_late)
        await orders.follow()
    assert (await orders.follow()).kind == "sweep"
    orders.assert_equal()


async def test_a_reader_that_ends_late_is_waited_for(orders: Orders) -> None:
    """A run that was killed: its session still reads when the next run wants to move the slot on."""
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1")
    await orders.follow()
    ((name,),) = orders.engine.source(SLOTS)
    reader = psycopg2.connect(orders.engine.postgres_url, connection_factory=LogicalReplicationConnection)
    options = {"proto_version": "1", "publication_names": PUBLICATION}
    reader.cursor().start_replication(slot_name=name, decode=False, options=options)
    ending = threading.Timer(0.5, reader.close)
    ending.start()
    orders.change("DELETE FROM orders WHERE id = 2")
    assert counts(await orders.follow()) == {"read": 1, "deleted": 1}
    ending.join()
    orders.assert_equal()


async def test_a_slot_that_the_server_gave_up_is_created_again(orders: Orders, stack: Stack) -> None:
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1")
    stack.postgres.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    stack.postgres.execute("SELECT pg_reload_conf()")
    for _ in range(3):
        stack.postgres.execute("SELECT pg_switch_wal()")
        stack.postgres.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
    stack.postgres.execute("CHECKPOINT")
    stack.postgres.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
    stack.postgres.execute("SELECT pg_reload_conf()")
    assert orders.engine.source(f"SELECT wal_status FROM pg_replication_slots WHERE slot_name IN ({SLOTS})") == [
        ("lost",)
    ]
    assert (await orders.follow()).kind == "sweep"
    orders.assert_equal()


async def test_a_stream_that_comes_later_is_loaded_beside_the_others(orders: Orders) -> None:
    await orders.follow()
    orders.engine.source("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1), (2)")
    orders.change(f"ALTER PUBLICATION {PUBLICATION} ADD TABLE items (id)", "DELETE FROM orders WHERE id = 1")
    items = replace(orders.stream, name="items", source="postgres:public.items")
    results = await orders.engine.follow(orders.stream, items)
    assert {name: result.kind for name, result in results.items()} == {"orders": "log", "items": "window"}
    orders.change("DELETE FROM items WHERE id = 1", "INSERT INTO items VALUES (3)")
    assert list(await orders.engine.follow(orders.stream, items)) == ["items"]
    assert orders.engine.rows("items", "id") == [(2,), (3,)]


async def test_a_log_that_moved_far_is_given_up_although_nothing_changed(orders: Orders, monkeypatch: Any) -> None:
    await orders.follow()
    monkeypatch.setattr("millrace.change_logs.postgres_log.MOVED_BYTES", 1_000_000)
    confirmed = f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name IN ({SLOTS})"
    before = orders.engine.source(confirmed)
    orders.change("SELECT pg_logical_emit_message(true, 'fill', repeat('x', 2000000))")
    assert counts(await orders.follow()) == {}
    assert await orders.engine.follow(orders.stream) == {}
    assert orders.engine.source(confirmed) > before


async def test_a_truncated_table_is_compared_once_although_another_stream_is_behind(orders: Orders) -> None:
    orders.engine.source("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)")
    orders.change(f"ALTER PUBLICATION {PUBLICATION} ADD TABLE items (id)")
    items = replace(orders.stream, name="items", source="postgres:public.items")
    await orders.engine.follow(orders.stream, items)
    orders.change("TRUNCATE orders")
    assert {name: result.kind for name, result in (await orders.engine.follow(orders.stream, items)).items()} == {
        "orders": "sweep"
    }
    assert await orders.engine.follow(orders.stream, items) == {}


async def test_a_key_that_was_renamed_after_a_change(orders: Orders) -> None:
    await orders.follow()
    orders.change("UPDATE orders SET note = 'changed' WHERE id = 1", "ALTER TABLE orders RENAME id TO number")
    renamed = replace(orders.stream, key="number")
    with pytest.raises(MillraceError, match="key"):
        await orders.engine.follow(renamed)
    orders.engine.query("DROP TABLE engine.orders")
    assert counts((await orders.engine.follow(renamed))["orders"]) == {"read": 5, "inserted": 5}


async def test_a_publication_that_did_not_exist_when_a_change_was_made(orders: Orders) -> None:
    """The log cannot be read on from such a change: it begins again, and the next run compares the whole table."""
    await orders.follow()
    orders.change(
        f"DROP PUBLICATION {PUBLICATION}",
        "DELETE FROM orders WHERE id = 1",
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE orders (id) WITH (publish_via_partition_root = true)",
    )
    with pytest.raises(RetryableError, match="did not exist when a change was made"):
        await orders.follow()
    assert (await orders.follow()).kind == "sweep"
    orders.assert_equal()
