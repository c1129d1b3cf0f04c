"""Which field a column holds is remembered in the ledger, so that two fields never share one."""

from __future__ import annotations

from millrace import Incremental, Stream
from millrace.drivers.mongo_client import open_client
from tests.support.engine import Engine


async def test_a_field_that_would_share_a_column_gets_its_own(engine: Engine, mongo_database: str) -> None:
    things = Stream("things", source=f"mongo:{mongo_database}.things", key="id", capture=Incremental("at"))
    client = open_client(engine.mongo_url)
    await client[mongo_database]["things"].insert_one({"id": 1, "a": {"b": "embedded"}})
    await engine.deliver(things)
    await client[mongo_database]["things"].insert_one({"id": 2, "a_b": "plain"})
    client.close()
    await engine.deliver(things)
    paths = dict(engine.query("SELECT path, name FROM millrace.columns WHERE path IN ('a.b', 'a_b')"))
    assert paths["a.b"] == "a_b"
    assert engine.rows("things", "a_b", paths["a_b"], order="id") == [("embedded", None), (None, "plain")]


async def test_a_column_of_a_table_keeps_its_name_when_a_rival_is_added(engine: Engine) -> None:
    engine.source('CREATE TABLE t (id int PRIMARY KEY, "aB" text, changed timestamptz DEFAULT clock_timestamp())')
    engine.source("INSERT INTO t VALUES (1, 'first')")
    table = Stream("t", source="postgres:public.t", key="id", capture=Incremental("changed"))
    await engine.deliver(table)
    engine.source("ALTER TABLE t ADD COLUMN a_b text")
    engine.source("UPDATE t SET a_b = 'rival', changed = clock_timestamp()")
    await engine.deliver(table)
    paths = dict(engine.query("SELECT path, name FROM millrace.columns WHERE path IN ('aB', 'a_b')"))
    assert engine.rows("t", paths["aB"], paths["a_b"]) == [("first", "rival")]
    assert paths["aB"] == "a_b"
