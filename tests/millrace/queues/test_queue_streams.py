"""What was collected of a queue on its way into either warehouse: each message once, whatever came in which order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, Incremental, Merge, Model, Pipeline, Queue, Stream, text
from millrace.base.errors import ConfigurationError
from millrace.declaration.captures import Reconcile
from millrace.declaration.load_mode_base import LoadMode
from millrace.declaration.load_modes import Replace
from millrace.queues.objects import collected_prefix, key_of
from millrace.queues.queue import Message
from millrace.queues.source import CollectedSource
from millrace.runs.choose import read
from millrace.runs.context import StreamContext
from millrace.runs.dead_letters import DeadLetters, send_dead_letters
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import NOW, PIPELINE, Engine, Together, pipeline_of
from tests.support.lost_objects import replace_without
from tests.support.queue_messages import LATER, NOON, collect, collect_identified, order


class Order(dy.Schema):
    """What a message of these tests must be."""

    id = dy.String(nullable=False, max_length=8)
    placed_at = dy.Datetime(nullable=False, time_unit="us", time_zone="UTC")
    due_at = dy.Datetime(nullable=True, time_unit="us")
    quantity = dy.Int64(nullable=True, min=0)
    note = dy.String(nullable=True)
    country = dy.String(nullable=True)


ORDERS = Stream(
    "orders",
    "sqs/orders",
    "id",
    Queue(stamp="placed_at", dead_letters="orders-dead-letter"),
    load=Append(),
    contract=Order,
    types={"note": text(8)},
    rewritten={"country": pl.col("country").str.to_lowercase()},
    omitted=["token"],
    sorted_by="placed_at",
)


class Invoice(dy.Schema):
    """A contract with fields that a message may lack."""

    id = dy.String(nullable=False)
    paid_by = dy.String(nullable=True)


async def test_a_column_of_the_contract_is_filled_by_the_first_field_that_has_its_name(engine: Engine) -> None:
    invoices = replace(ORDERS, contract=Invoice, types={}, rewritten={}, sorted_by="", capture=Queue())
    collect(engine, order("a"))
    await engine.run(invoices)
    collect(engine, order("b", paidBy="card"))
    await engine.run(invoices)
    assert engine.rows("orders", "id", "paid_by") == [("a", None), ("b", "card")]


async def test_messages_become_rows_of_the_contract_and_what_they_bring_besides(engine: Engine) -> None:
    collect(
        engine,
        order("a", quantity="9007199254740993", due_at="2026-01-06 00:00:00.5", country="DE", token="secret"),
        order("b", placed_at="2026-01-05 10:00:00Z", quantity=2, note="longer than eight", extra={"gift": True}),
    )
    result = await engine.run(ORDERS)
    assert result and (result.read, result.inserted, result.rejected) == (2, 2, 0)
    columns = ("id", "placed_at", "due_at", "quantity", "note", "country", "extra_gift")
    assert engine.rows("orders", *columns) == [
        (
            "a",
            datetime(2026, 1, 5, 9, 0, 0, 123_000, UTC),
            datetime.fromisoformat("2026-01-06T00:00:00.5"),
            2**53 + 1,
            None,
            "de",
            None,
        ),
        ("b", datetime(2026, 1, 5, 10, tzinfo=UTC), None, 2, "longer than eight", None, True),
    ]
    assert "token" not in {
        column
        for (column,) in engine.query(
            f"SELECT column_name FROM information_schema.columns WHERE table_schema = '{PIPELINE}'"
        )
    }


async def test_what_comes_twice_is_one_row(engine: Engine) -> None:
    """Within an object, across objects, and days later."""
    collect(engine, order("a"), order("b"), order("a"))
    collect(engine, order("b"), json.dumps(dict(reversed(json.loads(order("a")).items()))))
    first = await engine.run(ORDERS)
    assert first and (first.read, first.inserted, first.unchanged) == (5, 2, 3)
    (told,) = first.warnings
    assert told.startswith("no row had a value of 'note' (types), 'token' (omitted), 'country' (rewritten)")
    collect(engine, order("a"), order("c"), at=LATER)
    second = await engine.run(ORDERS)
    assert second and (second.read, second.inserted, second.unchanged) == (2, 1, 1)
    assert [key for (key,) in engine.rows("orders", "id")] == ["a", "b", "c"]


class Placed(dy.Schema):
    """An order by its quantity."""

    quantity = dy.Int64(nullable=False)
    id = dy.String(nullable=False)


def placed(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select("quantity", "id")


async def run_together(together: Together, own: Pipeline) -> dict[str, LoadResult]:
    engine, (stream,) = together.engine, own.streams
    source = CollectedSource(engine.store, own, engine.warehouse.find_collected)
    with engine.warehouse.lease(own, stream, engine.holder) as token:
        batch = await read(StreamContext(source, engine.landing(token), engine.warehouse, own, stream), NOW)
    assert batch is not None
    return together.load(own, together.transform(own, [batch]))


async def test_models_are_given_once_what_comes_twice(on_redshift: Together) -> None:
    """As the stream's own table holds it."""
    engine = on_redshift.engine
    own = Pipeline(PIPELINE, [replace(ORDERS, load=Merge())], models=[Model(placed, Placed, "quantity")])
    collect(engine, order("a", quantity=1), order("b", quantity=2))
    await run_together(on_redshift, own)
    twice = (order("a", quantity=3), order("a", quantity=4, placed_at="2026-01-06T10:00:00Z"))
    collect(engine, *twice, *twice[:1], at=LATER)
    assert (await run_together(on_redshift, own))["placed"].warnings == ()
    assert engine.query(f'SELECT quantity, id FROM {PIPELINE}.placed WHERE "_deleted_at" IS NULL ORDER BY 1') == [
        (2, "b"),
        (4, "a"),
    ]


