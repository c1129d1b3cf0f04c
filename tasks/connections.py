"""The engine's objects made from blocks, for tasks.

What does not belong here: the blocks (blocks/), and what is done through the connections.
"""

from __future__ import annotations

from blocks.load import load_landing, load_warehouse
from blocks.sql import driver_of, opener
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.loader import Warehouse


async def open_warehouse() -> Warehouse:
    """The warehouse of this environment, loading from its landing zone. Connects at its first use."""
    block = await load_warehouse()
    dialect = dialect_for(driver_of(block.connector))
    return Warehouse(opener(block.connector), await load_landing(), dialect, block.iam_role)
