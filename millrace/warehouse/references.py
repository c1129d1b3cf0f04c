"""References: every key that a fact refers to gets a row in its dimension.

A fact may name a key that its dimension does not hold yet (an order whose design comes later). In the transaction that
inserts the fact, the dimension gets a row with that key and with the model's values for unknown rows. If the dimension
marks deleted rows, it is marked as a row that the source does not have. The real row replaces it when it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, quote, quote_list
from millrace.hashes.row_hash import HASH_LENGTH
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.target import Target


def complete_dimensions(
    connection: Any,
    catalog: Catalog,
    target: Target,
    dimensions: Mapping[str, Target],
    applied_at: datetime,
    columns: Mapping[str, str],
) -> tuple[str, ...]:
    """Insert rows for the keys that ``columns`` of a target refer to and its dimensions lack.

    Each column has the relation whose rows are looked at: the inserted rows, or all rows. Return what was done, for
    people.
    """
    made = []
    for column, relation in columns.items():
        dimension = dimensions[target.relations.references[column]]
        rows = _insert_unknown(connection, relation, column, catalog.look_up(dimension), applied_at)
        if rows:
            made.append(f"{rows} keys in {column} are not in {dimension.name} yet")
    return tuple(made)


def _insert_unknown(connection: Any, relation: str, column: str, dimension: Target, applied_at: datetime) -> int:
    """Insert a row into a dimension for each key that it lacks. Return how many."""
    given = {name: str(value) for name, value in dimension.relations.unknown.items() if value is not None}
    existing = dimension.columns or {}
    types = {
        name: dimension.dialect.target_type(data_type, 0)
        for name in given
        if (data_type := existing.get(name)) is not None
    }
    moments = [applied_at] * (2 if dimension.marks_deleted else 1)
    with connection.cursor() as cursor:
        statement = _insert_unknown_keys(relation, column, dimension, types)
        cursor.execute(statement, [*(given[name] for name in types), *moments])
        return int(cursor.rowcount)


def _insert_unknown_keys(rows: str, column: str, dimension: Target, types: Mapping[str, str]) -> str:
    """Return the statement that inserts a row into a dimension for each key in ``column`` of a relation that it lacks.

    Parameters: a value per column of ``types``, then the load time, twice if the dimension marks deleted rows.
    """
    key = quote(dimension.keys[0])
    given = {name: f"CAST(%s AS {type_name})" for name, type_name in types.items()}
    given |= {ROW_HASH: f"''::VARCHAR({HASH_LENGTH})", LOADED_AT: "%s::TIMESTAMPTZ"}
    given |= {DELETED_AT: "%s::TIMESTAMPTZ"} if dimension.marks_deleted else {}
    return (
        f"INSERT INTO {dimension.quoted} ({quote_list([dimension.keys[0], *given])}) "
        f"SELECT DISTINCT f.{quote(column)}, {', '.join(given.values())} FROM {rows} AS f "
        f"LEFT JOIN {dimension.quoted} AS t ON t.{key} = f.{quote(column)} "
        f"WHERE t.{key} IS NULL AND f.{quote(column)} IS NOT NULL"
    )