async def test_a_new_model_of_messages_tells_what_it_lacks(on_redshift: Together) -> None:
    own = Pipeline(PIPELINE, [replace(ORDERS, load=Merge())], models=[Model(placed, Placed, "quantity")])
    collect(on_redshift.engine, order("a", quantity=1))
    await run_together(on_redshift, replace(own, models=[]))
    collect(on_redshift.engine, order("b", quantity=2), at=LATER)
    (told,) = (await run_together(on_redshift, own))["placed"].warnings
    assert told.startswith(
        "it was never loaded, and messages are not read again: it holds those from now on (`millrace"
    )


class Numbered(Order):
    """The contract names its key."""

    id = dy.String(primary_key=True, max_length=8)


@pytest.mark.parametrize("load", [Append(), Merge()])
async def test_what_comes_twice_is_one_row_also_where_the_contract_names_the_key(
    engine: Engine, load: Append | Merge
) -> None:
    """Within an object, across objects, and days later; what breaks another rule is rejected, and that alone."""
    stream = replace(ORDERS, contract=Numbered, load=load)
    collect(engine, order("a"), order("b"), order("a"), order("c", quantity=-1), order("c"))
    collect(engine, order("b"), order("a"))
    first = await engine.run(stream)
    assert first and (first.read, first.inserted, first.unchanged, first.rejected) == (7, 3, 3, 1)
    collect(engine, order("a"), order("a"), order("d"), at=LATER)
    second = await engine.run(stream)
    assert second and (second.read, second.inserted, second.unchanged, second.rejected) == (3, 1, 2, 0)
    assert [key for (key,) in engine.rows("orders", "id")] == ["a", "b", "c", "d"]


async def test_a_message_that_is_delivered_twice_is_one_message(engine: Engine) -> None:
    """Also one that is rejected: a consumer died after it was stored and before it was deleted."""
    messages = [("1", order("a")), ("2", "{"), ("3", "{")]
    collect_identified(engine, messages)
    collect_identified(engine, [*messages, *messages[:2]], LATER)
    result = await engine.run(ORDERS)
    assert result and (result.read, result.inserted, result.rejected) == (3, 1, 2)


