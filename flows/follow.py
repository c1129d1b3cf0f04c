"""The flow `follow`: a pipeline in continuous mode, whose changes arrive within seconds."""

from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import Field

from millrace import Pipeline, Stream
from millrace.base.errors import ConfigurationError
from millrace.flows.alerts import alert_cancellation, alert_failure
from millrace.flows.parameters import FlowParameters, pipeline_field
from millrace.flows.resolve import find_unresolved, resolve_requested
from millrace.flows.turn import cancel_waiting_runs
from millrace.tasks.follow import Followed, FollowPace, follow_changes
from millrace.tasks.policy import artifact_key


class FollowRequest(FlowParameters):
    """Which pipeline to follow, how often, and until when."""

    pipeline: str = pipeline_field("stori")
    streams: list[str] = Field(default=[], description="Names of streams; empty: all.")
    every_seconds: float = Field(default=10, ge=1, le=3_600, description="Seconds from one cycle to the next.")
    seconds: float | None = Field(default=None, gt=0, description="Stop after this time; empty: no limit.")

    def choose_streams(self, pipeline: Pipeline) -> list[Stream]:
        """Return the streams to follow.

        Raises ConfigurationError for a stream that does not exist, and for a pipeline whose tables are transformed.
        """
        if pipeline.is_transformed:
            raise ConfigurationError(
                "it has models, or a processed zone, and is loaded as a whole by runs",
                place=f"pipeline {pipeline.name}",
                remedy="run it on a schedule; or declare the streams in a pipeline of their own, and follow that one",
            )
        return pipeline.choose_streams(self.streams)


@flow(
    name="follow",
    flow_run_name="follow {request.pipeline}",
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
    on_running=[cancel_waiting_runs],
)
async def follow(request: FollowRequest) -> Followed:
    """Read and load a pipeline every few seconds, until the time is over or SIGTERM ends the run after its cycle.

    A run that is killed loses nothing: the next one reads from the position in the ledger. Raises the error of a cycle
    that a person must do something about, or that did not pass by itself for 15 minutes.
    """
    resolved = await resolve_requested(request.pipeline)
    pipeline = resolved.pipeline
    if unresolved := [*find_unresolved(resolved, request.streams).values()]:
        raise unresolved[0]
    streams = [stream.name for stream in request.choose_streams(pipeline)]
    followed = await follow_changes(resolved.name, streams, FollowPace(request.every_seconds, request.seconds))
    await acreate_table_artifact(
        key=artifact_key("followed", pipeline.name),
        table=[_row(followed)],
        description=f"What the cycles of `{pipeline.name}` did.",
    )
    return followed


def _row(followed: Followed) -> dict[str, Any]:
    return {
        "cycles": followed.cycles,
        "failures": followed.failures,
        "changes": followed.changes,
        "rejected": followed.rejected,
        "greatest age (s)": followed.greatest_age_seconds,
    }
