"""Promise 10 on whole runs: what a Postgres source changes, under each policy, into both warehouses.

A table has a column for each case and two rows for each, all delivered before the change. Then the first of a case's
rows gets a value that the target holds as it is, the second one that it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pytest

from millrace import Incremental, Stream
from millrace.base.errors import SchemaConflict
from millrace.declaration.captures import SchemaPolicy
from tests.support.engine import Engine
from tests.support.policies import POLICIES, delivered, rejects

ORDERS = Stream(
    "orders", source="postgres:public.orders", key="id", capture=Incremental("changed", overlap=timedelta(0))
)
ALTER, STAMPED = "ALTER TABLE orders", "changed = clock_timestamp()"


@dataclass(frozen=True)
class Case:
    """A column that is ``before`` ('' is not there) and becomes ``after``; values as SQL literals."""

    column: str
    before: str
    after: str
    first: str
    fits: str
    other: str
    using: str = ""

    @property
    def ddl(self) -> str:
        """What happens to the source's table."""
        if not self.before:
            return f"{ALTER} ADD {self.column} {self.after}"
        return f"{ALTER} ALTER {self.column} TYPE {self.after} {self.using}"


ADDITIVE = [
    Case("whole", "int", "bigint", "1", "-5", "1099511627776"),
    Case("exact", "int", "numeric(12,2)", "1", "5", "0.01"),
    Case("number", "int", "float8", "1", "5", "0.5"),
    Case("amount", "numeric(12,2)", "numeric(14,4)", "1.25", "1.5", "1.2345"),
    Case("day", "date", "timestamp", "'2024-02-29'", "'1999-12-31'", "'2000-01-01 12:00:00.000001'"),
    Case("remark", "", "text", "NULL", "NULL", "'new'"),
]
REFUSED = [
    Case("code", "int", "text", "1", "NULL", "'7'"),
    Case("size", "text", "int", "'a'", "NULL", "7", "USING length(size)"),
    Case("moment", "date", "timestamptz", "'2024-02-29'", "NULL", "'2024-02-29 12:00+00'"),
]
HARMLESS = [
    Case("small", "int", "smallint", "1", "5", "-32768"),
    Case("coarse", "numeric(12,2)", "numeric(10,1)", "1.5", "2.5", "3"),
    Case("short", "varchar(40)", "varchar(9)", "'a'", "'b'", "'c'"),
    Case("day", "timestamp", "date", "'2024-02-29'", "'1999-12-31'", "'0001-01-01'"),
]


def create(engine: Engine, cases: Sequence[Case]) -> None:
    present = [case for case in cases if case.before]
    columns = ", ".join(f"{case.column} {case.before}" for case in present)
    values = ", ".join(case.first for case in present)
    engine.source(f"CREATE TABLE orders (id int PRIMARY KEY, {columns}, changed timestamptz DEFAULT clock_timestamp())")
    engine.source(f"INSERT INTO orders SELECT i, {values} FROM generate_series(0, {2 * len(cases) - 1}) AS i")


def happen(engine: Engine, cases: Sequence[Case]) -> None:
    """Every case's change and values."""
    for number, case in enumerate(cases):
        engine.source(case.ddl)
        for row, value in ((2 * number, case.fits), (2 * number + 1, case.other)):
            engine.source(f"UPDATE orders SET {case.column} = {value}, {STAMPED} WHERE id = {row}")


def under(policy: SchemaPolicy, **further: Any) -> Stream:
    return replace(ORDERS, schema_policy=policy, **further)


def shape(engine: Engine) -> list[tuple[Any, ...]]:
    catalog = engine.warehouse.dialect.catalog
    return engine.query(
        "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
        f"FROM {catalog} WHERE table_name = 'orders' ORDER BY column_name"
    )


def state(engine: Engine) -> tuple[list[tuple[Any, ...]], ...]:
    """All that a refused load must leave alone: the target, its columns, the ledger."""
    batches = engine.query("SELECT * FROM millrace.batches ORDER BY batch_id")
    return engine.rows("orders"), shape(engine), batches, engine.query("SELECT * FROM millrace.columns ORDER BY name")


def assert_same(engine: Engine, cases: Sequence[Case], where: str = "TRUE") -> None:
    columns = ", ".join(["id", *(case.column for case in cases)])
    found = engine.query(f"SELECT {columns} FROM engine.orders WHERE {where} ORDER BY id")
    assert found == engine.source(f"SELECT {columns} FROM orders WHERE {where} ORDER BY id")


async def test_evolve_makes_room_and_keeps_every_value(either: Engine) -> None:
    create(either, ADDITIVE)
    await either.deliver(under("evolve"))
    happen(either, ADDITIVE)
    result = await delivered(either, under("evolve"))
    made = [" ".join(change.split()[:3]) for change in result.changes]
    assert made == [f"widen column {case.column}" for case in ADDITIVE[:-1]] + ["add column remark"]
    assert (result.updated, result.rejected) == (2 * len(ADDITIVE), 0)
    assert_same(either, ADDITIVE)


