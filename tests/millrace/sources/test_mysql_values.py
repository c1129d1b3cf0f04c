"""Promise 9 for MySQL: every value arrives exactly, or is rejected with its reason; none stops the run.

Each value of mysql_cases.py is a row of its own. The sessions that read are in another time zone and SQL mode, which
must not show.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from ctypes import c_double, c_float
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from local.mysql import MySQLServer, connect
from local.stack import Stack
from local.warehouse import WarehouseServer
from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError, UnmappableType
from millrace.base.naming import column_names, quote, quote_in_backticks
from millrace.base.types import INT16, INT64, TIMESTAMP, DataType, decimal, text
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.sources.chunk import Window
from millrace.sources.mysql import MySQLSource
from millrace.sources.mysql_values import describe_table
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import PIPELINE, Engine, bucket_store, quick_engine_between
from tests.support.mysql_cases import CASES, SESSION, UNSUPPORTED, Case, literal

BY_NAME = {case.name: case for case in CASES if case.values}
ROWS = [(case, value) for case in CASES for value in (*case.values, *case.rejected)]
"""Case and value, by row."""
FOREIGN = "SET SESSION time_zone = '+05:45', sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH'"


@dataclass(frozen=True)
class Delivered:
    """A run of all cases; ``values`` by row and column, documents as text."""

    engine: Engine
    result: LoadResult
    rejects: list[dict[str, Any]]
    values: dict[int, dict[str, Any]]


def stream(table: str, database: str = "", **options: Any) -> Stream:
    return Stream(table, f"mysql:{database}.{table}", "id", Incremental("stamped"), **options)


def database_of(engine: Engine) -> str:
    return engine.mysql_url.rpartition("/")[2]


@pytest.fixture
def shop(engine: Engine, mysql_database: str) -> Engine:
    """The engine with an empty MySQL source."""
    engine.mysql_url = mysql_database
    return engine


@pytest.fixture(scope="module")
def source(mysql: MySQLServer) -> Iterator[str]:
    """The URL of a database whose table `edges` has a row for each value."""
    name = f"exact_{secrets.token_hex(4)}"
    url = mysql.create_database(name)
    columns = ", ".join(f"{quote_in_backticks(case.name)} {case.sql_type}" for case in CASES)
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        for one in SESSION:
            cursor.execute(one)
        cursor.execute(f"CREATE TABLE edges (id int PRIMARY KEY, stamped datetime(6), {columns}) ROW_FORMAT=DYNAMIC")
        for row, (case, value) in enumerate(ROWS):
            cursor.execute(
                f"INSERT INTO edges (id, stamped, {quote_in_backticks(case.name)}) VALUES ({row}, NOW(6), {value})"
            )
    yield url
    mysql.drop_database(name)


@pytest.fixture(scope="module", params=["redshift", "postgres"])
def delivered(
    request: pytest.FixtureRequest, stack: Stack, lasting_warehouse: WarehouseServer, source: str
) -> Iterator[Delivered]:
    store = bucket_store(stack, stack.aws.create_bucket(f"exact-{secrets.token_hex(4)}"))
    name = f"exact_warehouse_{secrets.token_hex(4)}"
    if request.param == "redshift":
        lasting_warehouse.clear()
    warehouse = lasting_warehouse.url if request.param == "redshift" else stack.postgres.create_database(name)
    engine = quick_engine_between(stack, store, "", warehouse)
    engine.mysql_url = source
    result = asyncio.run(engine.deliver(stream("edges", database_of(engine))))
    assert result is not None
    yield Delivered(engine, result, engine.rejects(), values_of(engine))
    stack.postgres.drop_database(name)


def values_of(engine: Engine) -> dict[int, dict[str, Any]]:
    document = "json" if engine.warehouse.dialect.copies_from_lake else "CAST(json AS text)"
    names = [case.name for case in CASES]
    columns = ", ".join(document if name == "json" else quote(name) for name in names)
    rows = engine.query(f"SELECT id, {columns} FROM {quote(PIPELINE, 'edges')}")
    return {number: dict(zip(names, values, strict=True)) for number, *values in rows}


def same(found: Any, expected: Any, case: Case) -> bool:
    if case.sql_type == "json":
        return bool(json.loads(found) == expected)
    if isinstance(expected, bytes):
        return (bytes.fromhex(found) if isinstance(found, str) else bytes(found)) == expected
    if isinstance(expected, float):
        held = c_float if case.sql_type == "float" else c_double
        return held(found).value == held(expected).value
    if isinstance(expected, datetime) and expected.tzinfo:
        return found.astimezone(UTC) == expected
    return type(found) is type(expected) and bool(found == expected)


def expected_reason(delivered: Delivered, case: Case, value: str) -> str:
    reason = case.rejected.get(value, "")
    return "" if reason == "too_long" and not delivered.engine.warehouse.dialect.measures_text else reason


@pytest.mark.parametrize("name", BY_NAME)
def test_every_value_arrives_exactly(delivered: Delivered, name: str) -> None:
    case = BY_NAME[name]
    for row, (other, value) in enumerate(ROWS):
        if other is case and value in case.values:
            found = delivered.values[row][name]
            assert same(found, case.values[value], case), (value, found, case.values[value])


def test_what_cannot_be_held_is_rejected_with_its_reason(delivered: Delivered) -> None:
    expected = {
        (row, reason, case.name)
        for row, (case, value) in enumerate(ROWS)
        if (reason := expected_reason(delivered, case, value))
    }
    rejected = {(int(json.loads(one["coordinates"])["id"]), one["reason"], one["field"]) for one in delivered.rejects}
    assert rejected == expected
    assert (delivered.result.read, delivered.result.rejected) == (len(ROWS), len(expected))
    assert delivered.result.inserted == len(ROWS) - len(expected)


def test_a_reject_keeps_what_was_wrong(delivered: Delivered) -> None:
    """As the source writes it: a zero date is no NULL."""
    kept = {int(json.loads(one["coordinates"])["id"]): json.loads(one["row"]) for one in delivered.rejects}
    moments = [row for row in kept if ROWS[row][0].name in {"date", "datetime_6"}]
    assert moments
    for row in moments:
        case, value = ROWS[row]
        assert kept[row][case.name].startswith(value.strip("'"))
    assert kept[ROWS.index((next(case for case in CASES if case.name == "flag"), "5"))]["flag"] == "5"


def test_a_generated_column_arrives(delivered: Delivered) -> None:
    row = next(row for row, (case, value) in enumerate(ROWS) if (case.name, value) == ("tinyint", "127"))
    assert delivered.values[row]["generated"] == '127"x'


def test_nothing_that_is_null_arrives_as_a_value(delivered: Delivered) -> None:
    for values in delivered.values.values():
        assert sum(value is not None for name, value in values.items() if name != "generated") == 1, values


async def test_a_sweep_finds_all_as_it_is(delivered: Delivered) -> None:
    swept = await delivered.engine.sweep(stream("edges", database_of(delivered.engine)))
    assert swept is not None
    assert (swept.inserted, swept.updated, swept.deleted) == (0, 0, 0)
    assert (swept.read, swept.unchanged) == (len(ROWS), delivered.result.inserted)


async def frames(
    source: str, connect: Callable[[], Any], chunk_bytes: int = CHUNK_BYTES
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What arrives and what is rejected."""
    one = stream("edges", source.rpartition("/")[2])
    async with MySQLSource(connect, chunk_bytes).read(one, (), Window()) as reading:
        chunks = [chunk async for chunk in reading.read_chunks()]
    return pl.concat(chunk.frame for chunk in chunks), pl.concat(chunk.rejected for chunk in chunks)


