"""References: no fact without its dimension.

A fact may name a key that its dimension does not hold yet (an order whose design comes later). In the transaction that
puts in the fact the dimension gets a row of that key, with the model's values for what is not known, marked (where the
dimension marks such rows) as one that the source does not have. The real row takes its place when it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from millrace.base.naming import DELETED_AT
from millrace.warehouse import statements
from millrace.warehouse.schema.catalog import Catalog, Held
from millrace.warehouse.target import Target


def complete_dimensions(
    connection: Any,
    catalog: Catalog,
    target: Target,
    dimensions: Mapping[str, Target],
    applied_at: datetime,
    columns: Mapping[str, str],
) -> tuple[str, ...]:
    """Rows for the keys that ``columns`` of a target refer to, and its dimensions lack; what was done, for people. Each
    column has the relation whose rows are looked at: those that were put in, or all."""
    made = []
    for column, relation in columns.items():
        dimension = dimensions[target.references[column]]
        rows = _insert_unknown(connection, relation, column, dimension, catalog.held(dimension) or {}, applied_at)
        if rows:
            made.append(f"{rows} keys in {column} are not in {dimension.name} yet")
    return tuple(made)


def _insert_unknown(
    connection: Any, relation: str, column: str, dimension: Target, held: Held, applied_at: datetime
) -> int:
    """Rows that were made."""
    given = {one: str(value) for one, value in dimension.unknown.items() if value is not None}
    types = {
        one: dimension.dialect.target_type(data_type, 0) for one in given if (data_type := held.get(one)) is not None
    }
    marked = replace(dimension, marks_deleted=DELETED_AT in held)
    moments = [applied_at] * (2 if marked.marks_deleted else 1)
    with connection.cursor() as cursor:
        statement = statements.insert_unknown(relation, column, marked, types)
        cursor.execute(statement, [*(given[one] for one in types), *moments])
        return int(cursor.rowcount)
