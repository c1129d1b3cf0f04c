"""Make a pipeline's views for analysts in the warehouse. Safe to repeat."""

from __future__ import annotations

import asyncio

from millrace.base.errors import ConfigurationError, FatalError, SourceMissing
from millrace.base.sql_files import SQL_FILES
from millrace.tasks.connections import open_warehouse
from millrace.tasks.pipelines import load_pipeline


async def create_views(pipeline: str) -> list[str]:
    """Create the views and return their names; for a view over versions that is not created, return why.

    Raises ConfigurationError if the pipeline has none or its file is missing, SourceMissing if a table does not exist
    yet.
    """
    declared, place = await load_pipeline(pipeline), f"pipeline {pipeline}"
    if not declared.views and not any(member.load.validity for member in declared.members):
        raise ConfigurationError("it declares no views", place=place, remedy="name a file in `views`")
    path = SQL_FILES / declared.views
    if declared.views and not path.is_file():
        raise ConfigurationError(f"{declared.views} is no file below sql/", place=place, remedy="correct `views`")
    text = path.read_text(encoding="utf-8") if declared.views else ""
    warehouse = await open_warehouse(declared)
    try:
        return await asyncio.to_thread(warehouse.make_views, declared, text)
    except SourceMissing as missing:
        remedy = f"run `millrace run {declared.cli_name}`, and again once there is something to load: a table is made "
        raise SourceMissing(missing.problem, place=missing.place, remedy=f"{remedy}with its first row") from None
    except FatalError as error:
        remedy = f"correct the statement in {path}, or drop the view that it replaces"
        raise FatalError(error.problem, place=error.place, remedy=remedy) from None
