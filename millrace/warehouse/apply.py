"""Applying a staged batch to its target. Runs inside the caller's transaction.

What does not belong here: what a load mode does (modes/), staging, the ledger, the transaction (load.py).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from millrace.lake.batch import Batch
from millrace.warehouse.modes import mode_of
from millrace.warehouse.modes.mode import Applied
from millrace.warehouse.target import Target


def apply(connection: Any, target: Target, batch: Batch, applied_at: datetime, held: Collection[str] | None) -> Applied:
    """What the target's mode does. ``held`` are the target's columns; None when there is no target, as every row was
    rejected or there was none.

    Raises CountMismatch when the statements did not find what they were to replace, FatalError when the mode cannot
    number a row.
    """
    if held is None:
        return Applied()
    with connection.cursor() as cursor:
        return mode_of(target).apply(cursor, batch, applied_at, held)
