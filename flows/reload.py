"""The flow `reload`: compute a model's table again, next to the existing one, and replace that at the end."""

from typing import Literal

from prefect import flow, get_run_logger
from pydantic import Field

from millrace import Model, Pipeline
from millrace.flows.alerts import alert_cancellation, alert_failure
from millrace.flows.extract import extract_streams
from millrace.flows.gather import raise_all
from millrace.flows.parameters import FlowParameters, pipeline_field
from millrace.flows.resolve import load_requested
from millrace.runs.choose import ReadRequest
from millrace.runs.reload import ReloadResult
from millrace.tasks.lease import give_back
from millrace.tasks.reload import ReloadPlan, plan_reload, reload_applied, reload_landed
from millrace.tasks.stream_life import refuse_paused


class ReloadRequest(FlowParameters):
    """Which model to compute again, and from what."""

    pipeline: str = pipeline_field("totesys")
    model: str = Field(default="", description="Name of the model.")
    source: Literal["landing", "source"] = Field(
        default="landing",
        description="`landing`: every batch that was applied, so that all versions come back; `source`: the current "
        "rows, which are all read.",
    )
    dry_run: bool = Field(default=False, description="Only show what the model would be computed from.")


DEFAULT_REQUEST = ReloadRequest()


@flow(
    name="reload",
    flow_run_name="{request.pipeline}: reload {request.model}",
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
)
async def reload(request: ReloadRequest = DEFAULT_REQUEST) -> ReloadResult | ReloadPlan:
    """Compute a model again. Its table changes only at the end, and not at all if this fails."""
    pipeline = await load_requested(request.pipeline)
    model = pipeline.model(request.model)
    if request.dry_run:
        return await plan_reload(request.pipeline, model.name)
    done = await _reload_from_source(request.pipeline, pipeline, model) if request.source == "source" else None
    done = done or await reload_applied(request.pipeline, model.name)
    get_run_logger().info("%s", done)
    return done


async def _reload_from_source(name: str, pipeline: Pipeline, model: Model) -> ReloadResult:
    """Read all rows of all streams that the model is computed from, and compute it from them."""
    roots = [stream for stream in pipeline.streams if stream.name in pipeline.roots.of(model)]
    await refuse_paused(name, [stream.name for stream in roots])
    read = (await extract_streams(name, roots, ReadRequest("full"))).values()
    manifests = [
        outcome.manifest for outcome in read if not isinstance(outcome, Exception) and outcome.manifest is not None
    ]
    try:
        raise_all(outcome for outcome in read if isinstance(outcome, Exception))
    except Exception:
        await give_back(pipeline, manifests)
        raise
    return await reload_landed(name, model.name, manifests)
