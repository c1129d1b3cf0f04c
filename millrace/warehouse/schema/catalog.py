"""What the warehouse's catalog says of targets, asked once for all of them: it is the slowest thing to ask."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from millrace.base.types import DataType
from millrace.warehouse.target import Target

Held = dict[str, DataType | None]
"""Columns of a table in order; None as a type: one this program never makes."""


class Catalog:
    """Of ``targets`` and the tables beside them, as one connection sees it; what it said is kept until ``forget``."""

    def __init__(self, connection: Any, targets: Iterable[Target]) -> None:
        self._connection = connection
        self._targets = [table for target in targets for table in (target, *target.beside)]
        self._held: dict[tuple[str, str], Held] | None = None

    def held(self, target: Target) -> Held | None:
        """The columns of one of the targets; None when there is no such table."""
        if self._held is None:
            self._held = self._ask()
        return self._held.get((target.schema, target.table))

    def forget(self) -> None:
        """Ask again next time: something changed, or may have."""
        self._held = None

    def _ask(self) -> dict[tuple[str, str], Held]:
        dialect = self._targets[0].dialect
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_schema, table_name, column_name, data_type, character_maximum_length, "
                f"numeric_precision, numeric_scale FROM {dialect.catalog} "
                "WHERE table_schema IN %s AND table_name IN %s ORDER BY table_schema, table_name, ordinal_position",
                (tuple({one.schema for one in self._targets}), tuple({one.table for one in self._targets})),
            )
            rows = cursor.fetchall()
        tables = groupby(rows, key=lambda row: (row[0], row[1]))
        return {table: {name: dialect.held(*described) for _, _, name, *described in rows} for table, rows in tables}


def held_columns(connection: Any, target: Target) -> Held | None:
    """Of one target alone."""
    return Catalog(connection, [target]).held(target)