async def test_every_object_is_read_once_though_it_appears_out_of_order(engine: Engine) -> None:
    """A consumer that is slow finishes an object that was named before others which are applied already."""
    collect(engine, order("a"))
    collect(engine, order("b"), at=NOON + timedelta(minutes=10))
    first = await engine.run(ORDERS)
    assert first and first.read == 2
    collect(engine, order("late"), at=NOON - timedelta(hours=20))
    result = await engine.run(ORDERS)
    assert result and (result.read, result.inserted) == (1, 1)
    assert await engine.run(ORDERS) is None
    assert await engine.run(ORDERS) is None


async def test_reading_everything_finds_what_appeared_too_late(engine: Engine) -> None:
    collect(engine, order("a"))
    await engine.run(ORDERS)
    collect(engine, order("lost"), at=NOON - timedelta(days=3))
    assert await engine.run(ORDERS) is None
    result = await engine.deliver(ORDERS, full=True)
    assert result and (result.read, result.inserted, result.unchanged) == (2, 1, 1)
    [(noted,)] = engine.query("SELECT count(*) FROM millrace.collected")
    assert noted == 2
    assert await engine.run(ORDERS) is None


async def test_a_batch_that_was_not_loaded_is_read_again(engine: Engine) -> None:
    collect(engine, order("a"))
    assert await engine.extract(ORDERS)
    result = await engine.run(ORDERS)
    assert result and result.inserted == 1


async def test_more_objects_than_a_page_lists(engine: Engine) -> None:
    """2,100 of them, some of three days ago."""

    def put(number: int) -> None:
        collect(engine, order(str(number)), at=NOON - timedelta(minutes=2 * number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(2_100)))
    result = await engine.run(ORDERS)
    assert result and (result.read, result.inserted) == (2_100, 2_100)
    assert len(engine.rows("orders", "id")) == 2_100
    assert await engine.run(ORDERS) is None


MALFORMED = {
    "{": ("not_json", ""),
    "": ("not_json", ""),
    "[1]": ("not_an_object", ""),
    order("a", quantity="many"): ("type_mismatch", "quantity"),
    order("a", quantity=2**63): ("number_does_not_fit", "quantity"),
    order("a", placed_at="2018-02-03t19: 28:06.291+0100"): ("type_mismatch", "placed_at"),
    order("a", placed_at="2018-02-03T19:28:06.291"): ("type_mismatch", "placed_at"),
    order("a", due_at="2018-02-03T19:28:06+01:00"): ("type_mismatch", "due_at"),
    order("a", note="\x00"): ("nul_character", "note"),
    order("a", quantity=-1): ("contract_min", "quantity"),
    json.dumps({"placed_at": "2026-01-05T10:00:00Z"}): ("contract_nullability", "id"),
}


async def test_what_is_malformed_goes_to_quarantine_with_its_reason(engine: Engine) -> None:
    name = collect(engine, order("good"), *MALFORMED)
    result = await engine.run(replace(ORDERS, max_reject_share=1.0))
    assert result and (result.read, result.inserted, result.rejected) == (12, 1, 11)
    rejects = engine.rejects()
    found = {json.loads(one["coordinates"])["_message"]: (one["reason"], one["field"]) for one in rejects}
    assert found == {f"{name}#{place}": why for place, why in enumerate(MALFORMED.values(), 1)}


async def test_replay_brings_back_what_another_contract_takes(engine: Engine) -> None:
    collect(engine, order("good"), order("negative", quantity=-1), "{")
    await engine.run(ORDERS)

    class Lenient(Order):
        quantity = dy.Int64(nullable=True)

    mended = Stream(**{**vars(ORDERS), "contract": Lenient})
    result = await engine.replay(mended)
    assert result and (result.read, result.inserted, result.rejected) == (2, 1, 1)
    assert engine.rows("orders", "id", "quantity") == [("good", None), ("negative", -1)]
    again = await engine.replay(mended)
    assert again and (again.read, again.rejected) == (1, 1)


