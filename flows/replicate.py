"""The parent flow `replicate`: extract from every source at once, load each batch, report.

A stream that fails stops no other: what was read is loaded, and the run fails at the end with every reason.
What does not belong here: what a step does (tasks/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from flows.extract import EXTRACT, StreamsFailed
from flows.request import ReplicateRequest, run_name
from millrace import Pipeline, Stream
from pipelines import find
from tasks.extract import Bounds, Extracted
from tasks.load import Loaded, load_batch
from tasks.plan import StreamPlan, plan_stream
from tasks.report import StreamReport, publish_report, stream_report

DEFAULT_REQUEST = ReplicateRequest()


@dataclass(frozen=True)
class RunReport:
    """What a run did, or (dry run) would do, per stream."""

    pipeline: str
    streams: tuple[StreamReport, ...] = ()
    plans: tuple[StreamPlan, ...] = ()


@flow(name="replicate", flow_run_name=run_name, persist_result=False)
async def replicate(request: ReplicateRequest = DEFAULT_REQUEST) -> RunReport:
    """Bring what changed in a pipeline's sources into the warehouse.

    Raises an ExceptionGroup with every stream's failure, after the other streams were loaded and reported.
    """
    pipeline = find(request.pipeline)
    streams = request.chosen(pipeline)
    if request.dry_run:
        plans = await asyncio.gather(
            *(plan_stream(request.pipeline, stream.name, request.bounds) for stream in streams)
        )
        return RunReport(request.pipeline, plans=tuple(plans))
    extracted, failures = await _extract(request.pipeline, streams, request.bounds)
    reports, load_failures = await _load(request.pipeline, pipeline, extracted)
    await publish_report(pipeline.name, reports)
    if failures := [*failures, *load_failures]:
        raise ExceptionGroup("; ".join(map(str, failures)), failures)
    return RunReport(request.pipeline, tuple(reports))


async def _extract(name: str, streams: Sequence[Stream], bounds: Bounds) -> tuple[list[Extracted], list[Exception]]:
    """One subflow per kind of source, all at once."""
    kinds = dict.fromkeys(stream.reference.kind for stream in streams)
    results = await asyncio.gather(
        *(EXTRACT[kind](name, [one.name for one in streams if one.reference.kind == kind], bounds) for kind in kinds),
        return_exceptions=True,
    )
    extracted: list[Extracted] = []
    failures: list[Exception] = []
    for result in results:
        if isinstance(result, StreamsFailed):
            extracted += result.completed
            failures += result.exceptions
        elif isinstance(result, Exception):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            extracted += result
    return extracted, failures


async def _load(
    name: str, pipeline: Pipeline, extracted: Sequence[Extracted]
) -> tuple[list[StreamReport], list[Exception]]:
    """Load the batches side by side; a stream with nothing to load is reported too."""
    results = await asyncio.gather(*(_load_one(name, one) for one in extracted), return_exceptions=True)
    reports: list[StreamReport] = []
    failures: list[Exception] = []
    for one, result in zip(extracted, results, strict=True):
        if isinstance(result, Exception):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            target = f"{pipeline.target_schema}.{pipeline.stream(one.stream).table}"
            reports.append(stream_report(one, result, target))
    return reports, failures


async def _load_one(name: str, extracted: Extracted) -> Loaded | None:
    if extracted.manifest is None:
        return None
    return await load_batch(name, extracted.stream, extracted.manifest)