async def test_freeze_refuses_every_change_and_leaves_all_as_it_was(either: Engine) -> None:
    create(either, ADDITIVE)
    await either.deliver(under("freeze"))
    before = state(either)
    happen(either, ADDITIVE)
    with pytest.raises(SchemaConflict, match=r"stream engine\.orders .*policy is freeze") as refused:
        await either.deliver(under("freeze"))
    assert all(f"column {case.column} " in refused.value.problem for case in ADDITIVE)
    assert state(either) == before
    assert (await delivered(either, under("evolve"))).updated == 2 * len(ADDITIVE)


async def test_quarantine_rejects_the_rows_that_do_not_fit(either: Engine) -> None:
    create(either, ADDITIVE)
    await either.deliver(under("quarantine"))
    before = shape(either)
    happen(either, ADDITIVE)
    result = await delivered(either, under("quarantine"))
    assert sorted(rejects(either)) == sorted(
        (f'{{"id":{2 * number + 1}}}', "schema_type" if case.before else "schema_new_column", case.column)
        for number, case in enumerate(ADDITIVE)
    )
    assert (result.updated, result.changes) == (len(ADDITIVE), ())
    assert shape(either) == before
    assert_same(either, [case for case in ADDITIVE if case.before and case.column != "day"], "id % 2 = 0")
    assert either.rows("orders", "day", order="id")[8:10] == [(date(1999, 12, 31),), (date(2024, 2, 29),)]


async def test_quarantine_of_another_meaning_rejects_every_value(either: Engine) -> None:
    create(either, REFUSED)
    either.source("UPDATE orders SET code = NULL, size = NULL, moment = NULL")
    await either.deliver(under("quarantine"))
    before = shape(either)
    happen(either, REFUSED)
    result = await delivered(either, under("quarantine"))
    assert (result.updated, result.rejected, result.changes) == (3, 3, ())
    assert sorted(field for _, _, field in rejects(either)) == ["code", "moment", "size"]
    assert shape(either) == before
    assert either.rows("orders", "code", "size", "moment") == [(None, None, None)] * 6


@pytest.mark.parametrize("policy", ["evolve", "freeze"])
async def test_another_meaning_is_refused(either: Engine, policy: SchemaPolicy) -> None:
    create(either, REFUSED)
    await either.deliver(under(policy))
    before = state(either)
    happen(either, REFUSED)
    with pytest.raises(SchemaConflict, match="Remedy: declare the type that the target has") as refused:
        await either.deliver(under(policy))
    assert refused.value.problem.count(" and cannot hold ") == len(REFUSED)
    assert state(either) == before


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_narrower_type_and_another_order_change_nothing(either: Engine, policy: SchemaPolicy) -> None:
    create(either, HARMLESS)
    await either.deliver(under(policy))
    before = shape(either)
    happen(either, HARMLESS)
    either.source("ALTER TABLE orders RENAME TO former")
    either.source("CREATE TABLE orders AS SELECT changed, short, id, day, coarse, small FROM former")
    result = await delivered(either, under(policy))
    assert (result.changes, result.rejected, result.read) == ((), 0, 2 * len(HARMLESS))
    assert shape(either) == before
    assert_same(either, [case for case in HARMLESS if case.column != "day"])
    assert either.query("SELECT count(*) FROM engine.orders WHERE day = '0001-01-01'") == [(1,)]


@pytest.fixture
def notes(either: Engine) -> Engine:
    """With three rows in the source."""
    either.source(
        "CREATE TABLE orders (id int PRIMARY KEY, n int, note varchar(40), changed timestamptz DEFAULT now())"
    )
    either.source("INSERT INTO orders SELECT i, i, 'a' FROM generate_series(1, 3) AS i")
    return either


def touch(engine: Engine, row: int, n: int) -> None:
    engine.source(f"UPDATE orders SET n = {n}, {STAMPED} WHERE id = {row}")


@pytest.mark.parametrize("policy", ["evolve", "quarantine"])
async def test_a_column_that_left_is_kept_and_told_once_until_it_is_back(notes: Engine, policy: SchemaPolicy) -> None:
    await notes.deliver(under(policy))
    told = []
    for turn, happens in enumerate(["DROP note", "ALTER n SET NOT NULL", "ADD note text DEFAULT 'back'", "DROP note"]):
        notes.source(f"{ALTER} {happens}")
        touch(notes, 2, n=20 + turn)
        result = await delivered(notes, under(policy))
        told.append([change.split(" the source")[0] for change in result.changes])
        note = "back" if "back" in happens else None
        assert notes.rows("orders", "id", "n", "note") == [(1, 1, "a"), (2, 20 + turn, note), (3, 3, "a")]
    left = "column note of engine.orders is not read any more; it is NULL in rows delivered from now on"
    assert told == [[left], [], [], [left]]


async def test_freeze_refuses_that_a_column_left(notes: Engine) -> None:
    await notes.deliver(under("freeze"))
    before = state(notes)
    notes.source(f"{ALTER} DROP note")
    touch(notes, 2, n=20)
    with pytest.raises(SchemaConflict, match=r"column note .* is not read any more.*policy is freeze"):
        await notes.deliver(under("freeze"))
    assert state(notes) == before