class Box:
    """A queue that keeps what it is sent."""

    place = "box"

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send(self, bodies: Sequence[str]) -> None:
        self.bodies += bodies

    def receive(self, visibility_seconds: int, wait_seconds: int) -> list[Message]:
        raise AssertionError

    def delete(self, receipts: Sequence[str]) -> int:
        raise AssertionError

    def extend(self, receipts: Sequence[str], visibility_seconds: int) -> None:
        raise AssertionError


async def test_dead_letters_are_sent_once(engine: Engine) -> None:
    """Not again by the next run, by a replay that rejects them again, nor by a read of everything."""
    box, own = Box(), pipeline_of(ORDERS)
    collect(engine, order("good"), "{", order("negative", quantity=-1))
    for act in (engine.run, engine.run, engine.replay, lambda stream: engine.deliver(stream, full=True)):
        await act(ORDERS)
        send_dead_letters(own, ORDERS, engine.warehouse, engine.store, box)
        assert box.bodies == ["{", order("negative", quantity=-1)]
    collect(engine, "[]", at=LATER)
    await engine.run(ORDERS)
    assert send_dead_letters(own, ORDERS, engine.warehouse, engine.store, box) == DeadLetters(1, [])
    assert box.bodies[2:] == ["[]"]


@pytest.mark.parametrize("lost", ["the rejects", "the manifest", "the messages"])
async def test_a_file_that_is_gone_stops_no_dead_letters_of_the_others(engine: Engine, lost: str) -> None:
    box, own = Box(), pipeline_of(ORDERS)
    name = collect(engine, "{", order("good"))
    await engine.run(ORDERS)
    collect(engine, "[]", at=LATER)
    await engine.run(ORDERS)
    first = engine.batches[0]
    messages = key_of(collected_prefix(own.name, ORDERS.name), name)
    key = {"the rejects": first.files.rejects[0], "the manifest": first.manifest_key, "the messages": messages}[lost]
    assert engine.store.exists(key)
    store = replace_without(engine, key)
    letters = send_dead_letters(own, ORDERS, engine.warehouse, store, box)
    assert letters == DeadLetters(1, [store.uri(key)])
    assert box.bodies == ["[]"]


async def test_the_target_is_sorted(engine: Engine) -> None:
    changes, _ = engine.warehouse.plan(pipeline_of(ORDERS), ORDERS, ())
    assert changes == [] or "create table" in changes[0]
    collect(engine, order("a"))
    result = await engine.run(ORDERS)
    assert result and result.inserted == 1


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"source": "sqs/orders", "capture": Incremental("placed_at")}, "captured by Queue"),
        ({"source": "postgres:public.orders", "capture": Queue()}, "captured by Queue"),
        ({"source": "sqs/orders", "capture": Queue(), "sweep": "daily"}, "nothing to compare"),
        ({"source": "sqs/orders", "capture": Queue(), "reconcile": Reconcile()}, "nothing to compare"),
        ({"source": "sqs/orders", "capture": Queue(), "load": Replace()}, "Replace|Append or Merge"),
        ({"source": "sqs/orders", "capture": Queue(), "where": {"a": 1}}, "a queue gives every message"),
        ({"source": "sqs:orders", "capture": Queue()}, "not understood"),
    ],
)
def test_what_makes_no_sense_is_refused(declared: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Stream("orders", key="id", **declared)


@pytest.mark.parametrize("load", [Append(), Merge()])
async def test_a_message_with_the_key_of_another(engine: Engine, load: LoadMode) -> None:
    """The first stays where rows are appended, the one of the later stamp where they are merged."""
    stream = Stream(**{**vars(ORDERS), "load": load})
    collect(engine, order("a", quantity=1))
    await engine.run(stream)
    collect(engine, order("a", quantity=2, placed_at="2026-01-06T10:00:00Z"), at=LATER)
    result = await engine.run(stream)
    assert result
    is_append = isinstance(load, Append)
    assert engine.rows("orders", "id", "quantity") == [("a", 1 if is_append else 2)]
    assert bool(result.warnings) == is_append


def test_a_pipeline_of_a_queue_says_where_it_comes_from() -> None:
    assert str(Pipeline("shop", [ORDERS]).streams[0].reference) == "sqs/orders"
