"""Make a pipeline's views for analysts in the warehouse. Safe to repeat.

What does not belong here: how (millrace/warehouse/views.py), the views (sql/).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from millrace.errors import ConfigurationError, FatalError, SourceMissing
from pipelines import find
from tasks.connections import open_warehouse

SQL_DIRECTORY = Path(__file__).parent.parent / "sql"


async def create_views(pipeline: str) -> list[str]:
    """Their names. Raises ConfigurationError when the pipeline declares none or its file is not there, SourceMissing
    when a table is not there yet."""
    declared, place = find(pipeline), f"pipeline {pipeline}"
    if not declared.views:
        raise ConfigurationError("it declares no views", place=place, remedy="name a file in `views`")
    path = SQL_DIRECTORY / declared.views
    if not path.is_file():
        raise ConfigurationError(f"{declared.views} is no file below sql/", place=place, remedy="correct `views`")
    warehouse = await open_warehouse(declared)
    try:
        return await asyncio.to_thread(warehouse.make_views, declared, path.read_text(encoding="utf-8"))
    except SourceMissing as missing:
        remedy = f"run `millrace run {declared.called}`, and again once there is something to load: a table is made "
        raise SourceMissing(missing.problem, place=missing.place, remedy=f"{remedy}with its first row") from None
    except FatalError as error:
        remedy = f"correct the statement in {path}, or drop the view that it replaces"
        raise FatalError(error.problem, place=error.place, remedy=remedy) from None
