"""The columns of targets by the warehouse's catalog, queried once for all: it is the slowest query of a load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

from millrace.warehouse.target import Target, TargetColumns


class Catalog:
    """The columns of targets and of the tables beside them, as one connection sees them; kept until ``forget``."""

    def __init__(self, connection: Any, targets: Iterable[Target]) -> None:
        self._connection = connection
        self._targets = [table for target in targets for table in (target, *target.tables_beside)]
        self._found: dict[tuple[str, str], TargetColumns] | None = None

    def find_columns(self, target: Target) -> TargetColumns | None:
        """Return the columns of one of the targets; None when there is no such table."""
        if self._found is None:
            self._found = self._ask()
        return self._found.get((target.table.schema, target.table.name))

    def look_up(self, target: Target) -> Target:
        """Return a target with the columns that it has now."""
        return replace(target, columns=self.find_columns(target))

    def forget(self) -> None:
        """Forget all columns, because something changed or may have changed: the next call queries again."""
        self._found = None

    def _ask(self) -> dict[tuple[str, str], TargetColumns]:
        dialect, tables = self._targets[0].dialect, [target.table for target in self._targets]
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_schema, table_name, column_name, data_type, character_maximum_length, "
                f"numeric_precision, numeric_scale FROM {dialect.catalog} "
                "WHERE table_schema IN %s AND table_name IN %s ORDER BY table_schema, table_name, ordinal_position",
                (tuple({table.schema for table in tables}), tuple({table.name for table in tables})),
            )
            rows = cursor.fetchall()
        grouped = groupby(rows, key=lambda row: (row[0], row[1]))
        return {
            table: {name: dialect.column_type(*described) for _, _, name, *described in rows} for table, rows in grouped
        }


def look_up(connection: Any, target: Target) -> Target:
    """Return a target with the columns that it has now, without a catalog of others."""
    return Catalog(connection, [target]).look_up(target)
