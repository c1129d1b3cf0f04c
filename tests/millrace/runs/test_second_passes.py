"""A pass over all rows of a table sees a key of any type, as a warehouse's driver or a reject's coordinates give it: a
look-up that finds nothing is checked with it. Documents: test_keys_of_documents.py.
"""

from __future__ import annotations

import polars as pl
import pytest

from millrace import Incremental, Stream
from millrace.sources.chunk import Keys, Window
from tests.support.engine import Engine

T = Stream("t", "postgres:public.t", "id", Incremental("changed"))
TYPES = {
    "int": ["5", "-7"],
    "bigint": ["9223372036854775807", "-1"],
    "numeric(20,4)": ["12345678901234.5000", "-0.0001"],
    "text": ["é", "2024-01-01", "5", ""],
    "varchar(5)": ["a b", "T"],
    "boolean": ["true", "false"],
    "date": ["2024-02-29", "1969-12-31"],
    "timestamp": ["2024-02-29 10:00:00", "1969-12-31 23:59:59.999999"],
    "timestamptz": ["2024-02-29 10:00:00+00", "2024-02-29 10:00:00.5+00"],
    "uuid": ["00000000-0000-0000-0000-000000000007"],
    "bytea": [r"\x00ff", r"\x"],
    "float8": ["1.5", "-1e300"],
}


def coordinates(frame: pl.DataFrame) -> list[str]:
    """As a contract's rejects have them."""
    binary = [name for name, dtype in frame.schema.items() if dtype == pl.Binary]
    text = frame.with_columns(("\\x" + pl.col(name).bin.encode("hex")).alias(name) for name in binary)
    return text.select(pl.struct("id").struct.json_encode())["id"].to_list()


@pytest.mark.parametrize("type_name", TYPES)
async def test_a_pass_over_a_table_sees_keys_of_every_type(engine: Engine, type_name: str) -> None:
    engine.source(f"CREATE TABLE t (id {type_name} PRIMARY KEY, changed timestamptz DEFAULT now())")
    for value in TYPES[type_name]:
        engine.source(f"INSERT INTO t VALUES ('{value}')")
    source = engine.table_source(T)
    async with source.read(T, (), Window()) as reading:
        (frame,) = [chunk.frame async for chunk in reading.read_chunks()]
    own = frame.select("id").rows()
    engine.source(f"DELETE FROM t WHERE id = '{TYPES[type_name][0]}'")
    left = [{index} for index, (value,) in enumerate(own) if value != own[0][0]]
    assert sorted(await source.find_in_all_rows(T, (), Keys(("id",), own)), key=min) == left
    for keys in source.keys_of(coordinates(frame)):
        assert sorted(await source.find_in_all_rows(T, (), keys), key=min) == left
    assert await source.find_in_all_rows(T, (), Keys(("id",), own[:1])) == []


@pytest.mark.parametrize(
    ("type_name", "spellings"),
    [
        ("numeric(6, 2)", ["1.5", "1.50"]),
        ("timestamp", ["2024-01-02 03:04:05", "2024-01-02T03:04:05.000000"]),
        ("timestamptz", ["2024-01-02 03:04:05+00:00", "2024-01-02T03:04:05Z"]),
        ("bytea", ["\\x0aff", "\\x0AFF"]),
        ("boolean", ["true", "True"]),
    ],
)
async def test_a_row_is_seen_once_however_its_key_is_spelled(
    engine: Engine, type_name: str, spellings: list[str]
) -> None:
    engine.source(f"CREATE TABLE t (id {type_name} PRIMARY KEY, changed timestamptz DEFAULT now())")
    engine.source(f"INSERT INTO t VALUES ('{spellings[0]}')")
    seen = await engine.table_source(T).find_in_all_rows(T, (), Keys(("id",), [(text,) for text in spellings]))
    assert seen == [set(range(len(spellings)))]


async def test_a_key_that_is_no_value_of_its_type_counts_as_seen(engine: Engine) -> None:
    engine.source("CREATE TABLE t (id date PRIMARY KEY, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO t VALUES ('2024-01-01')")
    assert await engine.table_source(T).find_in_all_rows(T, (), Keys(("id",), [("infinity",), ("2024-01-02",)])) == [
        {0}
    ]
