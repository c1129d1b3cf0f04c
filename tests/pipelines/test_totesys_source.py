"""The source that these tests assume is the one of sql/totesys/source.sql, and the pipeline reads all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import psycopg2
import pytest

from millrace.base.types import from_postgres, polars_type
from millrace.pipelines.totesys import pipeline
from tests.pipelines.totesys_source import DEFAULTS, source_schema

SOURCE_SQL = Path(__file__).parents[2] / "sql" / "totesys" / "source.sql"
COLUMNS = """
SELECT c.relname, a.attname, t.typname, a.atttypmod
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND c.relname <> '_prisma_migrations'
"""


@pytest.fixture
def tables(postgres_database: str) -> Iterator[dict[str, dict[str, pl.DataType]]]:
    """Columns of the source's tables with the types that the engine gives them in frames."""
    with closing(psycopg2.connect(postgres_database)) as connection, connection.cursor() as cursor:
        cursor.execute(SOURCE_SQL.read_text(encoding="utf-8"))
        cursor.execute(COLUMNS)
        found: dict[str, dict[str, pl.DataType]] = {}
        for table, column, type_name, modifier in cursor.fetchall():
            found.setdefault(table, {})[column] = polars_type(from_postgres(type_name, modifier))
        yield found


def test_tables_are_as_the_tests_take_them(tables: dict[str, dict[str, pl.DataType]]) -> None:
    assert tables == {table: source_schema(table) for table in DEFAULTS}


def test_every_table_but_the_applications_own_is_a_stream(tables: dict[str, dict[str, pl.DataType]]) -> None:
    streams = {stream.reference.name: stream for stream in pipeline.streams}
    assert set(streams) == set(tables)
    for table, stream in streams.items():
        assert {*stream.keys, "last_updated"} <= set(tables[table])
