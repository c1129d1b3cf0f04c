"""Find values in the target of a stream that its masks do not make: they were loaded before the masks were declared.

A load masks the rows that it writes. Rows that it leaves as they are keep their values: rows of ``Append``, rows whose
deletes are marked or ignored, and former versions.
"""

from __future__ import annotations

from typing import assert_never

from millrace.base.naming import quote
from millrace.base.types import Kind
from millrace.declaration.masks import HASH_CHARACTERS, HIDDEN, Hash, Mask, Partial, Redact
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work


def describe_clear_values(ledger: Ledger, work: Work) -> tuple[str, ...]:
    """Return a remark for each masked column of a target with such values, if a batch visited all rows of the source.

    Costs a scan of the masked columns.
    """
    batch = work.batch
    if not batch.visited_all_rows or batch.coverage.replaces_target or work.creates_target or not work.has_table:
        return ()
    return tuple(
        f"{rows} rows hold values of {column} that its mask does not make: they were loaded before the mask was "
        f"declared, and no read writes them again (`{work.target.owner.reload_command}` makes the table from the "
        "rows that the source has now; models keep what they hold)"
        for column, rows in count_clear_values(ledger, work.target).items()
        if rows
    )


def count_clear_values(ledger: Ledger, target: Target) -> dict[str, int]:
    """Return how many values the mask of a column does not make, by masked column of a target that was looked up.

    A value that happens to look like a masked one is not counted. Documents that stay whole are not looked into.
    """
    found = ledger.list_columns(target.owner.pipeline, target.owner.name).values()
    masks = {column.name: mask for column in found if (mask := target.find_mask(column.path))}
    conditions = {
        name: _is_clear(mask, quote(name)) for name, mask in masks.items() if _is_comparable(target, name, mask)
    }
    if not conditions:
        return {}
    sums = ", ".join(f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)" for condition in conditions.values())
    with ledger.connection.cursor() as cursor:
        cursor.execute(f"SELECT {sums} FROM {target.quoted}")
        return {name: int(rows or 0) for name, rows in zip(conditions, cursor.fetchone(), strict=True)}


def _is_comparable(target: Target, column: str, mask: Mask) -> bool:
    of_type = (target.columns or {}).get(column)
    return of_type is not None and (isinstance(mask, Redact) or of_type.kind is Kind.TEXT)


def _is_clear(mask: Mask, column: str) -> str:
    match mask:
        case Redact():
            return f"{column} IS NOT NULL"
        case Partial():
            return f"{column} NOT LIKE '{HIDDEN}%'"
        case Hash():
            return f"{column} !~ '^[0-9a-f]{{{HASH_CHARACTERS}}}$'"
        case unknown:
            assert_never(unknown)
