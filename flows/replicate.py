"""The parent flow `replicate`: extract from every source at once, load each batch, report.

A stream that fails stops no other: what was read is loaded, and the run fails at the end with every reason.
What does not belong here: what a step does (tasks/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from flows.extract import EXTRACT, StreamsFailed
from flows.request import ReplicateRequest, run_name
from flows.together import raise_all, together
from millrace import Pipeline, Stream
from millrace.run import Bounds
from pipelines import find
from tasks.extract import Extracted
from tasks.load import load_batch
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
        plans, failures = await together(plan_stream(request.pipeline, one.name, request.bounds) for one in streams)
        raise_all(failures)
        return RunReport(request.pipeline, plans=tuple(plans))
    extracted, failures = await _extract(request.pipeline, streams, request.bounds)
    reports, load_failures = await together(_load(request.pipeline, pipeline, one) for one in extracted)
    await publish_report(pipeline.name, reports)
    raise_all([*failures, *load_failures])
    return RunReport(request.pipeline, tuple(reports))


async def _extract(name: str, streams: Sequence[Stream], bounds: Bounds) -> tuple[list[Extracted], list[Exception]]:
    """One subflow per kind of source, all at once; of a subflow that failed, the streams that did not."""
    kinds = dict.fromkeys(stream.reference.kind for stream in streams)
    batches, failed = await together(
        EXTRACT[kind](name, [one.name for one in streams if one.reference.kind == kind], bounds) for kind in kinds
    )
    extracted = [one for batch in batches for one in batch]
    failures: list[Exception] = []
    for failure in failed:
        if isinstance(failure, StreamsFailed):
            extracted += failure.completed
            failures += failure.exceptions
        else:
            failures.append(failure)
    return extracted, failures


async def _load(name: str, pipeline: Pipeline, extracted: Extracted) -> StreamReport:
    """Load what was read; a stream with nothing to load is reported too."""
    manifest = extracted.manifest
    loaded = await load_batch(name, extracted.stream, manifest) if manifest is not None else None
    target = f"{pipeline.target_schema}.{pipeline.stream(extracted.stream).table}"
    return stream_report(extracted, loaded, target)
