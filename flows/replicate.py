"""The parent flow `replicate`: extract from every source at once, load, report.

A stream that fails stops no other: what was read is loaded, and the run fails at the end with every reason. A pipeline
with models is loaded as a whole, or not at all.
What does not belong here: what a step does (tasks/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prefect import flow

from flows.alerts import alert_cancellation, alert_failure
from flows.extract import EXTRACT, StreamsFailed
from flows.form import asked_pipeline
from flows.request import ReplicateRequest, run_name
from flows.together import raise_all, together
from flows.transform import TransformRequest, conclude, transform
from millrace import Pipeline, Stream
from millrace.run import Bounds
from tasks.collect import dead_letters_of, forward_dead_letters
from tasks.events import emit_landed
from tasks.extract import Extracted
from tasks.lease import give_back
from tasks.load import load_batches
from tasks.plan import plan_model, plan_stream
from tasks.report import RunReport, StreamReport, report_of

DEFAULT_REQUEST = ReplicateRequest()


@flow(
    name="replicate",
    flow_run_name=run_name,
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
)
async def replicate(request: ReplicateRequest = DEFAULT_REQUEST) -> RunReport:
    """Bring what changed in a pipeline's sources into the warehouse.

    Raises an ExceptionGroup with every stream's failure, after the other streams were loaded and reported. Of a
    pipeline whose tables are committed together nothing is loaded then.
    """
    pipeline = asked_pipeline(request.pipeline)
    streams = request.chosen(pipeline)
    if request.dry_run:
        return await _plan(request, pipeline, streams)
    extracted, failures = await _extract(request.pipeline, streams, request.bounds)
    if pipeline.is_transformed:
        return await _load_together(request, pipeline, extracted, failures)
    reports, load_failures = await together(_load(request.pipeline, pipeline, one) for one in extracted)
    await conclude(pipeline, reports, is_complete=not failures and not load_failures)
    raise_all([*failures, *load_failures])
    return RunReport(request.pipeline, tuple(reports))


async def _plan(request: ReplicateRequest, pipeline: Pipeline, streams: Sequence[Stream]) -> RunReport:
    """What would be read and loaded; of the models only where everything is read."""
    models = [] if request.streams else pipeline.models
    plans, failures = await together(
        [
            *(plan_stream(request.pipeline, one.name, request.bounds) for one in streams),
            *(plan_model(request.pipeline, one.name) for one in models),
        ]
    )
    raise_all(failures)
    return RunReport(request.pipeline, plans=tuple(plans))


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
    if extracted.manifest is None:
        return _nothing(pipeline, extracted)
    load = load_batches.with_options(task_run_name=f"load {extracted.stream}")
    loaded = await load(name, [extracted.manifest])
    if dead_letters := dead_letters_of(pipeline, extracted.stream):
        await forward_dead_letters(name, extracted.stream, dead_letters)
    return report_of(loaded.results[0], extracted.seconds + loaded.seconds)


async def _load_together(
    request: ReplicateRequest, pipeline: Pipeline, extracted: Sequence[Extracted], failures: Sequence[Exception]
) -> RunReport:
    """All of the run in one commit, by this run or by the one that the event starts."""
    manifests = [one.manifest for one in extracted if one.manifest is not None]
    if failures:
        await give_back(pipeline, manifests)
        raise_all(failures)
    emit_landed(pipeline.name, request.pipeline, manifests, "by-run" if request.load else "by-event")
    if not request.load:
        reports = [replace(_nothing(pipeline, one), kind=one.kind, read=one.read, note="landed") for one in extracted]
        return RunReport(request.pipeline, tuple(reports))
    report = await transform(TransformRequest(pipeline=request.pipeline, manifests=manifests))
    seconds = {one.stream: one.seconds for one in extracted}
    timed = [replace(one, seconds=round(seconds.get(one.stream, 0), 2)) for one in report.streams]
    empty = [_nothing(pipeline, one) for one in extracted if one.manifest is None]
    return replace(report, streams=(*timed, *empty))


def _nothing(pipeline: Pipeline, extracted: Extracted) -> StreamReport:
    target = f"{pipeline.target_schema}.{pipeline.stream(extracted.stream).table}"
    return StreamReport(extracted.stream, target, seconds=round(extracted.seconds, 2))
