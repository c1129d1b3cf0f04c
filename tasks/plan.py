"""The plan of one stream: what is read, by which query, schema changes and the SQL of the load. Changes nothing.

What does not belong here: how any of it is found out (millrace/).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from prefect import task

from millrace.reads import Route
from millrace.run import Bounds, choose
from pipelines import find
from tasks.connections import open_landing, open_source, open_warehouse
from tasks.policy import STEP


@dataclass(frozen=True)
class StreamPlan:
    """Of a stream, or of a model (``source`` are its inputs, and ``query`` is empty). ``reads`` is the kind of batch a
    run would make; ``lower`` and ``upper`` bound its window (None: open); ``query`` is what the source is asked;
    ``changes`` what the target lacks; ``statements`` what a load would run."""

    stream: str
    source: str
    target: str
    reads: str
    lower: str | None
    upper: str | None
    query: str
    changes: tuple[str, ...]
    statements: tuple[str, ...]


@task(name="plan", task_run_name="plan {stream}", **STEP)
async def plan_stream(pipeline: str, stream: str, bounds: Bounds) -> StreamPlan:
    """What a run of this stream would do now."""
    declared = find(pipeline)
    warehouse = await open_warehouse(declared)
    own = declared.stream(stream)
    landing = await open_landing(declared, warehouse)
    async with open_source(declared, own, warehouse) as source:
        route = Route(source, landing, warehouse, declared, own)
        choice = await choose(route, bounds)
        query, columns = await source.plan(own, await route.known(), choice.window)
    changes, statements = await asyncio.to_thread(warehouse.plan, declared, own, columns)
    target = f"{declared.target_schema}.{own.table}"
    lower, upper = choice.window.lower, choice.window.upper
    return StreamPlan(stream, own.source, target, choice.kind, lower, upper, query, tuple(changes), tuple(statements))


@task(name="plan-model", task_run_name="plan {model}", **STEP)
async def plan_model(pipeline: str, model: str) -> StreamPlan:
    """What a run would do to the table of this model; its rows come from the run's other tables."""
    declared = find(pipeline)
    warehouse = await open_warehouse(declared)
    own = next(one for one in declared.models if one.name == model)
    changes, statements = await asyncio.to_thread(warehouse.plan, declared, own, own.columns)
    target, inputs = f"{declared.target_model_schema}.{model}", ", ".join(own.inputs)
    return StreamPlan(model, inputs, target, "model", None, None, "", tuple(changes), tuple(statements))
