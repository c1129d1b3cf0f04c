"""What `init` writes for databases that nobody here made runs as it is, and every row arrives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bson import ObjectId
from pymongo import MongoClient

from local.stack import Stack
from millrace import Incremental, Pipeline, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.declaration.consent import Consent
from millrace.declaration.find import find_pipeline
from millrace.discovery.choose_tables import choose_tables, parse_reference
from millrace.discovery.extend_file import extend_file, propose_new
from millrace.discovery.propose import propose_streams
from millrace.discovery.write_file import write_file
from millrace.runs.choose import ReadRequest
from millrace.sources.found import FoundTable
from tests.support import awkward_shop
from tests.support.engine import Engine, Together

RUN = ReadRequest(consent=Consent(allow_deletes=True))
SWEEP = ReadRequest("sweep", deep=True, consent=Consent(allow_deletes=True))
TABLES_OF_POSTGRES = ["Customer", "country", "empty_one", "film", "film_actor", "log_line", "order", "payment"]


async def find(engine: Engine, source: str) -> list[FoundTable]:
    reference = parse_reference(source)
    with engine._source(Stream("any", f"{reference.kind.name}:a.b", "_id", Snapshot())) as opened:
        return choose_tables(reference, await opened.find_tables(reference.schema, 500), (), ())


async def init(engine: Engine, source: str, path: Path) -> Pipeline:
    """The pipeline of the file that is written."""
    streams = propose_streams(parse_reference(source), await find(engine, source))
    path.write_text(write_file("shop", f"millrace init {source}", [parse_reference(source)], streams))  # noqa: ASYNC240 - a few lines
    return find_pipeline(f"{path}:pipeline")


def assert_formatted(path: Path) -> None:
    """As Ruff and Black format a file without settings."""
    for arguments in (("format", "--check"), ("check", "--select", "I,F")):
        command = [sys.executable, "-m", "ruff", *arguments, "--isolated", str(path)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + path.read_text()


def count_rows(engine: Engine, pipeline: Pipeline, names: Collection[str] = ()) -> dict[str, int]:
    """Rows in the warehouse, by table of the source; of all streams unless some are named."""
    return {
        stream.reference.name: engine.query(f'SELECT count(*) FROM shop."{stream.table}"')[0][0]
        for stream in pipeline.streams
        if stream.name in names or not names
    }


async def assert_equal(together: Together, pipeline: Pipeline, expected: dict[str, int]) -> None:
    """The target has as many rows, and a deep sweep finds no difference."""
    assert count_rows(together.engine, pipeline) == expected
    results = await together.run(pipeline, read_request=SWEEP)
    assert {name: (one.loaded, one.rejected) for name, one in results.items() if one.loaded or one.rejected} == {}


def by_name(pipeline: Pipeline) -> dict[str, Stream]:
    return {stream.reference.name: stream for stream in pipeline.streams}


async def test_a_schema_of_postgres(on_redshift: Together, tmp_path: Path) -> None:
    engine, path = on_redshift.engine, tmp_path / "shop.py"
    engine.source(awkward_shop.POSTGRES)
    pipeline = await init(engine, "postgres:public.*", path)
    assert_formatted(path)
    streams = by_name(pipeline)
    assert sorted(streams) == sorted([*TABLES_OF_POSTGRES, "film_list"])
    chosen = {name: (one.key, type(one.capture).__name__, type(one.load).__name__) for name, one in streams.items()}
    assert chosen["film"] == ("film_id", "Incremental", "Merge")
    assert chosen["film_actor"] == (["film_id", "actor_id"], "Incremental", "Merge")
    assert chosen["Customer"] == ("CustomerId", "Snapshot", "Merge")
    assert chosen["country"] == ("code", "Snapshot", "Merge")
    assert chosen["log_line"] == chosen["film_list"] == ("", "Snapshot", "Replace")
    text = path.read_text()
    for note in (
        "# last_update by its name; trigger film_touch runs at every update",
        "# modified_at by its name: CHECK that every insert and update sets it",
        "# modified_at has no time zone: declare stamps_in= unless it is written in UTC",
        "# description is tsvector, which has no type in the warehouse: it arrives as",
        "# looks personal or secret: Email, FirstName (mask= or omitted=)",
        "# no primary key: the unique key is taken, whose columns are never NULL",
        "# NOT READ: it was never filled: REFRESH MATERIALIZED VIEW",
        '        #     "postgres:public.by_rating",\n',
        "    GRANT SELECT ON ALL TABLES IN SCHEMA public TO <user>;",
    ):
        assert note in text
    await on_redshift.run(pipeline)
    await assert_equal(on_redshift, pipeline, _counts_in_postgres(engine))
    engine.source(awkward_shop.POSTGRES_CHANGES)
    await on_redshift.run(pipeline, read_request=RUN)
    await on_redshift.run(pipeline, read_request=SWEEP)
    await assert_equal(on_redshift, pipeline, _counts_in_postgres(engine))


def _counts_in_postgres(engine: Engine) -> dict[str, int]:
    names = [*TABLES_OF_POSTGRES, "film_list"]
    return {name: engine.source(f'SELECT count(*) FROM public."{name}"')[0][0] for name in names}


async def test_a_database_of_mysql(on_redshift: Together, mysql_database: str, tmp_path: Path) -> None:
    engine, path, schema = on_redshift.engine, tmp_path / "shop.py", mysql_database.rpartition("/")[2]
    engine.mysql_url = mysql_database
    engine.mysql(*awkward_shop.MYSQL)
    pipeline = await init(engine, f"mysql:{schema}.*", path)
    assert_formatted(path)
    streams = by_name(pipeline)
    tables = ["InvoiceLine", "actor", "actor_list", "store", "tokens", "visits"]
    assert sorted(streams) == tables
    assert (streams["actor"].capture.cursor_column, streams["actor"].sweep) == ("last_update", "daily")
    assert streams["store"].omitted == ["spot"]
    assert (streams["tokens"].capture.cursor_column, streams["tokens"].sweep) == ("updated_at", "")
    text = path.read_text()
    assert "# the server sets last_update at every update" in text
    assert "# no sweep, so deletes are not seen: a sweep cannot compare keys of this type" in text

    def counts() -> dict[str, int]:
        return {name: engine.mysql(f"SELECT count(*) FROM `{name}`")[0][0] for name in tables}

    await on_redshift.run(pipeline)
    assert count_rows(engine, pipeline) == counts()
    engine.mysql(*awkward_shop.MYSQL_CHANGES)
    swept = [name for name in streams if name != "tokens"]
    for read_request in (RUN, SWEEP):
        await on_redshift.run(pipeline, *(streams[name].name for name in swept), read_request=read_request)
    assert count_rows(engine, pipeline) == counts()
    results = await on_redshift.run(pipeline, *(streams[name].name for name in swept), read_request=SWEEP)
    assert {name: one.loaded for name, one in results.items() if one.loaded} == {}


async def test_a_database_of_mongodb(on_redshift: Together, mongo_database: str, tmp_path: Path) -> None:
    engine, path = on_redshift.engine, tmp_path / "shop.py"
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        database = client[mongo_database]
        database["users"].insert_many([{"name": f"n{i}", "email": "a@x.org"} for i in range(20)])
        database["Accounts"].insert_many([{"_id": i, "tiers": {f"{i}-{j}": j for j in range(9)}} for i in range(20)])
        database["orders"].insert_many(
            [
                {"_id": f"o{i}", "updatedAt": awkward_shop.MOMENT, "items": [{"n": i}], "total": 1.5 * i}
                for i in range(9)
            ]
        )
        database["mixed"].insert_many([{"_id": ObjectId(), "v": v} for v in (1, 2, 3, "x", None, {"a": 1})])
        database.create_collection("nothing")
        pipeline = await init(engine, f"mongo:{mongo_database}.*", path)
        assert_formatted(path)
        streams = by_name(pipeline)
        assert sorted(streams) == ["Accounts", "mixed", "orders", "users"]
        assert streams["orders"].capture.cursor_column == "updatedAt"
        assert 'items holds documents: children=["items"] fills a table with a row for each' in path.read_text()
        assert path.read_text().count('if rows are only inserted: Incremental("_id"), sweep="daily"') == 2
        assert list(streams["Accounts"].types) == ["tiers"]
        assert "# tiers has 180 different fields or more, so it stays a document" in path.read_text()
        assert "# NOT READ: it has no documents" in path.read_text()
        sound = [one.name for name, one in streams.items() if name != "mixed"]
        await on_redshift.run(pipeline, *sound)
        database["users"].delete_one({"name": "n1"})
        database["users"].update_one({"name": "n2"}, {"$set": {"name": "changed"}})
        database["Accounts"].update_one({"_id": 1}, {"$set": {"tiers.new": 5}})
        database["orders"].delete_one({"_id": "o1"})
        await on_redshift.run(pipeline, *sound, read_request=SWEEP)
        assert count_rows(engine, pipeline, sound) == {"Accounts": 20, "orders": 8, "users": 19}
        results = await on_redshift.run(pipeline, *sound, read_request=SWEEP)
        assert {name: one.loaded for name, one in results.items() if one.loaded} == {}


APPENDED = """
    CREATE TABLE clicks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text);
    CREATE TABLE sales (id serial PRIMARY KEY, made timestamptz DEFAULT now());
    CREATE TABLE names (id serial PRIMARY KEY, body text);
    CREATE TABLE touched_log (id serial PRIMARY KEY, body text);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON touched_log FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TABLE codes_log (id int PRIMARY KEY);
