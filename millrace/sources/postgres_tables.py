"""Find the tables of a schema of Postgres, for `millrace init`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from millrace.base.errors import UnmappableType
from millrace.base.types import from_postgres
from millrace.drivers.psycopg_errors import statement
from millrace.sources.found import FoundColumn, FoundKind, FoundTable

KINDS: Mapping[str, FoundKind] = {"r": "table", "p": "table", "v": "view", "m": "materialized view"}
"""What pg_class.relkind says."""
_NOW = re.compile(r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp)\(\)|CURRENT_TIMESTAMP")


def find_tables(connection: Any, schema: str) -> list[FoundTable]:
    """Return the tables and views of a schema, in the order of their names."""
    with connection.cursor() as cursor:
        cursor.execute(statement("postgres_tables"), {"schema": schema})
        tables = cursor.fetchall()
        # One statement for all: a server may be far away, and a schema may have hundreds of tables.
        cursor.execute(statement("postgres_columns"), {"relations": [identifier for identifier, *_ in tables]})
        found = defaultdict(list)
        for *described, identifier in cursor.fetchall():
            found[identifier].append(described)
        return [_table(schema, found[identifier], *row) for identifier, *row in tables]


def _table(
    schema: str,
    found: Sequence[Sequence[Any]],
    name: str,
    kind: str,
    is_populated: bool,
    is_readable: bool,
    rows: int,
    size_bytes: int,
    defaults: Sequence[tuple[str, str]],
    keys: Sequence[tuple[bool, list[str]]],
    update_triggers: list[str],
) -> FoundTable:
    by_default = dict(defaults)
    columns = (_column(by_default.get(column, ""), column, *rest) for column, *rest in found)
    return FoundTable(
        schema,
        name,
        KINDS[kind],
        tuple(columns),
        primary_key=next((tuple(names) for is_primary, names in keys if is_primary), ()),
        unique_keys=tuple(sorted(tuple(names) for is_primary, names in keys if not is_primary)),
        rows=rows or 0,
        size_bytes=size_bytes,
        update_triggers=tuple(update_triggers),
        is_readable=is_readable,
        is_populated=is_populated,
    )


def _column(default: str, name: str, type_name: str, modifier: int, type_class: str, _spelled: str) -> FoundColumn:
    try:
        data_type = from_postgres(type_name, modifier, type_class)
    except UnmappableType:
        data_type = None
    return FoundColumn(
        name,
        type_name,
        data_type,
        can_be_text=True,
        is_set_by_inserts=bool(_NOW.search(default)),
        is_growing=default.startswith("nextval("),
    )
