"""References: no fact without its dimension.

A fact may name a key that its dimension does not hold yet (an order whose design comes later). In the transaction that
puts in the fact the dimension gets a row of that key, with the model's values for what is not known, marked as one
that the source does not have. The real row takes its place when it comes.
What does not belong here: which columns refer to which model (pipelines/).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from millrace.naming import literal
from millrace.warehouse import statements
from millrace.warehouse.catalog import held_columns
from millrace.warehouse.target import Target


def complete_dimensions(
    connection: Any, target: Target, dimensions: Mapping[str, Target], applied_at: datetime
) -> tuple[str, ...]:
    """Rows for the keys that the delta of a target refers to and its dimensions lack; what was done, for people."""
    made = []
    for column, name in target.references.items():
        dimension = dimensions[name]
        held = held_columns(connection, dimension) or {}
        values = {
            one: f"CAST({literal(str(value))} AS {dimension.dialect.target_type(data_type, 0)})"
            for one, value in dimension.unknown.items()
            if (data_type := held.get(one)) is not None
        }
        with connection.cursor() as cursor:
            cursor.execute(statements.insert_unknown(target, column, dimension, values), (applied_at, applied_at))
            if cursor.rowcount:
                made.append(f"{cursor.rowcount} keys in {column} are not in {dimension.name} yet")
    return tuple(made)