async def test_the_values_are_the_same_in_whatever_chunks_they_are_read(source: str) -> None:
    """Of a few rows each: a chunk whose values all fit is read in another way than one with a value that does not."""
    whole = await frames(source, lambda: connect(source))
    by_few = await frames(source, lambda: connect(source), chunk_bytes=500)
    assert [one.equals(other) for one, other in zip(whole, by_few, strict=True)] == [True, True]


async def test_settings_of_the_session_make_no_difference(source: str) -> None:
    """The user's or the server's own settings are not ours."""

    def foreign() -> Any:
        connection = connect(source)
        with connection.cursor() as cursor:
            cursor.execute(FOREIGN)
            cursor.execute("SET NAMES latin1")
        return connection

    plain, other = await frames(source, lambda: connect(source)), await frames(source, foreign)
    assert [one.equals(another) for one, another in zip(plain, other, strict=True)] == [True, True]


@pytest.mark.parametrize("sql_type", UNSUPPORTED)
def test_a_type_that_is_not_held_is_refused_by_name(source: str, sql_type: str) -> None:
    with pytest.raises(UnmappableType, match=r"stream t \(mysql:\w+\.t\), column a `column: .* has no type"):
        described(source, f"id int PRIMARY KEY, stamped datetime, `a ``column` {sql_type}", {})


