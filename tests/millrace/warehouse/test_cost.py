"""What a run costs does not grow with its tables, where a warehouse has indexes: the rows that it reads are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from local.stack import Stack
from millrace import Append, Merge, Pipeline, Scd2
from millrace.blocks.store import BucketStore
from millrace.declaration.load_mode_base import LoadMode
from tests.support.bound_facts import BIND, MADE, ORDERS, PEOPLE, PERSON, a_person, an_order, fill
from tests.support.engine import Engine, Together, engine_between

FACTS, VERSIONS = 30_000, 10_000
MANY = f"""
INSERT INTO sales_source.people (country, number, mail, stamp, _row_hash, _loaded_at)
SELECT '0' || i, i, 'mail', '2024-01-01+00', '-', now() FROM generate_series(10, {VERSIONS}) AS i;
INSERT INTO sales_source.orders (order_id, country, person, ordered, stamp, _row_hash, _loaded_at)
SELECT i, 'a', 1, timestamptz '2024-03-01+00' + i * interval '1 minute', '2024-01-01+00', '-', now()
FROM generate_series(1000, {FACTS}) AS i;
INSERT INTO sales.orders_made (order_id, country, person, ordered, person_key, _row_hash, _loaded_at)
SELECT order_id, o.country, person, ordered, p.person_key, '-', now()
FROM sales_source.orders AS o, sales.person AS p WHERE order_id >= 1000;
"""
MANY_VERSIONS = """
INSERT INTO sales.person (country, number, mail, person_key, start_date, end_date, is_current, _version_hash, _row_hash,
    _loaded_at)
SELECT country, number, mail, number, '2024-01-01', '9999-12-31 23:59:59', TRUE, '-', '-', now()
FROM sales_source.people WHERE country LIKE '0%';
"""


def pipeline(load: Scd2, facts: LoadMode) -> Pipeline:
    models = [replace(PERSON, load=load), replace(MADE, load=facts, binds=[replace(BIND, unknown=0)])]
    streams = [replace(PEOPLE, sweep=""), replace(ORDERS, load=Merge())]
    return Pipeline("sales", streams=streams, schema="sales_source", models=models)


@pytest.fixture
def postgres_engine(stack: Stack, store: BucketStore, postgres_database: str) -> Iterator[Engine]:
    """Every connection is a new one: a server counts what a session read when it ends."""
    name = f"warehouse_of_{postgres_database.rpartition('/')[2]}"
    yield engine_between(stack, store, postgres_database, stack.postgres.create_database(name))
    stack.postgres.drop_database(name)


def rows_read(engine: Engine) -> dict[str, int]:
    """Rows that were read, by table, once all sessions have told theirs."""
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with closing(engine.connect_warehouse()) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for _ in range(10_000):
            cursor.execute(sessions)
            if cursor.fetchone() == (0,):
                break
        cursor.execute(
            "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables "
            "WHERE schemaname IN ('sales', 'sales_source')"
        )
        return dict(cursor.fetchall())


@pytest.mark.parametrize("facts", [Merge(), Append()], ids=["merge", "append"])
@pytest.mark.parametrize("changes", [True, False], ids=["log", "states"])
async def test_one_version_and_one_fact_read_few_rows_of_large_tables(
    postgres_engine: Engine, processed: BucketStore, facts: LoadMode, *, changes: bool
) -> None:
    """However many facts the key has before the version; one lies after it, and is bound again."""
    together = Together(postgres_engine, processed)
    market = pipeline(Scd2("person_key", effective_from="since", changes=changes), facts)
    fill(together)
    a_person(together, "first", "01")
    an_order(together, "02")
    together.engine.source("INSERT INTO orders (country, person, ordered) VALUES ('a', 1, '2999-01-01+00')")
    await together.run(market)
    postgres_engine.query(MANY)
    postgres_engine.query(MANY_VERSIONS)
    with closing(postgres_engine.connect_warehouse()) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
    before = rows_read(postgres_engine)
    postgres_engine.source("UPDATE people SET mail = 'second', stamp = clock_timestamp()")
    an_order(together, "06")
    results = await together.run(market)
    assert {name: result.loaded for name, result in results.items()} == {
        "people": 1,
        "orders": 1,
        "person": 1,
        "orders_made": 1,
    }
    after = rows_read(postgres_engine)
    bound = (
        "SELECT p.mail FROM sales.orders_made JOIN sales.person AS p USING (person_key) WHERE ordered > '2900-01-01'"
    )
    assert postgres_engine.query(bound) == [("second",)]
    assert {name: rows - before[name] for name, rows in after.items() if rows - before[name] > 100} == {}
