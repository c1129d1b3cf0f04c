"""The flow `transform`: transform landed batches into the processed zone, and load them in one commit.

It is the next step of `replicate`, and also a deployment that the event `millrace.landed` starts. If both load the same
batches, nothing breaks: a batch is applied once.
"""

from collections.abc import Sequence

from prefect import flow
from pydantic import Field

from millrace import Pipeline
from millrace.flows.alerts import alert_cancellation, alert_failure
from millrace.flows.parameters import FlowParameters, pipeline_field
from millrace.flows.resolve import load_requested
from millrace.tasks.alerts import alert_breach
from millrace.tasks.collect import forward_all_dead_letters
from millrace.tasks.events import emit_loaded
from millrace.tasks.lease import give_back
from millrace.tasks.load import load_batches
from millrace.tasks.messages import Breach
from millrace.tasks.report import (
    RunReport,
    StreamReport,
    make_failed_report,
    make_report,
    make_run_failed,
    publish_report,
)
from millrace.tasks.transform import transform_batches


class TransformRequest(FlowParameters):
    """Which landed batches to transform and load."""

    pipeline: str = pipeline_field("totesys")
    manifests: list[str] = Field(default=[], description="Keys of the batches' manifests in the landing zone.")


DEFAULT_REQUEST = TransformRequest()


@flow(
    name="transform",
    flow_run_name="{request.pipeline}: transform and load",
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
)
async def transform(request: TransformRequest = DEFAULT_REQUEST) -> RunReport:
    """Transform and load batches; all tables of the run become visible together, or none.

    Raises RunFailed after every stream was reported.
    """
    pipeline = await load_requested(request.pipeline)
    try:
        manifests = await transform_batches(request.pipeline, request.manifests)
        results = await load_batches(request.pipeline, manifests)
    except Exception as error:
        await give_back(pipeline, request.manifests)
        rows = [make_failed_report(pipeline, stream, error) for stream in find_streams_of(pipeline, request.manifests)]
        await publish_report(pipeline.name, rows)
        raise make_run_failed(RunReport(request.pipeline, tuple(rows)), [error]) from error
    await forward_all_dead_letters(request.pipeline, pipeline, [result.stream for result in results])
    reports = [make_report(pipeline, result, 0) for result in results]
    await publish_report(pipeline.name, reports)
    await conclude(pipeline, reports, is_complete=True)
    return RunReport(request.pipeline, tuple(reports))


def find_streams_of(pipeline: Pipeline, manifests: Sequence[str]) -> list[str]:
    """Return the streams of manifests by their keys alone, because the manifests may be what cannot be read."""
    root = pipeline.dated.root if pipeline.dated else pipeline.name
    keys = [key.removeprefix(f"{root}/") for key in manifests]
    return [stream.name for stream in pipeline.streams if any(key.startswith(f"{stream.name}/") for key in keys)]


async def conclude(pipeline: Pipeline, reports: Sequence[StreamReport], *, is_complete: bool) -> None:
    """Emit the event that a complete run has loaded, and send an alert if changes came too late.

    A run is complete if nothing failed.
    """
    if not is_complete:
        return
    counts = {
        report.stream: {"read": report.read, "loaded": report.loaded, "rejected": report.rejected} for report in reports
    }
    ages = {report.stream: report.age_max_seconds for report in reports if report.age_max_seconds is not None}
    emit_loaded(pipeline.name, counts, ages)
    if pipeline.fresh_within is not None:
        await alert_breach(pipeline.name, pipeline.fresh_within, list(_breaches(pipeline, reports)))


def _breaches(pipeline: Pipeline, reports: Sequence[StreamReport]) -> list[Breach]:
    limit = pipeline.fresh_within.total_seconds() if pipeline.fresh_within else float("inf")
    return [
        Breach(report.stream, report.age_p95_seconds or 0.0, report.age_max_seconds)
        for report in reports
        if report.age_max_seconds is not None and report.age_max_seconds > limit
    ]
