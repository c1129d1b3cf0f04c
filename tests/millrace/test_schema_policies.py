"""Promise 10 on whole runs: what the source changes, under each policy, into both warehouses.

Each table has three rows that were delivered before its change. Then row 2 gets a value that the target holds as it is,
row 3 one that it does not. Row 1 is not touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128
from engine_on_servers import Engine

from millrace import Incremental, Stream
from millrace.capture.mongo_client import open_client
from millrace.errors import SchemaConflict
from millrace.pipeline import SchemaPolicy
from millrace.types import decimal
from millrace.warehouse.ledger import LoadResult

POLICIES: tuple[SchemaPolicy, ...] = ("evolve", "freeze", "quarantine")
ORDERS = Stream(
    "orders", source="postgres:public.orders", key="id", capture=Incremental("changed", overlap=timedelta(0))
)
CREATE = (
    "CREATE TABLE orders (id int PRIMARY KEY, n int, amount numeric(12,2), day date, note varchar(40), "
    "changed timestamptz DEFAULT clock_timestamp())"
)
COLUMNS = ("id", "n", "amount", "day", "note")


@dataclass(frozen=True)
class Case:
    """What happens in the source: ``ddl``, then a value for row 2 and one for row 3 in ``column``, in SQL literals.

    ``change`` is what the load makes of it ('' nothing), ``reason`` why row 3 is rejected under quarantine.
    """

    name: str
    ddl: str
    column: str
    fits: str
    other: str
    change: str = ""
    reason: str = ""

    def happen(self, engine: Engine) -> None:
        engine.source(self.ddl)
        for row, value in ((2, self.fits), (3, self.other)):
            engine.source(f"UPDATE orders SET {self.column} = {value}, changed = clock_timestamp() WHERE id = {row}")


def alter(what: str) -> str:
    return f"ALTER TABLE orders {what}"


ADDITIVE = [
    Case("new column", alter("ADD remark text"), "remark", "NULL", "'new'", "add column remark", "schema_new_column"),
    Case("int to bigint", alter("ALTER n TYPE bigint"), "n", "-5", str(2**40), "widen column n", "schema_type"),
    Case("int to numeric", alter("ALTER n TYPE numeric(12,2)"), "n", "5", "0.01", "widen column n", "schema_type"),
    Case("int to float", alter("ALTER n TYPE float8"), "n", "5", "0.5", "widen column n", "schema_type"),
    Case("finer", alter("ALTER amount TYPE numeric(14,4)"), "amount", "1.5", "1.2345", "widen column a", "schema_type"),
    Case("date to timestamp", alter("ALTER day TYPE timestamp"), "day", "'1999-12-31'", "'2000-01-01 12:00:00.000001'",
         "widen column day", "schema_type"),
]  # fmt: skip
HARMLESS = [
    Case("int to smallint", alter("ALTER n TYPE smallint"), "n", "5", "-32768"),
    Case("coarser", alter("ALTER amount TYPE numeric(10,1)"), "amount", "1.5", "2"),
    Case("shorter", alter("ALTER note TYPE varchar(9)"), "note", "'b'", "'c'"),
    Case(
        "order",
        "ALTER TABLE orders RENAME TO former; CREATE TABLE orders AS SELECT changed, note, id, day, n, amount FROM former",
        "note",
        "'b'",
        "'c'",
    ),
]
REFUSED = [
    Case("int to text", alter("ALTER n TYPE text"), "n", "NULL", "'7'", "column n", "schema_type"),
    Case("text to int", alter("ALTER note TYPE int USING length(note)"), "note", "NULL", "7", "column note", "schema_type"),
    Case("date to timestamptz", alter("ALTER day TYPE timestamptz"), "day", "NULL", "now()", "column day", "schema_type"),
]  # fmt: skip


@pytest.fixture(params=["redshift", "postgres"])
def either_empty(request: pytest.FixtureRequest) -> Engine:
    """An engine into either warehouse."""
    engine: Engine = request.getfixturevalue("engine" if request.param == "redshift" else "postgres_engine")
    return engine


@pytest.fixture
def either(either_empty: Engine) -> Engine:
    """The same, and the table with its three rows."""
    engine = either_empty
    engine.source(CREATE)
    engine.source("INSERT INTO orders SELECT i, i, i + 0.25, '2024-02-29', 'a' FROM generate_series(1, 3) AS i")
    return engine


def touch(engine: Engine, row: int, n: int) -> None:
    engine.source(f"UPDATE orders SET n = {n}, changed = clock_timestamp() WHERE id = {row}")


def under(policy: SchemaPolicy, **further: Any) -> Stream:
    return replace(ORDERS, schema_policy=policy, **further)


async def delivered(engine: Engine, stream: Stream) -> LoadResult:
    result = await engine.deliver(stream)
    assert result is not None
    return result


def state(engine: Engine) -> tuple[list[tuple[Any, ...]], ...]:
    """All that a refused load must leave alone: the target, its columns, the ledger."""
    catalog = engine.warehouse.dialect.catalog
    return (
        engine.rows("orders"),
        engine.query(f"SELECT column_name, data_type FROM {catalog} WHERE table_name = 'orders' ORDER BY column_name"),
        engine.query("SELECT * FROM millrace.batches ORDER BY batch_id"),
        engine.query("SELECT * FROM millrace.columns ORDER BY name"),
    )


def assert_same(engine: Engine, *columns: str) -> None:
    listed = ", ".join(columns)
    assert engine.rows("orders", *columns, order="id") == engine.source(f"SELECT {listed} FROM orders ORDER BY id")


def rejects(engine: Engine) -> list[tuple[str, str, str]]:
    return [(one["coordinates"], one["reason"], one["field"]) for one in engine.rejects()]


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", ADDITIVE, ids=by_name)
async def test_evolve_makes_room_and_keeps_every_value(either: Engine, case: Case) -> None:
    await either.deliver(under("evolve"))
    case.happen(either)
    result = await delivered(either, under("evolve"))
    assert [change[: len(case.change)] for change in result.changes] == [case.change]
    assert (result.updated, result.rejected) == (2, 0)
    assert_same(either, *dict.fromkeys([*COLUMNS, case.column]))


@pytest.mark.parametrize("case", ADDITIVE, ids=by_name)
async def test_freeze_refuses_and_leaves_everything_as_it_was(either: Engine, case: Case) -> None:
    await either.deliver(under("freeze"))
    before = state(either)
    case.happen(either)
    with pytest.raises(SchemaConflict, match=f"stream engine.orders .*{case.change}.*freeze"):
        await either.deliver(under("freeze"))
    assert state(either) == before
    result = await delivered(either, under("evolve"))
    assert result.updated == 2


@pytest.mark.parametrize("case", [*ADDITIVE, *REFUSED], ids=by_name)
async def test_quarantine_rejects_the_rows_that_do_not_fit(either: Engine, case: Case) -> None:
    stream = under("quarantine")
    await either.deliver(stream)
    shape = state(either)[1]
    case.happen(either)
    result = await delivered(either, stream)
    assert (result.updated, result.rejected, result.changes) == (1, 1, ())
    assert rejects(either) == [('{"id":3}', case.reason, case.column)]
    assert state(either)[1] == shape
    (row,) = either.source(f"SELECT {case.column} FROM orders WHERE id = 2")
    if case.column in COLUMNS:
        (held,) = either.query(f"SELECT {case.column} FROM engine.orders WHERE id = 2")
        assert held[0] == (row[0].date() if case.column == "day" and row[0] else row[0])


@pytest.mark.parametrize("case", HARMLESS, ids=by_name)
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_narrower_type_and_another_order_change_nothing(
    either: Engine, case: Case, policy: SchemaPolicy
) -> None:
    await either.deliver(under(policy))
    shape = state(either)[1]
    case.happen(either)
    result = await delivered(either, under(policy))
    assert (result.changes, result.rejected) == ((), 0)
    assert state(either)[1] == shape
    assert_same(either, *COLUMNS)


@pytest.mark.parametrize("case", REFUSED, ids=by_name)
@pytest.mark.parametrize("policy", ["evolve", "freeze"])
async def test_another_meaning_is_refused(either: Engine, case: Case, policy: SchemaPolicy) -> None:
    await either.deliver(under(policy))
    before = state(either)
    case.happen(either)
    with pytest.raises(SchemaConflict, match=f"{case.change} .* cannot hold .*Remedy: declare"):
        await either.deliver(under(policy))
    assert state(either) == before


@pytest.mark.parametrize("policy", ["evolve", "quarantine"])
async def test_a_column_that_left_is_kept_and_told_once(either: Engine, policy: SchemaPolicy) -> None:
    await either.deliver(under(policy))
    either.source(alter("DROP note"))
    touch(either, 2, n=20)
    (told,) = (await delivered(either, under(policy))).changes
    assert told.startswith("column note of engine.orders has left the source")
    assert either.rows("orders", "id", "n", "note") == [(1, 1, "a"), (2, 20, None), (3, 3, "a")]
    touch(either, 3, n=30)
    assert (await delivered(either, under(policy))).changes == ()


@pytest.mark.parametrize("policy", ["evolve", "quarantine"])
async def test_a_column_that_came_back_is_filled_and_may_leave_again(either: Engine, policy: SchemaPolicy) -> None:
    await either.deliver(under(policy))
    told = []
    for change in (alter("DROP note"), alter("ADD note varchar(40) DEFAULT 'back'"), alter("DROP note")):
        either.source(change)
        touch(either, 2, n=20 + len(told))
        told.append(len((await delivered(either, under(policy))).changes))
        if len(told) == 2:
            assert either.rows("orders", "id", "note") == [(1, "a"), (2, "back"), (3, "a")]
    assert told == [1, 0, 1]


async def test_freeze_refuses_that_a_column_left(either: Engine) -> None:
    await either.deliver(under("freeze"))
    before = state(either)
    either.source(alter("DROP note"))
    touch(either, 2, n=20)
    with pytest.raises(SchemaConflict, match="column note .* has left"):
        await either.deliver(under("freeze"))
    assert state(either) == before


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_renamed_column_is_one_that_left_and_one_that_came(either: Engine, policy: SchemaPolicy) -> None:
    stream = under(policy)
    await either.deliver(stream)
    either.source(alter("RENAME note TO remark"))
    touch(either, 2, n=20)
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match="add column remark .*; column note .* has left"):
            await either.deliver(stream)
        return
    result = await delivered(either, stream)
    if policy == "evolve":
        added, left = result.changes
        assert added.startswith("add column remark ")
        assert left.startswith("column note ")
        assert either.rows("orders", "note", "remark", order="id") == [("a", None), (None, "a"), ("a", None)]
    else:
        assert (rejects(either), result.loaded) == ([('{"id":2}', "schema_new_column", "remark")], 0)
        assert either.rows("orders", "id", "n", "note") == [(1, 1, "a"), (2, 2, "a"), (3, 3, "a")]


@pytest.mark.parametrize("policy", POLICIES)
async def test_another_key_is_refused(either: Engine, policy: SchemaPolicy) -> None:
    await either.deliver(under(policy))
    before = state(either)
    touch(either, 2, n=20)
    with pytest.raises(SchemaConflict, match=r"loaded with the key \(id\), the stream declares \(id, n\)"):
        await either.deliver(under(policy, key=("id", "n")))
    assert state(either) == before
    assert (await delivered(either, under(policy))).read == 1


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_longer_text_where_lengths_are_measured(engine: Engine, policy: SchemaPolicy) -> None:
    """VARCHAR(40) of Redshift; a text of Postgres has no length."""
    stream = under(policy)
    engine.source(CREATE)
    engine.source("INSERT INTO orders (id, note) VALUES (1, 'a'), (2, 'a')")
    await engine.deliver(stream)
    engine.source("UPDATE orders SET note = repeat('ä', 21 - id), changed = clock_timestamp()")  # 40 bytes, 38 bytes
    assert (await delivered(engine, stream)).updated == 2
    engine.source("UPDATE orders SET note = repeat('ä', 22 - id), changed = clock_timestamp()")  # 42 bytes, 40 bytes
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match=r"widen column note .* to VARCHAR\(64\)"):
            await engine.deliver(stream)
        return
    result = await delivered(engine, stream)
    if policy == "evolve":
        assert result.changes == ("widen column note of engine.orders to VARCHAR(64)",)
        assert_same(engine, "id", "note")
    else:
        assert (rejects(engine), result.updated) == ([('{"id":1}', "schema_too_long", "note")], 1)


async def test_soft_deletes_that_are_declared_later_get_their_column(either: Engine) -> None:
    await either.deliver(under("evolve"))
    touch(either, 2, n=20)
    result = await delivered(either, under("evolve", deletes="soft"))
    assert result.changes == ("add column _deleted_at TIMESTAMPTZ to engine.orders",)
    assert either.rows("orders", "id", "_deleted_at") == [(1, None), (2, None), (3, None)]


# MongoDB: fields come and go document by document. Documents without a cursor are in every window.

Put = Callable[..., Awaitable[None]]


@pytest.fixture
async def put(mongo_url: str, mongo_database: str) -> AsyncIterator[Put]:
    """Puts documents into the collection, in place of those of the same ``_id``."""
    client = open_client(mongo_url)

    async def replace_all(*documents: dict[str, Any]) -> None:
        for document in documents:
            await client[mongo_database]["trades"].replace_one({"_id": document["_id"]}, document, upsert=True)

    yield replace_all
    client.close()


def trades(database: str, policy: SchemaPolicy, **further: Any) -> Stream:
    source = f"mongo:{database}.trades"
    return Stream("trades", source, "_id", Incremental("at"), schema_policy=policy, **further)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_that_appears(either_empty: Engine, mongo_database: str, put: Put, policy: SchemaPolicy) -> None:
    stream = trades(mongo_database, policy)
    await put({"_id": 1, "n": 1}, {"_id": 2, "n": 2})
    await either_empty.deliver(stream)
    await put({"_id": 2, "n": 3, "note": None}, {"_id": 3, "n": 3, "note": "new"})
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match="add column note .*freeze"):
            await either_empty.deliver(stream)
        return
    result = await delivered(either_empty, stream)
    if policy == "evolve":
        assert [change.startswith("add column note ") for change in result.changes] == [True]
        assert either_empty.rows("trades", "_id", "n", "note") == [(1, 1, None), (2, 3, None), (3, 3, "new")]
    else:
        assert (result.rejected, result.updated, result.changes) == (1, 1, ())
        assert rejects(either_empty) == [('{"_id":3}', "schema_new_column", "note")]
        assert either_empty.rows("trades", "_id", "n") == [(1, 1), (2, 3)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_that_disappears_is_null(
    either_empty: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    stream = trades(mongo_database, policy)
    await put({"_id": 1, "n": 1}, {"_id": 2, "n": 2})
    await either_empty.deliver(stream)
    await put({"_id": 1}, {"_id": 2})
    result = await delivered(either_empty, stream)
    assert (result.updated, result.changes) == (2, ())
    assert either_empty.rows("trades", "_id", "n") == [(1, None), (2, None)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_that_changes_its_type_keeps_the_columns(
    either_empty: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    stream = trades(mongo_database, policy)
    await put({"_id": 1, "n": 1}, {"_id": 2, "n": 2}, {"_id": 3, "n": 3})
    await either_empty.deliver(stream)
    await put({"_id": 1, "n": 2.0}, {"_id": 2, "n": 2.5}, {"_id": 3, "n": "three"})
    result = await delivered(either_empty, stream)
    assert (result.updated, result.rejected, result.changes) == (1, 2, ())
    assert {(reason, field) for _, reason, field in rejects(either_empty)} == {("type_mismatch", "n")}
    assert either_empty.rows("trades", "_id", "n") == [(1, 2), (2, 2), (3, 3)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_is_widened_by_its_declaration(
    either_empty: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    await put({"_id": 1, "n": 2**62}, {"_id": 2, "n": 2})
    await either_empty.deliver(trades(mongo_database, policy))
    stream = trades(mongo_database, policy, types={"n": decimal(38, 9)})
    await put({"_id": 2, "n": Decimal128("0.25")})
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match="widen column n .*freeze"):
            await either_empty.deliver(stream)
        return
    result = await delivered(either_empty, stream)
    if policy == "evolve":
        assert either_empty.rows("trades", "_id", "n") == [(1, 2**62), (2, Decimal("0.25"))]
        assert (result.updated, result.unchanged) == (1, 1)
    else:
        assert rejects(either_empty) == [('{"_id":2}', "schema_type", "n")]
        assert either_empty.rows("trades", "_id", "n") == [(1, 2**62), (2, 2)]
