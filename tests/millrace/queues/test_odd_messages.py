"""Messages without a key, and streams of messages without a stamp: one odd message stops no other."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import dataframely as dy
import pytest
from pymongo import MongoClient

from millrace import Append, Incremental, Merge, Queue, Stream
from millrace.base import naming
from millrace.base.errors import TooManyRejects
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, database_of
from tests.support.queue_messages import LATER, collect

ORDERS = Stream("orders", "sqs/orders", "id", Queue(stamp="at"), load=Merge(), max_reject_share=1.0)


def reasons(engine: Engine) -> list[tuple[str, str]]:
    return [(one["reason"], one["field"]) for one in engine.rejects()]


WITHOUT_A_KEY = {
    '{"v":1}': ("no_key", "id"),
    "{}": ("no_key", "id"),
    '{"id":null}': ("no_key", "id"),
    '{"id":{}}': ("no_key", "id"),
    '{"id":{"a":1}}': ("no_key", "id"),
    '{"id":5}': ("type_mismatch", "id"),
    '{"id":["a"]}': ("type_mismatch", "id"),
    '{"id":"a\\u0000"}': ("nul_character", "id"),
}


@pytest.mark.parametrize("load", [Append(), Merge()], ids=["append", "merge"])
async def test_a_message_without_a_key_is_rejected_alone_and_stops_no_other(engine: Engine, load: LoadMode) -> None:
    stream = Stream(**{**vars(ORDERS), "load": load})
    collect(engine, '{"id":"a"}', *WITHOUT_A_KEY, '{"id":"b"}', '{"id":"c"}')
    result = await engine.run(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (3, len(WITHOUT_A_KEY))
    assert Counter(reasons(engine)) == Counter(WITHOUT_A_KEY.values())
    collect(engine, '{"id":"d"}', at=LATER)
    again = await engine.run(stream)
    assert again is not None
    assert (again.read, again.inserted) == (1, 1)
    assert [key for (key,) in engine.rows("orders", "id")] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("bodies", [['{"v":1}'], ["{"], ["[]", '{"id":null}'], ['{"id":"a\\u0000"}']])
async def test_a_queue_that_begins_with_messages_without_a_key_goes_on(engine: Engine, bodies: list[str]) -> None:
    collect(engine, *bodies)
    with suppress(TooManyRejects):
        await engine.run(ORDERS)
    collect(engine, '{"id":"a"}', at=LATER)
    result = await engine.run(ORDERS)
    assert result is not None
    assert result.inserted == 1
    assert engine.rows("orders", "id") == [("a",)]


async def test_a_field_whose_name_is_longer_than_the_ledger_holds_is_rejected_alone(either: Engine) -> None:
    longest, longer = "x" * 65_535, "é" * 32_768
    collect(either, '{"id":"a"}', f'{{"id":"b","{longest}":1}}', f'{{"id":"c","{longer}":1}}')
    result = await either.run(ORDERS)
    assert result is not None
    assert (result.inserted, result.rejected) == (2, 1)
    assert reasons(either) == [("name_too_long", "é" * 100 + "…")]
    collect(either, f'{{"id":"d","{longer}":{{"{longest}":2}}}}', '{"id":"e"}', at=LATER)
    again = await either.run(ORDERS)
    assert again is not None
    assert (again.inserted, again.rejected) == (1, 1)


async def test_a_new_field_names_the_run_that_fills_it_in_messages_loaded_before(engine: Engine) -> None:
    collect(engine, '{"id":"a","v":1}')
    await engine.run(Stream(**{**vars(ORDERS), "omitted": ["v"]}))
    collect(engine, '{"id":"b","v":2}', at=LATER)
    result = await engine.run(ORDERS)
    assert result is not None
    (told,) = result.warnings
    assert "NULL in the new v until they are read again: `millrace run engine --full` does it" in told
    await engine.run(ORDERS, ReadRequest("full"))
    assert engine.rows("orders", "id", "v") == [("a", 1), ("b", 2)]


async def test_a_message_that_lacks_one_field_of_its_key_is_rejected(engine: Engine) -> None:
    stream = Stream(**{**vars(ORDERS), "key": ["shop.id", "no"]})
    collect(engine, '{"shop":{"id":1},"no":1}', '{"shop":{},"no":1}', '{"shop":{"id":1}}', '{"shop":[],"no":1}')
    result = await engine.run(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (1, 3)
    assert Counter(reasons(engine)) == {("no_key", "shop_id"): 2, ("no_key", "no"): 1}


async def test_a_contract_that_asks_for_the_key_says_so_itself(engine: Engine) -> None:
    class Order(dy.Schema):
        id = dy.String(nullable=False)

    collect(engine, '{"id":"a"}', '{"v":1}')
    result = await engine.run(Stream(**{**vars(ORDERS), "contract": Order}))
    assert result is not None
    assert (result.inserted, result.rejected) == (1, 1)
    assert reasons(engine) == [("contract_nullability", "id")]


@pytest.mark.parametrize("load", [Append(), Merge()], ids=["append", "merge"])
@pytest.mark.parametrize("capture", [Queue(), Queue(stamp="never_there")], ids=str)
async def test_messages_without_a_stamp_are_loaded(either: Engine, capture: Queue, load: LoadMode) -> None:
    """None is declared, or no message has it."""
    stream = Stream(**{**vars(ORDERS), "capture": capture, "load": load})
    collect(either, '{"id":"a","v":"x"}', '{"id":"b","v":"x"}', '{"id":"a","v":"x"}')
    first = await either.run(stream)
    collect(either, '{"id":"a","v":"x"}', '{"id":"c","v":"x"}', at=LATER)
    second = await either.run(stream)
    assert first is not None
    assert second is not None
    assert (first.inserted, first.unchanged, second.inserted, second.unchanged) == (2, 1, 1, 1)
    assert either.rows("orders", "id", "v") == [("a", "x"), ("b", "x"), ("c", "x")]


SYSTEM_COLUMNS = ["xmin", "xmax", "cmin", "cmax", "ctid", "tableoid", "oid", "insertxid", "deletexid"]


@pytest.mark.parametrize("name", [*SYSTEM_COLUMNS, "XMIN"])
async def test_a_field_may_be_called_as_a_system_column(either: Engine, name: str) -> None:
    message: dict[str, Any] = {"id": "a", name: 5}
    collect(either, json.dumps(message))
    await either.run(ORDERS)
    column = next(column.name for column in either.batches[-1].columns if column.path == name)
    assert column.startswith(f"{name.lower()}_")
    assert either.rows("orders", "id", column) == [("a", 5)]


@pytest.mark.parametrize("kind", ["postgres", "mysql", "mongo"])
async def test_rows_of_any_source_may_have_every_system_column(
    engine: Engine, mysql_database: str, mongo_database: str, kind: str
) -> None:
    """As far as the source itself takes such columns; as keys as well, and by a sweep."""
    names = SYSTEM_COLUMNS[-3:] if kind == "postgres" else SYSTEM_COLUMNS
    engine.mysql_url = mysql_database
    schema = database_of(mysql_database)
    sources = {"postgres": "postgres:public", "mysql": f"mysql:{schema}", "mongo": f"mongo:{mongo_database}"}
    stream = Stream("boxes", f"{sources[kind]}.boxes", "oid", Incremental("changed"))
    columns = ", ".join(f"{name} int" for name in names)
    values, moved = ", ".join("5" for _ in names), "insertxid"
    if kind == "mongo":
        with MongoClient[dict[str, Any]](engine.mongo_url) as client:
            boxes = client[mongo_database]["boxes"]
            boxes.insert_one({"_id": 1, **dict.fromkeys(names, 5), "changed": datetime.now(UTC)})
            await engine.deliver(stream)
            boxes.update_one({}, {"$set": {moved: 6}})
    elif kind == "mysql":
        engine.mysql(f"CREATE TABLE boxes ({columns}, changed timestamp(6) DEFAULT now(6))")
        engine.mysql(f"INSERT INTO boxes VALUES ({values}, now(6))", "COMMIT")
        await engine.deliver(stream)
        engine.mysql(f"UPDATE boxes SET {moved} = 6, changed = changed", "COMMIT")
    else:
        engine.source(f"CREATE TABLE boxes ({columns}, changed timestamptz DEFAULT now())")
        engine.source(f"INSERT INTO boxes VALUES ({values})")
        await engine.deliver(stream)
        engine.source(f"UPDATE boxes SET {moved} = 6")
    swept = await engine.sweep(stream)
    assert swept and (swept.updated, swept.deleted) == (1, 0)
    held = {column.path: column.name for column in engine.batches[-1].columns}
    [row] = engine.rows("boxes", *(held[name] for name in names))
    assert row == tuple(6 if name == moved else 5 for name in names)


async def test_a_target_that_has_a_column_of_such_a_name_keeps_it(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version made it, in a Postgres warehouse."""
    with monkeypatch.context() as earlier:
        earlier.setattr(naming, "RESERVED", naming.RESERVED - {"oid"})
        collect(postgres_engine, '{"id":"a","oid":5}')
        await postgres_engine.run(ORDERS)
    collect(postgres_engine, '{"id":"b","oid":6}', at=LATER)
    result = await postgres_engine.run(ORDERS)
    assert result and result.changes == ()
    assert postgres_engine.rows("orders", "id", "oid") == [("a", 5), ("b", 6)]
