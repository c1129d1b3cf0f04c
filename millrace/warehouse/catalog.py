"""What the warehouse's catalog says of a target.

What does not belong here: which columns it should have (schema.py).
"""

from __future__ import annotations

from typing import Any

from millrace.types import DataType
from millrace.warehouse.dialect import from_catalog
from millrace.warehouse.target import Target


def held_columns(connection: Any, target: Target) -> dict[str, DataType | None] | None:
    """The target's columns in order (None as a type: one this program never makes); None when there is no such
    table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
            f"FROM {target.dialect.catalog} WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (target.schema, target.table),
        )
        rows = cursor.fetchall()
    return {name: from_catalog(*described) for name, *described in rows} or None
