"""What a stream leaves out: columns and rows, of a table and of a collection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from millrace import Incremental, Pipeline, Snapshot, Stream
from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.declaration.captures import Reconcile
from millrace.declaration.consent import Consent
from millrace.flows.request import ReplicateRequest
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, counts

MOMENT = datetime(2026, 1, 5, 10, tzinfo=UTC)
CHANGES = Incremental("changed", timedelta(0))


class Orders(ABC):
    """Orders with a status and a secret, in one kind of source."""

    stream: Stream
    paid: str | Mapping[str, Any]
    """The condition of the paid ones."""

    @abstractmethod
    def insert(self, number: int, status: str) -> None: ...

    @abstractmethod
    def pay(self, number: int, status: str = "paid") -> None:
        """Set the status, and the time of the change."""

    @abstractmethod
    def delete(self, number: int) -> None: ...


class OrdersOfPostgres(Orders):
    def __init__(self, engine: Engine, _database: str) -> None:
        self._engine = engine
        engine.source("CREATE TABLE orders (id int PRIMARY KEY, status text, secret tsvector, changed timestamptz)")
        self.stream = Stream("orders", "postgres:public.orders", "id", CHANGES)
        self.paid = "status = 'paid' OR status = 'sent' -- and nothing else"

    def insert(self, number: int, status: str) -> None:
        self._engine.source(f"INSERT INTO orders VALUES ({number}, '{status}', 'hush', now())")

    def pay(self, number: int, status: str = "paid") -> None:
        self._engine.source(f"UPDATE orders SET status = '{status}', changed = now() WHERE id = {number}")

    def delete(self, number: int) -> None:
        self._engine.source(f"DELETE FROM orders WHERE id = {number}")


class OrdersOfMySQL(Orders):
    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        engine.mysql_url = url
        schema = url.rpartition("/")[2]
        engine.mysql(
            "CREATE TABLE orders (id int PRIMARY KEY, status varchar(20), secret geometry, changed datetime(6))"
        )
        self.stream = Stream("orders", f"mysql:{schema}.orders", "id", CHANGES)
        self.paid = "status = 'paid' OR status = 'sent' -- and nothing else"

    def insert(self, number: int, status: str) -> None:
        self._engine.mysql(f"INSERT INTO orders VALUES ({number}, '{status}', NULL, UTC_TIMESTAMP(6))", "COMMIT")

    def pay(self, number: int, status: str = "paid") -> None:
        self._engine.mysql(
            f"UPDATE orders SET status = '{status}', changed = UTC_TIMESTAMP(6) WHERE id = {number}", "COMMIT"
        )

    def delete(self, number: int) -> None:
        self._engine.mysql(f"DELETE FROM orders WHERE id = {number}", "COMMIT")


class OrdersOfMongo(Orders):
    def __init__(self, engine: Engine, database: str) -> None:
        self._collection = MongoClient[dict[str, Any]](engine.mongo_url)[database]["orders"]
        self.stream = Stream("orders", f"mongo:{database}.orders", "_id", CHANGES)
        self.paid = {"status": {"$in": ["paid", "sent"]}}

    def insert(self, number: int, status: str) -> None:
        document = {"_id": number, "status": status, "secret": {"inner": "hush"}, "changed": datetime.now(UTC)}
        self._collection.insert_one(document)

    def pay(self, number: int, status: str = "paid") -> None:
        self._collection.update_one({"_id": number}, {"$set": {"status": status, "changed": datetime.now(UTC)}})

    def delete(self, number: int) -> None:
        self._collection.delete_one({"_id": number})


KINDS: dict[str, Any] = {"postgres": OrdersOfPostgres, "mysql": OrdersOfMySQL, "mongo": OrdersOfMongo}


@pytest.fixture(params=KINDS)
def orders(request: pytest.FixtureRequest, engine: Engine) -> Orders:
    """Four orders: two are paid, one is sent, one is new."""
    kind = request.param
    place = "" if kind == "postgres" else request.getfixturevalue(f"{kind}_database")
    made: Orders = KINDS[kind](engine, place)
    for number, status in enumerate(("paid", "new", "sent", "paid"), 1):
        made.insert(number, status)
    return made


def found(engine: Engine, stream: Stream) -> list[tuple[Any, ...]]:
    return [(int(number), status) for number, status in engine.rows("orders", stream.keys[0], "status")]


def columns_of(engine: Engine) -> set[str]:
    """The columns of the target that come from the source."""
    asked = "SELECT column_name FROM svv_columns WHERE table_schema = 'engine' AND table_name = 'orders'"
    return {name for (name,) in engine.query(asked) if name not in {"_row_hash", "_loaded_at"}}


@pytest.mark.parametrize("how", ["omitted", "columns"])
async def test_a_column_that_is_left_out_does_not_arrive(engine: Engine, orders: Orders, how: str) -> None:
    """It may have a type that nothing can hold."""
    key = orders.stream.keys[0]
    names = ["secret"] if how == "omitted" else [key, "status", "changed"]
    stream = replace(orders.stream, **{how: names})
    assert counts(await engine.run(stream)) == {"read": 4, "inserted": 4}
    assert columns_of(engine) == {key, "status", "changed"}
    assert counts(await engine.sweep(stream)) == {"read": 4, "unchanged": 4}


async def test_a_condition_replicates_the_rows_that_meet_it(engine: Engine, orders: Orders) -> None:
    """A row that comes to meet it arrives with the next run, one that no longer does is deleted by a sweep."""
    stream = replace(orders.stream, where=orders.paid, omitted=["secret"], reconcile=Reconcile(policy="warn"))
    result = await engine.run(stream)
    assert result is not None
    assert result.warnings == ()
    assert found(engine, stream) == [(1, "paid"), (3, "sent"), (4, "paid")]
    orders.pay(2)
    orders.pay(1, "lost")
    orders.insert(5, "new")
    orders.delete(3)
    result = await engine.run(stream)
    assert result is not None
    assert (result.inserted, result.deleted) == (1, 0)
    assert counts(await engine.sweep(stream)) == {"read": 4, "deleted": 2, "unchanged": 2}
    assert found(engine, stream) == [(2, "paid"), (4, "paid")]


async def test_a_snapshot_of_some_rows_deletes_the_others(engine: Engine, orders: Orders) -> None:
    stream = replace(orders.stream, capture=Snapshot(), omitted=["secret"])
    await engine.run(stream)
    result = await engine.run(replace(stream, where=orders.paid), ReadRequest(consent=Consent(accept_source=True)))
    assert result is not None
    assert result.deleted == 1
    orders.pay(3, "new")
    await engine.run(replace(stream, where=orders.paid))
    assert found(engine, stream) == [(1, "paid"), (4, "paid")]


async def test_a_column_that_is_left_out_later_is_told(engine: Engine, orders: Orders) -> None:
    stream = replace(orders.stream, omitted=["secret"])
    await engine.run(stream)
    orders.pay(2)
    result = await engine.run(replace(stream, omitted=["secret", "status"]))
    assert result is not None
    if not stream.is_of_documents:
        assert result.changes == (
            "column status of engine.orders is not read any more; it is NULL in rows delivered from now on",
        )
    assert found(engine, stream)[1] == (2, None)


@pytest.mark.parametrize("option", ["omitted", "columns"])
async def test_a_name_that_the_table_does_not_have_is_refused(engine: Engine, option: str) -> None:
    """What was meant to be left out would be replicated."""
    stream = OrdersOfPostgres(engine, "").stream
    names = ["sekret"] if option == "omitted" else ["id", "changed", "sekret"]
    with pytest.raises(SourceMissing, match=rf"{option} names 'sekret', and there is no such column.*choose from id, "):
        await engine.run(replace(stream, **{option: names}))


async def test_a_name_that_no_document_has_is_told(engine: Engine, mongo_database: str) -> None:
    orders = OrdersOfMongo(engine, mongo_database)
    orders.insert(1, "new")
    result = await engine.run(replace(orders.stream, columns=["_id", "changed", "sekret"]))
    assert result is not None
    assert result.warnings[0].startswith("no row had a value of 'sekret' (columns)")


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"where": {"a": 1}}, "where is a mapping, and a table is asked with SQL"),
        ({"source": "mongo:a.b", "where": "a = 1"}, "where is a text, and a collection is asked with a mapping"),
        ({"where": 5}, "where is 5"),
        ({"columns": ["v"]}, "field 'id' is declared and not among columns. Remedy: add it to columns"),
        ({"columns": ["id"]}, "field 'changed' is declared and not among columns"),
        ({"source": "mongo:a.b", "columns": ["id", "changed", "a.b"]}, "'a.b', which is a field within another one"),
        ({"omitted": ["changed"]}, "field 'changed' is declared and omitted"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(declared: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Stream(**{"name": "t", "source": "postgres:a.b", "key": "id", "capture": CHANGES} | declared)


def test_a_stream_that_is_not_enabled_is_left_out_of_runs() -> None:
    first = Stream("first", "postgres:a.first", "id", CHANGES)
    second = replace(first, name="second", enabled=False)
    pipeline = Pipeline("shop", streams=[first, second])
    assert ReplicateRequest(pipeline="shop").choose_streams(pipeline) == [first]
    with pytest.raises(ConfigurationError, match=r"stream shop.second: it is not enabled. Remedy: take out enabled"):
        ReplicateRequest(pipeline="shop", streams=["second"]).choose_streams(pipeline)
    with pytest.raises(ConfigurationError, match="none of its streams is enabled"):
        ReplicateRequest(pipeline="shop").choose_streams(Pipeline("shop", streams=[second]))
