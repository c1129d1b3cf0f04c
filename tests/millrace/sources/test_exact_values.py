"""Promise 9 for Postgres: every value arrives exactly, or is rejected with its reason; none stops the run.

Each value of postgres_cases.py is a row of its own. Source and target are compared as both servers write the value
and as the driver reads it. The databases are set to another zone, date style and so on, which must not show.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import new_type, register_type

from local.stack import Stack
from local.warehouse import WarehouseServer
from millrace import Incremental, Stream
from millrace.base.errors import UnmappableType
from millrace.base.naming import column_names, quote
from millrace.base.types import decimal, text
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.cluster import cluster, is_given
from tests.support.engine import PIPELINE, Engine, bucket_store, quick_engine_between
from tests.support.postgres_cases import CASES, PREPARE, UNSUPPORTED, Case

FOREIGN_SETTINGS = {
    "TimeZone": "Asia/Kathmandu", "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "bytea_output": "escape",
    "extra_float_digits": "0",
}  # fmt: skip
PLAIN_SETTINGS = (
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601 -c extra_float_digits=1 -c bytea_output=hex"
)
BY_NAME = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Delivered:
    """What one run of a table made of each case: as both servers write it, and as the driver reads it."""

    result: LoadResult
    expected: dict[int, dict[str, Any]]
    """By row: the case's ``name``, the ``reason`` it is rejected for ('' when it arrives), ``written``, ``read``."""
    found: dict[int, dict[str, Any]]
    rejects: list[dict[str, Any]]