def described(source: str, columns: str, types: dict[str, DataType]) -> None:
    """A table `t` of these columns, as the engine sees it."""
    with closing(connect(source)) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS t")
        cursor.execute(f"CREATE TABLE t ({columns})")
        describe_table(connection, stream("t", source.rpartition("/")[2], types=types))


async def test_types_may_be_declared(shop: Engine) -> None:
    shop.mysql(
        "CREATE TABLE t (id int PRIMARY KEY, stamped datetime, flag tinyint(1), n decimal(65,2), d date, f float)",
        "SET SESSION sql_mode = ''",
        "INSERT INTO t VALUES (1, NOW(), 5, 1.50, 0, 0.1), (2, NOW(), -128, 1e40, '2024-02-29', 16777217)",
    )
    types = {"flag": INT16, "n": decimal(38, 1), "d": text(), "f": text()}
    await shop.deliver(stream("t", database_of(shop), types=types))
    assert shop.rows("t", "id", "flag", "n", "d") == [(1, 5, Decimal("1.5"), "0000-00-00")]
    assert [(one["reason"], one["field"]) for one in shop.rejects()] == [("number_does_not_fit", "n")]


@pytest.mark.parametrize(
    ("sql_type", "declared"),
    [("int", decimal(38, 0)), ("varchar(9)", INT64), ("double", decimal(9, 1)), ("date", TIMESTAMP), ("int", INT16)],
)
def test_a_declaration_that_cannot_be_is_refused(source: str, sql_type: str, declared: DataType) -> None:
    with pytest.raises(ConfigurationError, match=r"stream t .*column 'c' .*cannot be declared as .*Remedy"):
        described(source, f"id int PRIMARY KEY, stamped datetime, c {sql_type}", {"c": declared})


async def test_awkward_names_arrive(shop: Engine) -> None:
    names = ["a b", "back`tick", 'q"uote', "it's", "dot.ted", "$dollar", "ünïcode", "percent%s", "select", "9lives"]
    columns = ", ".join(f"{quote_in_backticks(name)} int" for name in names)
    table = "ta`ble %s 'x' \"y\""
    shop.mysql(
        f"CREATE TABLE {quote_in_backticks(table)} (`key` int PRIMARY KEY, `group` datetime, {columns})",
        f"INSERT INTO {quote_in_backticks(table)} VALUES (7, NOW(), {', '.join(map(str, range(len(names))))})",
    )
    source = f"mysql:{database_of(shop)}.{table}"
    await shop.deliver(Stream("awkward", source, "key", Incremental("group")))
    found = shop.rows("awkward", *column_names(["key", *names]).values())
    assert found == [(7, *range(len(names)))]


async def test_null_and_empty_stay_apart(shop: Engine) -> None:
    shop.mysql(
        "CREATE TABLE t (id varchar(9) PRIMARY KEY, stamped datetime, a text, b varbinary(9), c enum(''))",
        f"INSERT INTO t VALUES ('', NULL, '', NULL, ''), ({literal('x')}, NULL, NULL, '', NULL)",
    )
    await shop.deliver(stream("t", database_of(shop)))
    assert shop.query("SELECT id, a, b IS NULL, c FROM engine.t ORDER BY id") == [
        ("", "", True, ""), ("x", None, False, None)
    ]  # fmt: skip


async def test_a_row_that_the_server_cannot_render_is_rejected(shop: Engine) -> None:
    shop.mysql(
        "CREATE TABLE t (id int PRIMARY KEY, stamped datetime, a longtext)",
        "INSERT INTO t VALUES (1, NOW(), 'a'), (2, NOW(), REPEAT('\"', @@max_allowed_packet / 2 + 1)), (3, NOW(), 'c')",
    )
    await shop.deliver(stream("t", database_of(shop)))
    assert shop.rows("t", "id", "a") == [(1, "a"), (3, "c")]
    assert [(one["reason"], json.loads(one["coordinates"])) for one in shop.rejects()] == [
        ("row_too_large", {"id": "2"})
    ]
