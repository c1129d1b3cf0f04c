"""Find the tables of a database of MySQL or MariaDB, for `millrace init`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from millrace.base.errors import UnmappableType
from millrace.base.naming import quote_in_backticks
from millrace.base.types import from_mysql
from millrace.drivers.psycopg_errors import statement
from millrace.sources.found import FoundColumn, FoundTable

PRIMARY = "PRIMARY"
_NOW = "current_timestamp"


def find_tables(connection: Any, schema: str) -> list[FoundTable]:
    """Return the tables and views of a database, in the order of their names."""
    with connection.cursor() as cursor:
        keys, columns = find_unique_keys(cursor, schema), _columns(cursor, schema)
        triggers: dict[str, list[str]] = defaultdict(list)
        for table, trigger in _ask(cursor, "mysql_update_triggers", schema):
            triggers[table].append(trigger)
        return [
            FoundTable(
                schema,
                name,
                "view" if kind == "VIEW" else "table",
                tuple(columns[name]),
                primary_key=keys[name].get(PRIMARY, ()),
                unique_keys=tuple(sorted(names for index, names in keys[name].items() if index != PRIMARY)),
                rows=int(rows),
                size_bytes=int(size_bytes),
                update_triggers=tuple(triggers[name]),
            )
            for name, kind, rows, size_bytes in _ask(cursor, "mysql_tables", schema)
        ]


def _columns(cursor: Any, schema: str) -> dict[str, list[FoundColumn]]:
    """Return the columns of every table, by table.

    They are asked of all tables at once: a server may be far away, and a database may have hundreds of tables.
    """
    json_checks = set(_ask(cursor, "mysql_json_checks", schema))
    columns: dict[str, list[FoundColumn]] = defaultdict(list)
    for table, name, column_type, default, extra in _ask(cursor, "mysql_all_columns", schema):
        is_json = (table, f"json_valid({quote_in_backticks(name)})") in json_checks
        columns[table].append(_column(name, "json" if is_json else column_type, default, extra))
    return columns


def _ask(cursor: Any, name: str, schema: str) -> Sequence[tuple[Any, ...]]:
    cursor.execute(statement(name), {"schema": schema})
    rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
    return rows


def find_unique_keys(cursor: Any, schema: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the columns of each unique key, by table and index, without keys that a row may lack."""
    found: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    partial: set[tuple[str, str]] = set()
    for table, index, column, nullable, prefix in _ask(cursor, "mysql_keys", schema):
        found[table][index] = (*found[table].get(index, ()), column)
        if nullable == "YES" or prefix is not None or column is None:
            partial.add((table, index))
    whole = {
        table: {index: names for index, names in of_table.items() if (table, index) not in partial}
        for table, of_table in found.items()
    }
    return defaultdict(dict, whole)


def _column(name: str, column_type: str, default: str, extra: str) -> FoundColumn:
    try:
        data_type = from_mysql(column_type)
    except UnmappableType:
        data_type = None
    return FoundColumn(
        name,
        column_type,
        data_type,
        is_set_by_updates=f"on update {_NOW}" in extra.lower(),
        is_set_by_inserts=_NOW in default.lower() or "now()" in default.lower(),
        is_growing="auto_increment" in extra.lower(),
    )
