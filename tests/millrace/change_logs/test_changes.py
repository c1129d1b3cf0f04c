"""Capture by the change log of Postgres: what changed arrives with the next run, and nothing else is read."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from millrace import ChangeLog, Scd2, Stream
from millrace.base.errors import ConfigurationError, Superseded
from millrace.change_logs import postgres_peek
from millrace.change_logs.postgres_peek import SlotMessages
from millrace.declaration.consent import Consent
from millrace.runs import changed_rows
from millrace.runs.choose import Mode, ReadRequest
from millrace.runs.look_up import LookUps
from millrace.sources.postgres import PostgresSource
from tests.millrace.change_logs.conftest import Orders
from tests.support.engine import PUBLICATION, Engine, counts, pipeline_of

ORDERS = Stream("orders", "postgres:public.orders", "id", ChangeLog(), max_delete_share=1.0)


async def test_every_change_arrives_with_the_next_run(orders: Orders) -> None:
    assert counts(await orders.follow()) == {"read": 5, "inserted": 5}
    assert await orders.engine.follow(ORDERS) == {}
    orders.change(
        "INSERT INTO orders VALUES (6, 'new')",
        "UPDATE orders SET note = 'changed' WHERE id = 1",
        "UPDATE orders SET id = 20 WHERE id = 2",
        "DELETE FROM orders WHERE id = 3",
    )
    result = await orders.follow()
    assert (result.kind, counts(result)) == ("log", {"read": 5, "inserted": 2, "updated": 1, "deleted": 2})
    orders.assert_equal()
    assert await orders.engine.follow(ORDERS) == {}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["UPDATE orders SET note = 'same'", "UPDATE orders SET note = 'first'"], {"read": 5, "unchanged": 5}),
        (["BEGIN", "DELETE FROM orders", "ROLLBACK"], None),
        (
            ["BEGIN", "SAVEPOINT s", "DELETE FROM orders", "ROLLBACK TO s",
             "DELETE FROM orders WHERE id = 1", "COMMIT"],
            {"read": 1, "deleted": 1},
        ),
        (["BEGIN", "DELETE FROM orders WHERE id = 1", "INSERT INTO orders VALUES (1, 'again')", "COMMIT"],
         {"read": 1, "updated": 1}),
        (["INSERT INTO orders VALUES (9, 'short-lived')", "DELETE FROM orders WHERE id = 9"],
         {"read": 1, "unchanged": 1}),
        (
            ["BEGIN", "UPDATE orders SET id = -1 WHERE id = 1", "UPDATE orders SET id = 1 WHERE id = 2",
             "UPDATE orders SET id = 2 WHERE id = -1", "UPDATE orders SET note = 'swapped' WHERE id = 2", "COMMIT"],
            {"read": 3, "updated": 1, "unchanged": 2},
        ),
        (["BEGIN", "DELETE FROM orders WHERE id = 4", "PREPARE TRANSACTION 'two'", "COMMIT PREPARED 'two'"],
         {"read": 1, "deleted": 1}),
    ],
    ids=["back again", "rolled back", "savepoint", "put in again", "short-lived", "keys swapped", "prepared"],
)  # fmt: skip
async def test_changes_within_and_across_transactions(
    orders: Orders, statements: list[str], expected: dict[str, int] | None
) -> None:
    await orders.follow()
    orders.change(*statements)
    result = (await orders.engine.follow(ORDERS)).get("orders")
    assert (counts(result) if result else None) == expected
    orders.assert_equal()


async def test_a_value_that_the_log_does_not_carry_is_read_from_the_table(orders: Orders) -> None:
    orders.change("UPDATE orders SET note = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) AS n)")
    await orders.follow()
    orders.change("ALTER TABLE orders ADD COLUMN price int")
    await orders.follow()
    orders.change("UPDATE orders SET price = 5 WHERE id = 2")
    assert counts(await orders.follow()) == {"read": 1, "updated": 1}
    orders.assert_equal("id", "note", "price")


async def test_a_prepared_transaction_that_is_open_holds_nothing_back(orders: Orders) -> None:
    await orders.follow()
    orders.change("BEGIN", "DELETE FROM orders WHERE id = 4", "PREPARE TRANSACTION 'open'")
    orders.change("DELETE FROM orders WHERE id = 5")
    assert counts(await orders.follow()) == {"read": 1, "deleted": 1}
    orders.change("COMMIT PREPARED 'open'")
    assert counts(await orders.follow()) == {"read": 1, "deleted": 1}
    orders.assert_equal()


async def test_rows_that_leave_the_declared_condition_are_deleted_without_a_pass_over_all_keys(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresSource, "find_in_all_rows", None)
    chosen = replace(ORDERS, where="note <> 'hidden'")
    await orders.engine.follow(chosen)
    orders.change("UPDATE orders SET note = 'hidden' WHERE id < 3")
    assert counts((await orders.engine.follow(chosen))["orders"]) == {"read": 2, "deleted": 2}
    orders.change("UPDATE orders SET note = 'shown' WHERE id = 1")
    assert counts((await orders.engine.follow(chosen))["orders"]) == {"read": 1, "inserted": 1}


async def test_versions_are_kept_of_what_the_log_finds(orders: Orders) -> None:
    versions = replace(ORDERS, load=Scd2("version_id"))
    await orders.engine.follow(versions)
    orders.change("UPDATE orders SET note = 'changed' WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    await orders.engine.follow(versions)
    current = orders.engine.query("SELECT id, note FROM engine.orders WHERE is_current ORDER BY 1")
    assert current == [(1, "changed"), (3, "first"), (4, "first"), (5, "first")]
    assert orders.engine.query("SELECT count(*) FROM engine.orders") == [(6,)]


async def test_soft_deletes_mark_the_rows_that_the_log_names(orders: Orders) -> None:
    soft = replace(ORDERS, deletes="soft")
    await orders.engine.follow(soft)
    orders.change("DELETE FROM orders WHERE id = 2")
    assert counts((await orders.engine.follow(soft))["orders"]) == {"read": 1, "deleted": 1}
    assert orders.engine.query("SELECT id FROM engine.orders WHERE _deleted_at IS NOT NULL") == [(2,)]


async def test_what_was_read_and_not_loaded_is_read_again(orders: Orders) -> None:
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1")
    await orders.engine.read_log(pipeline_of(ORDERS), [ORDERS])
    assert counts(await orders.follow()) == {"read": 1, "deleted": 1}


async def test_of_two_runs_that_read_the_same_position_one_is_superseded(orders: Orders) -> None:
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1")
    pipeline = pipeline_of(ORDERS)
    (first,), (second,) = [await orders.engine.read_log(pipeline, [ORDERS]) for _ in range(2)]
    orders.engine.warehouse.load(pipeline, [second], orders.engine.store)
    with pytest.raises(Superseded):
        orders.engine.warehouse.load(pipeline, [first], orders.engine.store)
    # A lease that ended in the meantime is no excuse: the position itself is compared.
    log = first.progress.log
    assert log is not None
    late = replace(first, batch_id=f"{first.batch_id}x", progress=replace(first.progress, token=99, log=log))
    orders.engine.query("UPDATE millrace.leases SET token = 99")
    with pytest.raises(Superseded, match="was passed since"):
        orders.engine.warehouse.load(pipeline, [late], orders.engine.store)


async def test_a_slot_that_forgot_a_confirmation_gives_nothing_twice(orders: Orders) -> None:
    """As after a crash of the server: it hands out again what was loaded."""
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1")
    await orders.follow()
    assert await orders.engine.follow(ORDERS) == {}


async def test_a_dropped_target_is_loaded_again(orders: Orders) -> None:
    await orders.follow()
    orders.engine.query("DROP TABLE engine.orders")
    orders.change("DELETE FROM orders WHERE id = 1")
    assert counts(await orders.follow()) == {"read": 4, "inserted": 4}
    orders.assert_equal()


async def test_a_transaction_that_waits_for_its_standby_is_not_passed(orders: Orders, logged: Engine) -> None:
    """The log tells it before the table shows it. Drained first and read by key then, the change would be lost."""
    await orders.follow()
    orders.wait_for_a_standby()
    with closing(psycopg2.connect(logged.postgres_url, async_=True)) as writer:
        orders.begin_waiting(writer, "UPDATE orders SET note = 'late' WHERE id = 1")
        assert logged.source("SELECT note FROM orders WHERE id = 1") == [("first",)]
        assert await logged.follow(ORDERS) == {}
        orders.change("SET synchronous_commit = local; UPDATE orders SET note = 'later' WHERE id = 2")
        assert counts(await orders.follow()) == {"read": 1, "updated": 1}
        orders.release()
    assert counts(await orders.follow()) == {"read": 2, "updated": 1, "unchanged": 1}
    orders.assert_equal()


async def test_a_change_that_is_not_shown_yet_hides_no_earlier_one(orders: Orders, logged: Engine) -> None:
    await orders.follow()
    orders.wait_for_a_standby()
    orders.change("UPDATE orders SET note = 'early' WHERE id = 1")
    with closing(psycopg2.connect(logged.postgres_url, async_=True)) as writer:
        orders.begin_waiting(writer, "UPDATE orders SET note = 'late' WHERE id = 1")
        assert counts(await orders.follow()) == {"read": 1, "updated": 1}
        orders.assert_equal()
        orders.release()
    assert counts(await orders.follow()) == {"read": 1, "updated": 1}
    orders.assert_equal()


async def test_a_backlog_of_days_is_read_in_steps_from_a_copy_of_the_slot(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step has a temporary file of its own in the source, and all of them one snapshot and one commit."""
    await orders.follow()
    monkeypatch.setattr(postgres_peek, "STEP_BYTES", 100_000)
    asked: list[str] = []
    select = SlotMessages._select

    def select_and_note(messages: SlotMessages, verb: str, slot: str, position: int) -> str:
        asked.append(verb)
        return select(messages, verb, slot, position)

    monkeypatch.setattr(SlotMessages, "_select", select_and_note)
    for number in range(5):
        orders.change(
            f"UPDATE orders SET note = 'step {number}' WHERE id <= {number}",
            "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 200000))",
        )
    assert counts(await orders.follow()) == {"read": 4, "updated": 4}
    assert len(asked) > 8
    assert set(asked) == {"get"}
    orders.assert_equal()
    slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
    assert orders.engine.source(slots) == [(1,)]


