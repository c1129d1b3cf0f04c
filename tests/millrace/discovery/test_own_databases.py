"""The databases of `make demo-own`: what `init` writes runs as it is, before and after fifteen kinds of change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from pymongo import MongoClient

from local.demos.own_comparison import Rows, compare_pipeline, read_documents, read_mysql, read_postgres
from local.mysql import connect as connect_mysql
from millrace import Pipeline, Snapshot, Stream
from millrace.declaration.find import find_pipeline
from millrace.discovery.choose_tables import choose_tables, parse_reference
from millrace.discovery.propose import propose_streams
from millrace.discovery.write_file import write_file
from millrace.runs.choose import ReadRequest
from millrace.seed_data.own import changes, documents
from tests.support.engine import Engine, Together

SWEEP, DEEP = ReadRequest("sweep"), ReadRequest("sweep", deep=True)
KINDS = 15


async def init(engine: Engine, source: str, path: Path) -> Pipeline:
    """The pipeline of the file that is written."""
    reference = parse_reference(source)
    with engine._source(Stream("any", f"{reference.kind.name}:a.b", "_id", Snapshot())) as opened:
        tables = choose_tables(reference, await opened.find_tables(reference.schema, 500), (), ())
    path.write_text(write_file("own", "millrace init", [reference], propose_streams(reference, tables)))  # noqa: ASYNC240 - a few lines
    return find_pipeline(f"{path}:pipeline")


async def go_through(
    together: Together, pipeline: Pipeline, change: Callable[[], object], read: Callable[[Stream], Rows]
) -> None:
    await together.run(pipeline)
    change()
    for read_request in (ReadRequest(), SWEEP):
        results = await together.run(pipeline, read_request=read_request)
        assert {name: one.rejected for name, one in results.items() if one.rejected} == {}
    results = await together.run(pipeline, read_request=DEEP)
    assert {name: one.loaded for name, one in results.items() if one.loaded} == {}
    compared = compare_pipeline(pipeline, read, together.engine.connect_warehouse)
    assert compared.rows > 0
    assert (compared.missing, compared.extra) == (0, 0)


def execute(connect: Callable[[], Any], statements: list[str]) -> None:
    with closing(connect()) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


def test_each_database_changes_in_fifteen_ways() -> None:
    assert {len(changes.PAGILA_CHANGES), len(changes.CHINOOK_CHANGES), len(documents.CHANGES)} == {KINDS}
    assert set(changes.PAGILA_CHANGES) == set(changes.CHINOOK_CHANGES)


async def test_a_film_rental_in_postgres(together: Together, tmp_path: Path) -> None:
    def connect() -> Any:
        return psycopg2.connect(together.engine.postgres_url, options=f"-c search_path={changes.PAGILA}")

    execute(connect, changes.install_statements(changes.PAGILA))
    pipeline = await init(together.engine, "postgres:pagila.*", tmp_path / "own.py")
    await go_through(
        together,
        pipeline,
        lambda: execute(connect, list(changes.PAGILA_CHANGES.values())),
        read_postgres(connect),
    )


async def test_a_record_shop_in_mysql(together: Together, mysql_database: str, tmp_path: Path) -> None:
    def connect() -> Any:
        return connect_mysql(mysql_database)

    together.engine.mysql_url = mysql_database
    execute(connect, changes.install_statements(changes.CHINOOK))
    schema = mysql_database.rpartition("/")[2]
    pipeline = await init(together.engine, f"mysql:{schema}.*", tmp_path / "own.py")
    late = changes.CHINOOK_CHANGES[changes.COMMITTED_LATE]
    await go_through(
        together,
        pipeline,
        lambda: execute(connect, [late, *changes.change_statements(changes.CHINOOK_CHANGES)]),
        read_mysql(connect),
    )


async def test_six_irregular_collections_in_mongodb(together: Together, mongo_database: str, tmp_path: Path) -> None:
    with MongoClient[dict[str, Any]](together.engine.mongo_url, tz_aware=True) as client:
        database = client[mongo_database]
        documents.insert_documents(database)
        pipeline = await init(together.engine, f"mongo:{mongo_database}.*", tmp_path / "own.py")
        assert len(pipeline.streams) == 6
        assert pipeline.stream("prices").key == ["_id.day", "_id.shop"]
        await go_through(
            together,
            pipeline,
            lambda: [make(database) for make in documents.CHANGES.values()],
            read_documents(database),
        )


async def test_columns_of_a_table_that_was_empty_at_first(on_redshift: Together) -> None:
    """Their names in the warehouse differ from those in the source, and the first row finds them again."""
    engine = on_redshift.engine
    engine.source('CREATE TABLE empty_one ("OrderId" int PRIMARY KEY, "group by" text)')
    pipeline = Pipeline("shop", [Stream("empty_one", "postgres:public.empty_one", "OrderId", Snapshot())])
    await on_redshift.run(pipeline)
    engine.source("INSERT INTO empty_one VALUES (1, 'a')")
    result = (await on_redshift.run(pipeline))["empty_one"]
    assert result.changes == ()
    assert engine.query("SELECT order_id, group_by FROM shop.empty_one") == [(1, "a")]
