"""A view for each table of versions that tells what was valid at a moment: ``<table>_at``, with half-open times.

A version is valid from ``valid_from`` on and before ``valid_until`` (NULL while it is the last), whichever rule the
``end`` of the declaration follows. These two columns come first, so that the view can be replaced when its table has
got another column.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from millrace.base.naming import DELETED_AT, quote, quote_list
from millrace.declaration.load_modes import Merge
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.target import Target

SUFFIX = "_at"
VALID_FROM, VALID_UNTIL = "valid_from", "valid_until"


def make_version_views(connection: Any, targets: Sequence[Target], others: Collection[str]) -> list[str]:
    """Make or replace a view of each target that keeps versions with times, without a commit.

    Return the names of the views and, for a view that is not made, the reason. ``others`` are the names of the
    pipeline's own views.
    """
    versioned = [target for target in targets if target.load.validity]
    if not versioned:
        return []
    catalog = Catalog(connection, [*targets, *map(_view_of, versioned)])
    taken = {*others, *(target.name for target in targets)}
    made = []
    with connection.cursor() as cursor:
        for target in versioned:
            view, existing = _view_of(target), catalog.find_columns(target) or {}
            if why := _find_hindrance(target, existing, taken, catalog.find_columns(view)):
                made.append(f"{view.name} is not made: {why}")
                continue
            cursor.execute(version_view(target, list(existing)) + target.dialect.view_binding)
            made.append(view.name)
    return made


def version_view(target: Target, columns: Sequence[str]) -> str:
    """Return the statement that makes the view.

    Columns of the table with the name of a column of the view are left out.
    """
    validity = target.load.validity
    if validity is None:
        raise TypeError("it keeps no versions with times")
    added = {VALID_FROM, VALID_UNTIL}
    start, deleted = quote(validity.start), f"{quote(DELETED_AT)} AT TIME ZONE 'UTC'"
    successor = f"lead({start}) OVER (PARTITION BY {quote_list(target.keys)} ORDER BY {start})"
    return (
        f"CREATE OR REPLACE VIEW {_view_of(target).quoted} AS SELECT {start} AS {quote(VALID_FROM)}, "
        f"CASE WHEN {deleted} > {start} THEN {deleted} ELSE {successor} END AS {quote(VALID_UNTIL)}, "
        f"{quote_list(column for column in columns if column not in added)} FROM {target.quoted}"
    )


def _view_of(target: Target) -> Target:
    return replace(target, table=replace(target.table, name=f"{target.table.name}{SUFFIX}"), load=Merge())


def _find_hindrance(
    target: Target, existing: Collection[str], taken: Collection[str], of_view: Collection[str] | None
) -> str:
    if not existing:
        return f"{target.name} is not there yet"
    if _view_of(target).name in taken:
        return "the pipeline has a table or view of that name"
    if of_view is not None and [*of_view][:2] != [VALID_FROM, VALID_UNTIL]:
        return "something else has that name in the warehouse"
    needed = {VALID_FROM, VALID_UNTIL} - {*target.load.named}
    if clashing := sorted(needed & {*existing}):
        return f"{target.name} has a column {' and '.join(clashing)}"
    return ""