async def test_many_changed_rows_are_read_by_one_pass_over_the_table(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = replace(ORDERS, where="note <> 'hidden'")
    await orders.engine.follow(chosen)
    monkeypatch.setattr(changed_rows, "FEW_KEYS", 0)
    asked: list[int] = []
    look_up = LookUps.look_up

    async def look_up_and_note(look_ups: LookUps, scanned: list[Any], missing: list[Any]) -> None:
        asked.append(len(scanned) + len(missing))
        await look_up(look_ups, scanned, missing)

    monkeypatch.setattr(LookUps, "look_up", look_up_and_note)
    statements = (
        "UPDATE orders SET note = 'changed' WHERE id = 1",
        "UPDATE orders SET note = 'hidden' WHERE id = 2",
        "UPDATE orders SET id = 6 WHERE id = 3",
        "DELETE FROM orders WHERE id = 4",
        "ANALYZE orders",
    )
    orders.change(*statements)
    result = (await orders.engine.follow(chosen))["orders"]
    assert (result.kind, counts(result)) == ("log", {"read": 5, "inserted": 1, "updated": 1, "deleted": 3})
    assert orders.engine.rows("orders", "id", "note") == [(1, "changed"), (5, "first"), (6, "first")]
    assert asked == [3]
    monkeypatch.setattr(changed_rows, "MANY_SHARE", 1.0)
    orders.change("UPDATE orders SET note = 'once more'")
    assert counts((await orders.engine.follow(chosen))["orders"]) == {"read": 4, "inserted": 1, "updated": 3}
    assert asked == [3, 4]


async def test_changes_without_a_stamp_have_an_age(orders: Orders) -> None:
    assert (await orders.follow()).freshness is None
    orders.change(
        "UPDATE orders SET note = 'old' WHERE id = 1", "SELECT pg_sleep(1)", "DELETE FROM orders WHERE id > 1"
    )
    freshness = (await orders.follow()).freshness
    assert freshness is not None
    assert (freshness.stamped, freshness.silent) == (5, 0)
    assert freshness.p50_seconds is not None
    assert freshness.max_seconds is not None
    assert freshness.max_seconds - freshness.p50_seconds == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("full", "snapshot", {"read": 5, "updated": 1, "deleted": 1, "unchanged": 3}),
        ("sweep", "sweep", {"read": 5, "updated": 1, "deleted": 1, "unchanged": 3}),
        ("reload", "window", {"read": 4, "inserted": 4}),
    ],
)
async def test_what_a_person_asks_for_brings_the_position_on_too(
    orders: Orders, mode: Mode, kind: str, expected: dict[str, int]
) -> None:
    await orders.follow()
    orders.change("DELETE FROM orders WHERE id = 1", "UPDATE orders SET note = 'changed' WHERE id = 2")
    result = (await orders.engine.follow(ORDERS, read_request=ReadRequest(mode)))["orders"]
    assert (result.kind, counts(result)) == (kind, expected)
    orders.assert_equal()
    assert await orders.engine.follow(ORDERS) == {}
    orders.change("DELETE FROM orders WHERE id = 3")
    assert counts(await orders.follow()) == {"read": 1, "deleted": 1}


async def test_a_window_cannot_be_asked_for(orders: Orders) -> None:
    with pytest.raises(ConfigurationError, match="no cursor"):
        await orders.engine.follow(ORDERS, read_request=ReadRequest(start="2026-01-01"))


async def test_another_source_must_be_accepted(orders: Orders) -> None:
    await orders.follow()
    orders.change("CREATE TABLE other (LIKE orders INCLUDING ALL)", "INSERT INTO other VALUES (1, 'other')")
    orders.change(f"ALTER PUBLICATION {PUBLICATION} ADD TABLE other (id)")
    moved = replace(ORDERS, source="postgres:public.other")
    with pytest.raises(ConfigurationError, match="accept-source"):
        await orders.engine.follow(moved)
    allowed = ReadRequest(consent=Consent(accept_source=True))
    result = (await orders.engine.follow(moved, read_request=allowed))["orders"]
    assert counts(result) == {"read": 5, "updated": 1, "deleted": 4}
