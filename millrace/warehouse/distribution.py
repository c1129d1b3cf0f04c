"""By which column the rows of large tables are distributed over the nodes of a Redshift cluster.

A join of two tables that are distributed by its column moves no rows. So target, stage and changed rows of a large
batch have one distribution key; docs/warehouse.md says what is chosen and why.
"""

from __future__ import annotations

from millrace.base.naming import quote
from millrace.warehouse.target import Target

LARGE_ROWS = 1_000_000
"""A batch of so many rows is large. Redshift decides about smaller ones: it copies them to every node."""


def distribution_column(target: Target, rows: int) -> str:
    """Return the column by which a target is distributed whose first batch has so many rows; '': Redshift decides.

    The first of several key columns may have few values, and few nodes would get all rows: it is only taken if the
    stream says so.
    """
    of_key = target.keys[0] if len(target.keys) == 1 and rows >= LARGE_ROWS else ""
    return target.distributed_by or of_key


def distribution_of_batch(target: Target, rows: int) -> str:
    """Return what stands after the name of a temporary table that holds so many rows of a batch."""
    column = distribution_column(target, rows)
    if rows < LARGE_ROWS or column not in target.keys:
        return ""
    return target.dialect.distribution.format(quote(column))
