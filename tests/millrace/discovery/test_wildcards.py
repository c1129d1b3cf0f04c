"""Wildcards: which streams they stand for, run after run, and what is told of tables that come, go or do not fit."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import dataframely as dy
import pytest
from pymongo import MongoClient

from local.mysql import connect as connect_mysql
from millrace import (
    Append,
    Incremental,
    Merge,
    Model,
    Pipeline,
    Redact,
    Replace,
    Snapshot,
    Stream,
    Streams,
    text,
)
from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.extend_file import propose_new
from millrace.discovery.propose import propose_streams
from millrace.discovery.resolution import Resolution
from millrace.discovery.resolve import resolve, resolve_as_recorded
from millrace.sources.found import FoundTable
from tests.support.engine import Engine, Together


class Counted(dy.Schema):
    """What a model of the tests computes."""

    id = dy.Int32(nullable=False)


def computed(orders: Any) -> Any:
    return orders


ALL = Streams("postgres:public.*")
TABLES = """
    CREATE TABLE orders (id int PRIMARY KEY, email text, updated_at timestamptz DEFAULT now());
    CREATE TABLE events (id int PRIMARY KEY, v text);
    CREATE TABLE notes (v text);
    CREATE VIEW paid AS SELECT id FROM orders;
    CREATE TABLE nothing ();
    CREATE TABLE "a
