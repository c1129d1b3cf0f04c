"""The flow `extract-queue`: a consumer that collects messages into the lake, on a schedule or without end.

The next run of `replicate` loads what it collected.
"""

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import Field

from millrace import Pipeline, Queue, Stream
from millrace.base.errors import ConfigurationError
from millrace.flows.alerts import alert_cancellation, alert_failure
from millrace.flows.gather import gather_outcomes, raise_all
from millrace.flows.parameters import FlowParameters, pipeline_field, requested_pipeline
from millrace.flows.turn import cancel_waiting_runs
from millrace.queues.consumer import Budget, Collected, Pace
from millrace.tasks.collect import collect_messages
from millrace.tasks.failures import describe_error, status_of
from millrace.tasks.policy import artifact_key


class CollectRequest(FlowParameters):
    """Which queues to collect, until when, and how."""

    pipeline: str = pipeline_field("events")
    streams: list[str] = Field(default=[], description="Names of streams; empty: all that come from queues.")
    seconds: float | None = Field(default=240, gt=0, description="Stop after this time; empty: no limit.")
    messages: int | None = Field(default=None, gt=0, description="Stop after this many messages; empty: no limit.")
    until_empty: bool = Field(default=True, description="Stop when a long poll returns nothing.")
    lanes: int = Field(default=8, ge=1, le=64, description="Number of concurrent requests.")
    object_messages: int = Field(
        default=5_000, ge=1, le=100_000, description="Write an object when this many messages wait."
    )
    flush_seconds: float = Field(
        default=30, ge=0, le=3_600, description="Write an object when the first message has waited this long."
    )
    visibility_seconds: int = Field(
        default=60,
        ge=2,
        le=43_200,
        description="After this time without a sign of the consumer, its messages go to another one.",
    )
    wait_seconds: int = Field(default=20, ge=0, le=20, description="Duration of a long poll.")

    def choose_streams(self, pipeline: Pipeline) -> list[Stream]:
        """Return the streams to collect.

        Raises ConfigurationError for a stream that does not exist, or that does not come from a queue.
        """
        asked = pipeline.choose_streams(self.streams)
        for stream in asked if self.streams else ():
            if not isinstance(stream.capture, Queue):
                raise ConfigurationError(
                    "it does not come from a queue",
                    place=f"stream {pipeline.name}.{stream.name}",
                    remedy="choose other `streams`, or run it (millrace run)",
                )
        chosen = [stream for stream in asked if isinstance(stream.capture, Queue)]
        if not chosen:
            raise ConfigurationError(
                "it has no stream from a queue", place=f"pipeline {pipeline.name}", remedy="run it (millrace run)"
            )
        return chosen

    @property
    def budget(self) -> Budget:
        """When to stop collecting."""
        return Budget(self.seconds, self.messages, self.until_empty)

    @property
    def pace(self) -> Pace:
        """How a consumer works."""
        return Pace(
            lanes=self.lanes,
            object_messages=self.object_messages,
            flush_seconds=self.flush_seconds,
            visibility_seconds=self.visibility_seconds,
            wait_seconds=self.wait_seconds,
        )


DEFAULT_REQUEST = CollectRequest()


@flow(
    name="extract-queue",
    flow_run_name="collect {request.pipeline}",
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
    on_running=[cancel_waiting_runs],
)
async def extract_queue(request: CollectRequest = DEFAULT_REQUEST) -> dict[str, Collected]:
    """Collect messages into the lake, and return what was collected by stream.

    Any number of runs may collect at the same time. After SIGTERM a run writes the messages that it has, and ends.
    Raises ConfigurationError if a stream does not come from a queue, and an ExceptionGroup of what failed.
    """
    pipeline = requested_pipeline(request.pipeline)
    names = [stream.name for stream in request.choose_streams(pipeline)]
    ended = dict(
        zip(
            names,
            await gather_outcomes(
                collect_messages(request.pipeline, name, request.budget, request.pace) for name in names
            ),
            strict=True,
        )
    )
    await acreate_table_artifact(
        key=artifact_key("collected", pipeline.name),
        table=[_row(name, outcome) for name, outcome in ended.items()],
        description="Messages that were collected into the lake.",
    )
    raise_all(outcome for outcome in ended.values() if isinstance(outcome, Exception))
    return {name: outcome for name, outcome in ended.items() if not isinstance(outcome, Exception)}


def _row(stream: str, outcome: Collected | Exception) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"stream": stream, "status": status_of(outcome), "reason": describe_error(outcome)}
    return {"stream": stream, "status": "collected", "reason": "", **asdict(outcome)}