@pytest.fixture(scope="module")
def source_url(stack: Stack) -> Iterator[str]:
    """A database with two tables: `good` holds what arrives, `edges` that and what is rejected."""
    name = f"exact_{secrets.token_hex(4)}"
    url = stack.postgres.create_database(name)
    foreign(stack, name)
    with (
        closing(psycopg2.connect(url, options=PLAIN_SETTINGS)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(PREPARE)
        columns = ", ".join(f"{quote(case.name)} {case.sql_type}" for case in CASES)
        for table, cases in (("good", rows_of(with_rejected=False)), ("edges", rows_of(with_rejected=True))):
            cursor.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, stamped timestamptz DEFAULT now(), {columns})")
            for row, (case, value, _) in enumerate(cases):
                cursor.execute(f"INSERT INTO {table} (id, {quote(case.name)}) VALUES ({row}, {value})")
    yield url
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module", params=["redshift", "postgres"])
def exact_engine(
    request: pytest.FixtureRequest, stack: Stack, lasting_warehouse: WarehouseServer, source_url: str
) -> Iterator[Engine]:
    if is_given() and request.param == "redshift":
        with cluster() as found:
            yield found.engine(stack, source_url)
        return
    store = bucket_store(stack, stack.aws.create_bucket(f"exact-{secrets.token_hex(4)}"))
    name = f"exact_warehouse_{secrets.token_hex(4)}"
    if request.param == "redshift":
        lasting_warehouse.clear()
        yield quick_engine_between(stack, store, source_url, lasting_warehouse.url)
        return
    url = stack.postgres.create_database(name)
    foreign(stack, name)
    yield quick_engine_between(stack, store, source_url, url)
    stack.postgres.drop_database(name)


@pytest.fixture(scope="module")
def good(exact_engine: Engine) -> Delivered:
    return delivered(exact_engine, "good", with_rejected=False)


@pytest.fixture(scope="module")
def edges(exact_engine: Engine) -> Delivered:
    return delivered(exact_engine, "edges", with_rejected=True)


def foreign(stack: Stack, database: str) -> None:
    for name, value in FOREIGN_SETTINGS.items():
        stack.postgres.execute(f"""ALTER DATABASE {quote(database)} SET {name} = '{value}'""")


def rows_of(*, with_rejected: bool) -> list[tuple[Case, str, str]]:
    """Case, value and reason ('' where it arrives) of every row."""
    return [
        (case, value, reason)
        for case in CASES
        for value, reason in [
            *((value, "") for value in case.values),
            *(case.rejected.items() if with_rejected else ()),
        ]
    ]


def delivered(engine: Engine, table: str, *, with_rejected: bool) -> Delivered:
    result = asyncio.run(engine.deliver(stream(table)))
    assert result is not None
    source = psycopg2.connect(engine.postgres_url, options=PLAIN_SETTINGS)
    with closing(source), closing(engine.connect_warehouse()) as target:
        if not engine.warehouse.dialect.copies_from_lake:
            execute(
                target,
                "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex'",
            )
        expected, found = {}, {}
        for row, (case, _, reason) in enumerate(rows_of(with_rejected=with_rejected)):
            if reason == "too_long" and not engine.warehouse.dialect.measures_text:
                reason = ""  # noqa: PLW2901 (Postgres has no such limit)
            column = quote(case.name)
            arrives = {} if reason else value_of(source, table, case.as_target.format(column), row)
            expected[row] = {"name": case.name, "reason": reason} | arrives
            found[row] = value_of(target, quote(PIPELINE, table), column, row)
    return Delivered(result, expected, found, engine.rejects())


def value_of(connection: Any, table: str, expression: str, row: int) -> dict[str, Any]:
    """One value as the server writes it and as the driver reads it; empty when the row is not there."""
    query = f"SELECT {expression} FROM {table} WHERE id = {row}"
    with connection.cursor() as cursor:
        cursor.execute(query)
        register_type(new_type((cursor.description[0].type_code,), "AS_WRITTEN", lambda value, _: value), cursor)
        cursor.execute(query)
        written = cursor.fetchall()
    return {"written": written[0][0], "read": read(connection, query)} if written else {}


def read(connection: Any, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        try:
            return repr(cursor.fetchone()[0])
        except ValueError:
            return "beyond Python's years"


def execute(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connection.commit()


def assert_equal(case: Case, expected: dict[str, Any], found: dict[str, Any]) -> None:
    if "jsonb" in case.as_target or case.sql_type == "jsonb":
        assert document(found["written"]) == document(expected["written"])
    elif case.sql_type == "bytea":
        assert found["written"].removeprefix("\\x") == expected["written"]
    else:
        assert found["written"] == expected["written"]
        assert found["read"] == expected["read"]


def document(written: str) -> Any:
    return json.loads(written, parse_float=Decimal)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_value_arrives_exactly(good: Delivered, name: str) -> None:
    rows = [row for row, expected in good.expected.items() if expected["name"] == name]
    assert rows
    for row in rows:
        assert_equal(BY_NAME[name], good.expected[row], good.found[row])


def test_nothing_else_is_read(good: Delivered) -> None:
    assert (good.result.read, good.result.inserted, good.result.rejected) == (len(good.expected), len(good.expected), 0)


def test_what_cannot_be_held_is_rejected_with_its_reason(edges: Delivered) -> None:
    expected = {(row, value["reason"], value["name"]) for row, value in edges.expected.items() if value["reason"]}
    rejected = {(int(json.loads(one["coordinates"])["id"]), one["reason"], one["field"]) for one in edges.rejects}
    assert rejected == expected
    assert edges.result.rejected == len(expected)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_rejected_value_bends_no_other(edges: Delivered, name: str) -> None:
    for row, expected in edges.expected.items():
        if expected["name"] != name:
            continue
        if expected["reason"]:
            assert not edges.found[row]
        else:
            assert_equal(BY_NAME[name], expected, edges.found[row])


def test_a_reject_keeps_the_whole_row(edges: Delivered) -> None:
    for one in edges.rejects:
        kept = json.loads(one["row"])
        row = int(json.loads(one["coordinates"])["id"])
        assert int(kept["id"]) == row
        assert kept[edges.expected[row]["name"]] is not None


async def test_a_sweep_finds_every_value_as_it_was_delivered(
    exact_engine: Engine, good: Delivered, edges: Delivered
) -> None:
    """The hash of a row is the same on the way of a sweep; what cannot be held is found wanting on both."""
    for table, delivered_before in (("good", good.result), ("edges", edges.result)):
        swept = await exact_engine.sweep(stream(table))
        assert swept is not None
        assert (swept.inserted, swept.updated, swept.deleted) == (0, 0, 0)
        assert (swept.read, swept.rejected) == (delivered_before.read, delivered_before.rejected)
        assert swept.unchanged == delivered_before.inserted
        assert exact_engine.batches[-1].counts.matched == delivered_before.inserted


@pytest.mark.parametrize("exact_engine", ["postgres"], indirect=True)
async def test_the_values_are_the_same_however_the_read_is_cut(exact_engine: Engine, good: Delivered) -> None:
    """Row by row, every chunk has other NULL columns and other values to infer from; the row hash tells."""
    exact_engine.chunk_bytes = 1
    again = await exact_engine.deliver(stream("good"), full=True)
    assert again is not None
    assert (again.read, again.unchanged) == (good.result.read, good.result.read)


@pytest.mark.parametrize("sql_type", UNSUPPORTED)
async def test_a_type_that_is_not_held_is_refused_by_name(engine: Engine, sql_type: str) -> None:
    engine.source(f'CREATE TABLE t (id int, stamped timestamptz, "a ""column" {sql_type})')
    with pytest.raises(
        UnmappableType, match=r'stream t \(postgres:public.t\), column a "column: .* has no type'
    ) as raised:
        await engine.extract(stream("t"))
    assert "types={'a \"column': text()}" in str(raised.value)


async def test_a_type_that_is_not_held_arrives_as_declared_text(engine: Engine) -> None:
    engine.source("CREATE TABLE t (id int, stamped timestamptz, p point); INSERT INTO t VALUES (1, now(), '(1.5,-0)')")
    await engine.deliver(stream("t", types={"p": text()}))
    assert engine.rows("t", "p") == [("(1.5,-0)",)]


async def test_a_declared_precision_rejects_what_it_cannot_hold(engine: Engine) -> None:
    engine.source("CREATE TABLE t (id int, stamped timestamptz, n numeric)")
    engine.source("INSERT INTO t VALUES (1, now(), 0.123456789012), (2, now(), 0.1234567890123), (3, now(), 1e25)")
    await engine.deliver(stream("t", types={"n": decimal(38, 12)}))
    assert engine.rows("t", "id", "n") == [(1, Decimal("0.123456789012")), (3, Decimal(10**25))]
    assert [(one["reason"], one["field"]) for one in engine.rejects()] == [("number_does_not_fit", "n")]


async def test_null_and_empty_stay_apart(engine: Engine) -> None:
    engine.source("CREATE TABLE t (id text, stamped timestamptz, a text, b text)")
    # Keys that differ in trailing blanks alone would be one on Redshift.
    engine.source("INSERT INTO t VALUES ('', NULL, '', NULL), (' x', NULL, NULL, '')")
    await engine.deliver(stream("t"))
    assert engine.rows("t", "id", "a", "b") == [("", "", None), (" x", None, "")]


async def test_awkward_column_names_arrive(engine: Engine) -> None:
    names = ["a b", "A b", 'q"uote', "dot.ted", "$dollar", "ünïcode", "percent%s", "_row_hash", "select", "9lives"]
    columns = ", ".join(f"{quote(name)} int" for name in names)
    engine.source(f"CREATE TABLE t (id int, stamped timestamptz, {columns})")
    engine.source(f"INSERT INTO t VALUES (0, now(), {', '.join(map(str, range(len(names))))})")
    await engine.deliver(stream("t"))
    found = engine.rows("t", *column_names(["id", "stamped", *names]).values())
    assert found[0][0] == 0
    assert list(found[0][2:]) == list(range(len(names)))


def stream(table: str, **options: Any) -> Stream:
    return Stream(table, f"postgres:public.{table}", "id", Incremental("stamped"), **options)