async def test_a_sweep_fills_a_new_column_in_rows_that_nobody_touched(notes: Engine) -> None:
    await notes.deliver(under("evolve"))
    notes.source(f"{ALTER} ADD remark text DEFAULT 'given to all'")
    touch(notes, 2, n=20)
    await notes.deliver(under("evolve"))
    assert notes.rows("orders", "remark", order="id") == [(None,), ("given to all",), (None,)]
    swept = await notes.sweep(under("evolve"))
    assert swept is not None
    assert (swept.updated, swept.unchanged) == (2, 1)
    assert notes.rows("orders", "remark", order="id") == [("given to all",)] * 3


async def test_a_sweep_does_not_take_quarantined_rows_for_deleted_ones(notes: Engine) -> None:
    await notes.deliver(under("quarantine"))
    notes.source(f"{ALTER} ALTER n TYPE bigint")
    notes.source("UPDATE orders SET n = 1099511627776 WHERE id = 2")  # not stamped
    notes.source("DELETE FROM orders WHERE id = 3")
    swept = await notes.sweep(under("quarantine"))
    assert swept is not None
    assert (swept.deleted, swept.rejected, swept.unchanged, swept.changes) == (1, 1, 1, ())
    assert rejects(notes) == [('{"id":2}', "schema_type", "n")]
    assert notes.rows("orders", "id", "n") == [(1, 1), (2, 2)]


async def test_a_replay_delivers_what_was_rejected_once_the_policy_lets_it(notes: Engine) -> None:
    await notes.deliver(under("quarantine"))
    notes.source(f"{ALTER} ALTER n TYPE bigint")
    touch(notes, 2, n=2**40)
    assert (await delivered(notes, under("quarantine"))).rejected == 1
    replayed = await notes.replay(under("evolve"))
    assert replayed is not None
    assert (replayed.updated, len(replayed.changes)) == (1, 1)
    assert notes.rows("orders", "id", "n") == [(1, 1), (2, 2**40), (3, 3)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_renamed_column_is_one_that_left_and_one_that_came(notes: Engine, policy: SchemaPolicy) -> None:
    await notes.deliver(under(policy))
    notes.source(f"{ALTER} RENAME note TO remark")
    touch(notes, 2, n=20)
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match=r"add column remark .*; column note .* is not read any more"):
            await notes.deliver(under(policy))
        return
    result = await delivered(notes, under(policy))
    if policy == "evolve":
        assert [change.split()[:3] for change in result.changes] == [
            ["add", "column", "remark"],
            ["column", "note", "of"],
        ]
        assert notes.rows("orders", "note", "remark", order="id") == [("a", None), (None, "a"), ("a", None)]
    else:
        assert (rejects(notes), result.loaded) == ([('{"id":2}', "schema_new_column", "remark")], 0)
        assert notes.rows("orders", "id", "n", "note") == [(1, 1, "a"), (2, 2, "a"), (3, 3, "a")]


@pytest.mark.parametrize("policy", POLICIES)
async def test_another_key_is_refused(notes: Engine, policy: SchemaPolicy) -> None:
    await notes.deliver(under(policy))
    before = state(notes)
    touch(notes, 2, n=20)
    with pytest.raises(SchemaConflict, match=r"loaded with the key \(id\), and the declaration says the key \(id, n\)"):
        await notes.deliver(under(policy, key=("id", "n")))
    assert state(notes) == before
    assert (await delivered(notes, under(policy))).updated == 1


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_longer_text_where_lengths_are_measured(engine: Engine, policy: SchemaPolicy) -> None:
    """VARCHAR(40) of Redshift; a text of Postgres has no length."""
    engine.source("CREATE TABLE orders (id int PRIMARY KEY, note varchar(40), changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO orders VALUES (1, repeat('ä', 20)), (2, 'a')")  # 40 bytes
    await engine.deliver(under(policy))
    engine.source(f"UPDATE orders SET note = repeat('ä', 22 - id), {STAMPED}")  # 42 and 40 bytes
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match=r"widen column note .* to VARCHAR\(64\)"):
            await engine.deliver(under(policy))
        return
    result = await delivered(engine, under(policy))
    if policy == "evolve":
        assert result.changes == ("widen column note of engine.orders to VARCHAR(64)",)
        assert engine.rows("orders", "note", order="id") == [("ä" * 21,), ("ä" * 20,)]
    else:
        assert (rejects(engine), result.updated) == ([('{"id":1}', "schema_too_long", "note")], 1)


async def test_soft_deletes_that_are_declared_later_get_their_column(notes: Engine) -> None:
    await notes.deliver(under("evolve"))
    touch(notes, 2, n=20)
    result = await delivered(notes, under("evolve", deletes="soft"))
    assert result.changes == ("add column _deleted_at TIMESTAMPTZ to engine.orders",)
    assert notes.rows("orders", "id", "_deleted_at") == [(1, None), (2, None), (3, None)]
