"""Capture by the change log of Postgres: what changed arrives with the next run, and nothing else is read."""

from __future__ import annotations

from millrace import ChangeLog, Stream
from tests.support.engine import Engine, counts

ORDERS = Stream("orders", "postgres:public.orders", "id", ChangeLog())


async def test_every_change_arrives_with_the_next_run(logged: Engine) -> None:
    logged.source(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        "INSERT INTO orders SELECT number, 'first' FROM generate_series(1, 5) AS number;"
        "CREATE PUBLICATION millrace_engine FOR TABLE orders (id) WITH (publish_via_partition_root = true)"
    )
    assert counts((await logged.follow(ORDERS))["orders"]) == {"read": 5, "inserted": 5}
    assert await logged.follow(ORDERS) == {}
    logged.source(
        "INSERT INTO orders VALUES (6, 'new');"
        "UPDATE orders SET note = 'changed' WHERE id = 1;"
        "UPDATE orders SET id = 20 WHERE id = 2;"
        "DELETE FROM orders WHERE id = 3"
    )
    result = (await logged.follow(ORDERS))["orders"]
    assert (result.kind, counts(result)) == ("log", {"read": 5, "inserted": 2, "updated": 1, "deleted": 2})
    assert logged.rows("orders", "id", "note") == logged.source("SELECT id, note FROM orders ORDER BY id")
    assert await logged.follow(ORDERS) == {}
