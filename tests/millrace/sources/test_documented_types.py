"""docs/types.md says what the code does: every row of its tables, every refusal, every reason."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

import millrace.base.types
from local.stack import Stack
from millrace import Incremental, Stream
from millrace.base.errors import UnmappableType
from millrace.base.rejects import FILE_IS_GONE, NAME_TOO_LONG, NO_KEY
from millrace.base.types import BSON, DataType, from_mysql, from_postgres
from millrace.contract.document_limits import TOO_DEEP
from millrace.sources.postgres_values import describe_table
from millrace.sources.rows import TOO_LARGE
from millrace.warehouse.dialect import POSTGRES_DIALECT, REDSHIFT_DIALECT
from tests.support import mysql_cases
from tests.support.mongo_cases import FIELDS, Rejected
from tests.support.postgres_cases import CASES, UNSUPPORTED

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/types.md").read_text(encoding="utf-8")
CLASSES = {"composite types": "c", "enums": "e", "ranges": "r", "multiranges": "m"}
CODE = re.compile(r"`([^`]+)`")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(title: str) -> list[tuple[str, str, str]]:
    """Source type, Redshift's and Postgres's of every type that the section's table names."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("| ")]
    return [
        (name, *(CODE.findall(cell)[0] for cell in cells[:2]))
        for source, *cells in rows[1:]
        for name in CODE.findall(source) or [source.strip()]
    ]


def refused(title: str) -> list[str]:
    paragraph = re.search(r"\nRefused.*?\n\n", section(title) + "\n\n", re.DOTALL)
    assert paragraph is not None
    return CODE.findall(paragraph[0].split("Declare")[0])


def in_warehouses(data_type: DataType) -> tuple[str, str]:
    return REDSHIFT_DIALECT.target_type(data_type, 0), POSTGRES_DIALECT.target_type(data_type, 0)


def test_postgres(stack: Stack) -> None:
    """The server itself says what its types are called in the catalog."""
    documented = [row for row in table("From Postgres") if row[0] not in CLASSES]
    columns = ", ".join(f'"{index}" {name}' for index, (name, *_) in enumerate(documented))
    with closing(psycopg2.connect(stack.postgres.url())) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE documented ({columns})")
        cursor.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")
        source = f"postgres:{cursor.fetchone()[0]}.documented"
        described = describe_table(connection, Stream("documented", source, "0", Incremental("0")))
    assert [
        (name, *in_warehouses(column.column.type)) for (name, *_), column in zip(documented, described, strict=True)
    ] == documented


def test_postgres_classes() -> None:
    documented = {name: rest for name, *rest in table("From Postgres") if name in CLASSES}
    assert documented == {name: list(in_warehouses(from_postgres("own", -1, kind))) for name, kind in CLASSES.items()}


def test_every_type_of_the_map_is_documented() -> None:
    catalog = {"int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision",
               "bool": "boolean", "char": '"char"', "bit": "bit(8)"}  # fmt: skip
    words = set(CODE.findall(section("From Postgres")))
    assert {catalog.get(name, name) for name in millrace.base.types._POSTGRES} <= words
    mysql = {re.sub(r"\W.*", "", name) for name, *_ in table("From MySQL")}
    assert set(millrace.base.types._MYSQL) | {"bit", "char", "varchar", "decimal"} == mysql


def test_mysql() -> None:
    documented = table("From MySQL")
    assert [(name, *in_warehouses(from_mysql(name))) for name, *_ in documented] == documented


def test_bson() -> None:
    documented = table("From MongoDB")
    assert [(name, *in_warehouses(BSON[name])) for name, *_ in documented] == documented
    assert {name for name, *_ in documented} == set(BSON)


def test_what_is_refused() -> None:
    assert {name for name in refused("From Postgres") if name != "text()"} == set(UNSUPPORTED)
    assert set(refused("From MySQL")) <= set(mysql_cases.UNSUPPORTED)
    for name in refused("From MySQL"):
        with pytest.raises(UnmappableType):
            from_mysql(name)


def test_reasons() -> None:
    documented = {CODE.findall(line)[0] for line in section("Reasons").splitlines() if line.startswith("| `")}
    tested = {reason for case in CASES for reason in case.rejected.values()}
    tested |= {reason for case in mysql_cases.CASES for reason in case.rejected.values()}
    tested |= {value.reason for values in FIELDS.values() for _, value in values if isinstance(value, Rejected)}
    assert documented == tested | {
        "undecodable",
        TOO_DEEP,
        TOO_LARGE,
        NO_KEY,
        NAME_TOO_LONG,
        FILE_IS_GONE,
        "contract_<rule>",
    }
    pages = section("From Postgres") + section("From MySQL") + section("From MongoDB")
    mentioned = set(re.findall(r"`((?:\w+_)+\w+)`", pages))
    assert mentioned - {"flatten_depth", "max_new_columns", "pg_lsn", "max_allowed_packet"} <= documented