"""


async def test_a_large_table_that_only_grows_is_read_by_its_number(engine: Engine, tmp_path: Path) -> None:
    engine.source(APPENDED)
    found = await find(engine, "postgres:public.*")
    small = {one.name: one for one in propose_streams(parse_reference("postgres:public.*"), found)}
    assert {one.capture for one in small.values()} == {"Snapshot()"}
    proposal = 'if rows are only inserted: Incremental("id"), sweep="daily"'
    assert {name for name, one in small.items() if proposal in one.notes} == {"clicks", "names", "sales", "touched_log"}
    large = [replace(table, rows=6_000_000) for table in found]
    proposed = propose_streams(parse_reference("postgres:public.*"), large)
    by_number = {one.name: one for one in proposed if one.capture == 'Incremental("id")'}
    assert {name: one.sweep for name, one in by_number.items()} == {"clicks": "daily", "sales": "daily"}
    reasons = {name: one.notes[-1] for name, one in by_number.items()}
    assert "the name of the table speaks for inserts only" in reasons["clicks"]
    assert "the server sets made at inserts only" in reasons["sales"]
    assert all("CHECK that rows are hardly ever updated" in reason for reason in reasons.values())
    path = tmp_path / "shop.py"
    path.write_text(write_file("shop", "millrace init", [parse_reference("postgres:public.*")], proposed))
    assert_formatted(path)
    assert by_name(find_pipeline(f"{path}:pipeline"))["clicks"].capture == Incremental("id")


async def test_a_later_init_adds_what_is_new(on_redshift: Together, tmp_path: Path) -> None:
    engine, path = on_redshift.engine, tmp_path / "shop.py"
    engine.source("CREATE TABLE a (id int PRIMARY KEY, updated_at timestamptz); CREATE TABLE b (id int PRIMARY KEY)")
    pipeline = await init(engine, "postgres:public.*", path)
    edited = path.read_text().replace('"a"', '"first"').replace("# table public.b", "# mine: table public.b")
    path.write_text(edited)
    engine.source("CREATE TABLE c (id int, v tsvector); ALTER TABLE b ADD COLUMN spot point")
    pipeline = find_pipeline(f"{path}:pipeline")
    new, notes = propose_new(pipeline, parse_reference("postgres:public.*"), await find(engine, "postgres:public.*"))
    assert [stream.name for stream in new] == ["c"]
    assert notes == [
        "stream b: column spot is point, which has no type in the warehouse: declare it in types, or in omitted"
    ]
    path.write_text(extend_file(edited, str(path), new))
    assert_formatted(path)
    again = find_pipeline(f"{path}:pipeline")
    assert [stream.name for stream in again.streams] == ["first", "b", "c"]
    assert "# mine: table public.b" in path.read_text()
    assert propose_new(again, parse_reference("postgres:public.*"), await find(engine, "postgres:public.*"))[0] == []
    with pytest.raises(ConfigurationError, match="it lacks the line `# New tables"):
        extend_file("pipeline = 1", "shop.py", new)


async def test_only_tables_that_are_meant_are_found(engine: Engine, stack: Stack) -> None:
    engine.source(
        "CREATE TABLE a1 (id int); CREATE TABLE a2 (id int); CREATE TABLE b (id int); REVOKE ALL ON b FROM CURRENT_USER"
    )
    reference = parse_reference("postgres:public.*")
    tables = await find(engine, "postgres:public.*")
    assert [table.name for table in choose_tables(reference, tables, ["a*"], ["a2"])] == ["a1"]
    assert [table.is_readable for table in tables] == [True, True, False]
    for include, exclude, problem in (
        (["z*"], [], r"--include z\* names no table. Remedy: choose from a1, a2, b"),
        ([], ["z"], "--exclude z names no table"),
        ([], ["*"], "it names no table that this user sees"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            choose_tables(reference, tables, include, exclude)
    with pytest.raises(ConfigurationError, match="a queue has no tables"):
        parse_reference("sqs/events")
    with pytest.raises(ConfigurationError, match=r"it names no table .* grant the user USAGE"):
        await find(engine, "postgres:absent.*")


async def test_hostile_names_are_data(on_redshift: Together, tmp_path: Path) -> None:
    """A name that would end a text, a comment or a line of the file, or that another table has."""
    engine, path = on_redshift.engine, tmp_path / "shop.py"
    names = ['say "hi"', "it's", "back\\slash", "a\nb", "'''\"\"\"", "Order", "order", "#", "1st", "ä"]
    with psycopg2.connect(engine.postgres_url) as connection, connection.cursor() as cursor:
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            cursor.execute(f'CREATE TABLE {quoted} ({quoted} int PRIMARY KEY, "updated_at" timestamptz, x point)')
            cursor.execute(f"INSERT INTO {quoted} VALUES (1, now(), point(1, 2))")
    pipeline = await init(engine, "postgres:public.*", path)
    assert sorted(stream.reference.name for stream in pipeline.streams) == sorted(set(names) - {"a\nb"})
    assert "# NOT READ: its name contains a control character" in path.read_text()
    await on_redshift.run(pipeline)
    assert set(count_rows(engine, pipeline).values()) == {1}
