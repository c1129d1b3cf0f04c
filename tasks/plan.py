"""The plan of one stream: window, query, schema changes and the SQL of the load. Changes nothing.

What does not belong here: how any of it is found out (millrace/).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task

from blocks.load import load_source_postgres
from blocks.sql import opener
from millrace import Pipeline, Stream
from millrace.capture import mongo, postgres
from millrace.types import Column
from pipelines import find
from tasks.connections import open_warehouse
from tasks.extract import Bounds, lower_bound
from tasks.policy import STEP


@dataclass(frozen=True)
class StreamPlan:
    """``lower`` and ``upper`` bound the window (None: open); ``query`` is what the source is asked; ``changes``
    what the target lacks; ``statements`` what a load would run."""

    stream: str
    source: str
    target: str
    lower: str | None
    upper: str | None
    query: str
    changes: tuple[str, ...]
    statements: tuple[str, ...]


@task(name="plan", task_run_name="plan {stream}", **STEP)
async def plan_stream(pipeline: str, stream: str, bounds: Bounds) -> StreamPlan:
    """What a run of this stream would do now."""
    declared, warehouse = find(pipeline), await open_warehouse()
    source = declared.stream(stream)
    lower = await asyncio.to_thread(lower_bound, warehouse, declared, source, bounds)
    known = await asyncio.to_thread(warehouse.known_columns, declared, source)
    query, columns = await _query(source, lower, bounds.end, known)
    changes, statements = await asyncio.to_thread(warehouse.plan, declared, source, columns)
    return StreamPlan(
        stream, source.source, _target(declared, source), lower, bounds.end, query, tuple(changes), tuple(statements)
    )


async def _query(
    source: Stream, lower: str | None, upper: str | None, known: Sequence[Column]
) -> tuple[str, tuple[Column, ...]]:
    """The source's query and its columns; a collection's columns are known only once it is read."""
    if source.reference.kind == "mongo":
        window = mongo.window(source, lower, upper)
        return f"db.{source.reference.name}.find({json.dumps(window, default=str)})", ()
    connector = await load_source_postgres(source.reference.connection)

    def describe() -> tuple[str, tuple[Column, ...]]:
        with postgres.read(opener(connector), source, lower=lower, upper=upper, known=known) as opened:
            return postgres.select(source, opened.columns, lower, upper), tuple(one.column for one in opened.columns)

    return await asyncio.to_thread(describe)


def _target(pipeline: Pipeline, stream: Stream) -> str:
    return f"{pipeline.target_schema}.{stream.table}"
