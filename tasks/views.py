"""Make a pipeline's views for analysts in the warehouse. Safe to repeat.

What does not belong here: how (millrace/warehouse/views.py), the views (sql/).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from millrace.errors import ConfigurationError
from pipelines import find
from tasks.connections import open_warehouse

SQL_DIRECTORY = Path(__file__).parent.parent / "sql"


async def create_views(pipeline: str) -> list[str]:
    """Their names. Raises ConfigurationError when the pipeline declares none, or the file is not there."""
    declared = find(pipeline)
    if not declared.views:
        raise ConfigurationError("it declares no views", place=f"pipeline {pipeline}", remedy="name a file in `views`")
    path = SQL_DIRECTORY / declared.views
    if not path.is_file():
        raise ConfigurationError(f"{declared.views} is no file below sql/", place=f"pipeline {pipeline}")
    warehouse = await open_warehouse(declared)
    return await asyncio.to_thread(warehouse.make_views, declared, path.read_text(encoding="utf-8"))