b" (id int PRIMARY KEY);
"""


def pipeline_of(*declared: Stream | Streams, **fields: Any) -> Pipeline:
    return Pipeline("shop", [*declared], **fields)


async def find(engine: Engine, wildcard: Streams, unsampled: list[str]) -> list[FoundTable]:
    reference = wildcard.reference
    with engine._source(Stream("any", f"{reference.kind.name}:a.b", "_id", Snapshot())) as opened:
        return await opened.find_tables(reference.schema, 500, unsampled)


async def resolve_now(engine: Engine, pipeline: Pipeline) -> Resolution:
    """As a run does: by the catalog and the ledger, which records the result."""
    recorded = engine.warehouse.find_recorded_streams(pipeline)
    known = [SourceReference.parse(row.source).name for row in recorded]
    found = {str(wildcard): await find(engine, wildcard, known) for wildcard in pipeline.wildcards}
    resolution = resolve(pipeline, found, recorded)
    engine.warehouse.record_streams(pipeline, resolution.records)
    return resolution


def names(resolution: Resolution) -> list[str]:
    return [stream.name for stream in resolution.streams]


async def test_each_table_is_read_as_init_proposes_it(engine: Engine) -> None:
    engine.source(TABLES)
    pipeline = pipeline_of(ALL, Stream("events", "postgres:public.events", "id", Snapshot()))
    first = await resolve_now(engine, pipeline)
    by_name = {stream.name: stream for stream in first.streams}
    assert (first.errors, list(by_name)) == ({}, ["notes", "orders", "paid"])
    assert by_name["orders"] == Stream(
        "orders", "postgres:public.orders", "id", Incremental("updated_at"), sweep="daily", omitted=set()
    )
    assert by_name["notes"].load == by_name["paid"].load == Replace()
    proposed = {one.name: one for one in propose_streams(ALL.reference, await find(engine, ALL, []))}
    assert first.reasons["orders"] == [*proposed["orders"].notes]
    assert first.told == [
        "postgres:public.*: new: public.notes as notes, key none, Snapshot",
        "postgres:public.*: new: public.orders as orders, key id, Incremental by updated_at; looks personal or secret: "
        "email (mask= or omitted=)",
        "postgres:public.*: new: public.paid as paid, key none, Snapshot",
        r"postgres:public.*: not replicated: a\nb (its name contains a control character: read a view of it)",
        "postgres:public.*: not replicated: nothing (it has no columns)",
    ]
    assert (await resolve_now(engine, pipeline)).told == first.told[3:]
    (new, notes) = propose_new(pipeline, ALL.reference, await find(engine, ALL, []))
    assert (new, notes) == ([], []), "init does not add what a wildcard names"


async def test_what_is_declared_holds_for_each_stream_that_has_the_column(engine: Engine) -> None:
    engine.source(TABLES)
    wildcard = Streams(
        "postgres:public.*",
        exclude=["no*", "a*"],
        prefix="pg_",
        sweep="every run",
        deletes="soft",
        omitted=["v"],
        mask={"email": Redact()},
        max_delete_share=0.2,
    )
    resolution = await resolve_now(engine, pipeline_of(wildcard))
    streams = {stream.name: stream for stream in resolution.streams}
    orders, events = streams.pop("pg_orders"), streams.pop("pg_events")
    assert (streams, events.sweep) == ({}, "")
    assert "not replicated: paid (" in resolution.told[-1], "rows without a key cannot be marked"
    assert (orders.mask, orders.omitted, orders.deletes, orders.sweep) == (
        {"email": Redact()},
        set(),
        "soft",
        "every run",
    )
    assert (events.mask, events.omitted, events.max_delete_share, events.load) == ({}, {"v"}, 0.2, Merge())


@pytest.mark.parametrize(
    ("policy", "streams", "told", "error"),
    [
        ("evolve", ["events", "orders", "sales"], "new: public.sales as sales, key id, Snapshot", ""),
        ("quarantine", ["events", "orders"], "not replicated: sales (new, and the schema policy is quarantine", ""),
        ("freeze", ["events", "orders"], "", "table sales is new since the last run"),
    ],
    ids=["evolve", "quarantine", "freeze"],
)
async def test_a_table_that_comes_later(engine: Engine, policy: Any, streams: list[str], told: str, error: str) -> None:
    engine.source(TABLES)
    pipeline = pipeline_of(replace(ALL, include=["orders", "events", "sales"], schema_policy=policy))
    assert names(await resolve_now(engine, pipeline)) == ["events", "orders"]
    engine.source("CREATE TABLE sales (id int PRIMARY KEY)")
    second = await resolve_now(engine, pipeline)
    assert names(second) == streams
    assert told in " ".join(second.told)
    assert [error in str(one) and "Remedy" in str(one) for one in second.errors.values()] == [True] * bool(error)


async def test_a_table_that_goes_is_told_and_comes_back_as_it_was(engine: Engine) -> None:
    engine.source(TABLES)
    pipeline = pipeline_of(replace(ALL, exclude=["no*", "a*", "paid"]))
    await resolve_now(engine, pipeline)
    engine.source("ALTER TABLE events RENAME TO happened")
    for is_first in (True, False):
        second = await resolve_now(engine, pipeline)
        assert names(second) == ["happened", "orders"]
        gone = "gone: public.events, or this user does not see it any more; its target shop.events stays as it is"
        assert gone in second.told[is_first]
        assert ("a renamed table is gone by its old name, and new by the other" in second.told[-1]) == is_first
    assert [stream.name for stream in resolve_as_recorded(pipeline, second.records)] == ["happened", "orders", "events"]
    engine.source("ALTER TABLE happened RENAME TO events")
    third = await resolve_now(engine, pipeline)
    assert names(third) == ["events", "orders"]
    assert [line.partition(": ")[2][:20] for line in third.told] == ["gone: public.happene"]


async def test_a_run_never_changes_by_itself_how_a_table_is_read(engine: Engine) -> None:
    engine.source(TABLES)
    pipeline = pipeline_of(replace(ALL, include=["events", "orders"]))
    await resolve_now(engine, pipeline)
    engine.source(
        "ALTER TABLE events ADD updated_at timestamptz, ADD p point; ALTER TABLE orders DROP updated_at CASCADE"
    )
    second = await resolve_now(engine, pipeline)
    events, orders = second.streams
    assert (events.capture, events.sweep, events.types) == (Snapshot(), "", {"p": text()})
    suggestion = 'chosen when the table was found; the catalog suggests key id, Incremental("updated_at") now'
    assert second.reasons["events"][-1] == suggestion
    assert orders.capture == Snapshot(), "its cursor left"


async def test_a_hidden_column_that_is_renamed_stops_its_stream(together: Together) -> None:
    engine = together.engine
    engine.source(TABLES + "; INSERT INTO orders VALUES (1, 'ann@example.com')")
    pipeline = pipeline_of(replace(ALL, include=["orders"], mask={"email": Redact()}))
    found = pipeline.with_found((await resolve_now(engine, pipeline)).streams)
    await together.run(found)
    assert engine.query("SELECT id, email FROM shop.orders") == [(1, None)]
    engine.source("ALTER TABLE orders RENAME email TO e_mail")
    found = pipeline.with_found((await resolve_now(engine, pipeline)).streams)
    with pytest.raises(SourceMissing, match="mask names 'email', and there is no such column"):
        await together.run(found)


async def test_names_that_collide_are_told(engine: Engine) -> None:
    engine.source('CREATE TABLE "Sales" (id int PRIMARY KEY); CREATE TABLE sales (id int PRIMARY KEY)')
    engine.source("CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE total (id int PRIMARY KEY)")
    engine.source("CREATE TABLE computed (id int PRIMARY KEY)")
    others = Streams("postgres:public.*", include=["other"], prefix="x_")
    total = Stream("orders", "postgres:elsewhere.totals", "id", Snapshot(), target="total")
    resolution = await resolve_now(engine, pipeline_of(others, ALL, total, models=[Model(computed, Counted, "id")]))
    assert names(resolution) == ["x_other", "sales"]
    for refused in (
        "sales (its stream would be named sales, as that of postgres:public.Sales: exclude it, or declare a Stream",
        "computed (its stream would be named computed, as that of a model",
        "total (its stream would be named total, as that of postgres:elsewhere.totals",
    ):
        assert f"postgres:public.*: not replicated: {refused}" in " ".join(resolution.told)


@pytest.mark.parametrize(
    ("wildcard", "message"),
    [
        (replace(ALL, include=["absent"]), "it names no table that this user sees. Remedy: choose from a"),
        (replace(ALL, mask={"e_mail": Redact()}), "mask names 'e_mail', and none of its tables has such a column"),
    ],
    ids=["no-table", "misspelt-mask"],
)
async def test_a_wildcard_that_cannot_be_meant_fails(engine: Engine, wildcard: Streams, message: str) -> None:
    engine.source(TABLES)
    resolution = await resolve_now(engine, pipeline_of(wildcard))
    (error,) = resolution.errors.values()
    assert message in str(error)
    assert resolution.streams == []


@pytest.mark.parametrize(
    ("wildcard", "told"),
    [
        (
            replace(ALL, capture=Incremental("updated_at")),
            "events, notes, paid (it has no column 'updated_at'",
        ),
        (replace(ALL, load=Append()), "notes, paid (no key is declared"),
        (replace(ALL, exclude=["absent_*"]), "exclude absent_* names no table"),
    ],
    ids=["cursor", "key", "pattern"],
)
async def test_tables_that_do_not_fit_stop_no_other(engine: Engine, wildcard: Streams, told: str) -> None:
    engine.source(TABLES)
    resolution = await resolve_now(engine, pipeline_of(wildcard))
    assert told in " ".join(resolution.told)
    assert "orders" in names(resolution)
    assert resolution.errors == {}


async def test_an_unreachable_source_keeps_what_was_recorded(engine: Engine) -> None:
    engine.source(TABLES)
    pipeline = pipeline_of(ALL)
    recorded = (await resolve_now(engine, pipeline)).records
    resolution = resolve(pipeline, {str(ALL): SourceMissing("gone", place="test")}, recorded)
    assert (resolution.records, resolution.streams, list(resolution.errors)) == (recorded, [], [str(ALL)])


async def test_the_ledger_knows_the_streams_of_the_last_run(kept: Engine) -> None:
    kept.source(TABLES)
    pipeline = pipeline_of(ALL)
    assert kept.warehouse.find_recorded_streams(pipeline) == []
    resolution = await resolve_now(kept, pipeline)
    recorded = kept.warehouse.find_recorded_streams(pipeline)
    assert sorted(recorded, key=repr) == sorted(resolution.records, key=repr)
    assert resolve_as_recorded(pipeline, recorded) == resolution.streams
    assert resolve_as_recorded(pipeline_of(Stream("a", "postgres:public.a", "id", Snapshot())), recorded) == []


async def test_tables_of_mysql(engine: Engine, mysql_database: str) -> None:
    engine = replace(engine, mysql_url=mysql_database)
    database = mysql_database.rpartition("/")[2]
    with closing(connect_mysql(mysql_database)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE album (id int AUTO_INCREMENT PRIMARY KEY, changed_at timestamp)")
        cursor.execute("CREATE TABLE track (id int PRIMARY KEY, v json)")
    album, track = (await resolve_now(engine, pipeline_of(Streams(f"mysql:{database}.*")))).streams
    assert (album.source, album.capture) == (f"mysql:{database}.album", Incremental("changed_at"))
    assert (track.key, track.capture) == ("id", Snapshot())


async def test_collections_are_sampled_once(engine: Engine) -> None:
    database: Any = MongoClient(engine.mongo_url)["wild"]
    database.trades.insert_one({"_id": 1, "updatedAt": None, "by_day": {f"d{number}": 1 for number in range(60)}})
    database.create_collection("empty")
    pipeline = pipeline_of(Streams("mongo:wild.*"))
    first = await resolve_now(engine, pipeline)
    assert names(first) == ["trades"]
    assert "not replicated: empty (it has no documents)" in first.told[-1]
    database.trades.delete_many({})
    second = await resolve_now(engine, pipeline)
    assert second.streams == first.streams, "no document was looked at"
    assert list(second.streams[0].types) == ["by_day"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"source": "postgres:public.orders"},
            "names one table. Remedy: declare a Stream for it, or write postgres:",
        ),
        ({"source": "postgres:*.orders"}, "schema '*' is a pattern"),
        ({"source": "sqs/events"}, "a queue has no tables"),
        ({"source": "postgres"}, "source 'postgres' is not understood"),
        (
            {"source": "postgres:public.*", "exclude": "audit_*"},
            "exclude is 'audit_*'. Remedy: it must be a list",
        ),
        ({"source": "postgres:public.*", "prefix": "My "}, "'My ' is not a name"),
        ({"source": "postgres:public.*", "sweep": "often"}, "often"),
        ({"source": "postgres:public.*", "omitted": ["a"], "mask": {"a": Redact()}}, "'a' is masked and omitted"),
    ],
    ids=["table", "schema", "queue", "source", "text", "prefix", "sweep", "hidden"],
)
def test_a_wrong_declaration_says_what_to_write(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Streams(**arguments)
    assert message in str(raised.value)


def test_two_wildcards_that_are_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"pattern 'postgres:public.\*' is declared twice"):
        pipeline_of(ALL, replace(ALL, exclude=["a"]))


def test_a_model_of_a_wildcard_is_checked_when_its_stream_is_known() -> None:
    other = Stream("other", "postgres:public.other", "id", Snapshot())
    pipeline = pipeline_of(ALL, other, models=[Model(computed, Counted, "id")])
    with pytest.raises(ConfigurationError, match="its parameter 'orders' is neither a stream nor a model"):
        pipeline.with_found([])
    orders = Stream("orders", "postgres:public.orders", "id", Snapshot())
    assert [stream.name for stream in pipeline.with_found([orders]).streams] == ["other", "orders"]
