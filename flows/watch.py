"""The automations of Millrace, declared: what Prefect's server does by itself.

It tells of what no hook in a flow's process can see (a crash, a run that does not start, a failure before the hook,
silence), and starts the deployment ``transform/<pipeline>`` when an ingest has landed that asks for it. Only runs of
deployments are watched: an ad-hoc run has somebody who looks at it, and a subflow has a parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from millrace.tasks.events import ALERTED, LANDED, LOAD_LABEL, LOADED, WATCHED, pipeline_resource
from millrace.tasks.messages import REGULAR, minutes, run_link

PREFIX = "millrace: "
"""Automations whose names begin so are ours: made, changed and removed by code alone."""
FLOWS = ("replicate", "transform", "extract-queue", "chart")
"""Those with a schedule, or that an event starts: nobody looks at them while they run."""
RUN_ID = "prefect.resource.id"
STARTED = ("Running", "Retrying", "Completed", "Failed", "TimedOut", "Crashed", "Cancelling", "Cancelled")
PUT_OFF = ("Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Suspended")
MOVED_ON = {f"prefect.flow-run.{state}" for state in (*STARTED, *PUT_OFF)}
# An unexpected exception's words may hold a row's value; every other reason of a crash is Prefect's or AWS's own.
CRASH_REASON = (
    "{% if 'exception' in (flow_run.state.message or '') %}an unexpected exception, see the run's log"
    "{% else %}{{ flow_run.state.message or 'not known' }}{% endif %}"
)
# Of a run that only a person or a schedule of its own asks for, no other run does the work (see tasks/messages.py).
AFTER_CRASH = (
    "{% set asked = (flow_run.parameters.request or {}).items() | selectattr(1) "
    f"| rejectattr(0, 'in', {sorted(REGULAR)}) | rejectattr(1, 'eq', 'incremental') | list %}}"
    "{% if asked and flow.name == 'replicate' %}retry this run: no other run does what it was asked for"
    "{% else %}the next run repairs it{% endif %}"
)
PIPELINE = "{{ flow_run.parameters.request.pipeline }}"


@dataclass(frozen=True)
class Patience:
    """How long the server waits before it tells. Prefect allows no less than 10 seconds."""

    unheard: timedelta = timedelta(minutes=1)
    """For the hook of a failed run to say that it told."""
    pending: timedelta = timedelta(minutes=10)
    """For the container of a run that was submitted to start."""
    late: timedelta = timedelta(minutes=10)
    """For any run of a deployment to be picked up after one became late."""


@dataclass(frozen=True)
class Watched:
    """What the automations refer to: ids of channel documents, deployments of `transform` by pipeline, promises of
    freshness by pipeline."""

    channels: Sequence[UUID]
    transforms: Mapping[str, UUID]
    fresh_within: Mapping[str, timedelta]
    flows: Sequence[str] = FLOWS
    patience: Patience = Patience()


def declared(watched: Watched) -> Iterator[AutomationCore]:
    """Every automation that there should be. Without a channel there is nobody to tell."""
    if watched.channels:
        yield from _of_runs(watched)
        yield from _of_silence(watched)
    for pipeline, deployment in sorted(watched.transforms.items()):
        yield _transform(pipeline, deployment)


def _of_runs(watched: Watched) -> Iterator[AutomationCore]:
    patience = watched.patience
    yield _alert(
        watched,
        "crashed",
        f"{{{{ flow.name }}}} {PIPELINE} crashed: its process ended without a word.\nReason:   {CRASH_REASON}",
        f"{AFTER_CRASH}; if it happens again, see whether memory suffices (exit code 137) and the image starts.",
        _reactive("Crashed", watched.flows),
    )
    yield _alert(
        watched,
        "failed",
        f"{{{{ flow.name }}}} {PIPELINE} failed, and its process could not tell why.",
        "the run's log holds the reason; see also whether its role may publish to the channels.",
        _proactive({"Failed", "TimedOut"}, {ALERTED}, {RUN_ID}, patience.unheard, watched.flows),
    )
    yield _alert(
        watched,
        "pending",
        f"{{{{ flow.name }}}} {PIPELINE} was submitted, but did not start within {minutes(patience.pending)}.",
        "see the worker's log and the stopped tasks of the ECS cluster: image, subnets, capacity.",
        _proactive({"Pending"}, MOVED_ON, {RUN_ID}, patience.pending, watched.flows),
    )
    picked_up = MOVED_ON | {"prefect.flow-run.Pending"}
    yield _alert(
        watched,
        "late",
        f"{{{{ flow.name }}}} {PIPELINE} is late: no run of its deployment was picked up for {minutes(patience.late)}.",
        "see that a worker of the work pool runs, and that pool and queue are not paused.",
        _proactive({"Late"}, picked_up, {f"related:deployment:{RUN_ID}"}, patience.late, watched.flows),
    )


def _of_silence(watched: Watched) -> Iterator[AutomationCore]:
    for pipeline, within in sorted(watched.fresh_within.items()):
        trigger = EventTrigger(
            posture=Posture.Proactive,
            match={RUN_ID: pipeline_resource(pipeline)[RUN_ID]},
            # After an alert the watch begins again with the next load: an outage is reported once.
            after={WATCHED, LOADED},
            expect={LOADED},
            within=within,
        )
        yield AutomationCore(
            name=f"{PREFIX}silent {pipeline}",
            description="Tells when no load has finished for as long as the pipeline's data may be old.",
            trigger=trigger,
            actions=_tell(
                watched,
                f"{pipeline}: no fresh data for {minutes(within)}",
                f"No load of {pipeline} has finished for {minutes(within)}; the last sign of it was at "
                "{{ event.occurred.strftime('%Y-%m-%d %H:%M') }} UTC.\n\n"
                "Remedy: see whether its runs are late, fail, or do not start, and that its schedule is not paused.",
            ),
        )


def _transform(pipeline: str, deployment: UUID) -> AutomationCore:
    manifests = {"__prefect_kind": "jinja", "template": "{{ event.payload.manifests | tojson }}"}
    request: dict[str, Any] = {
        "pipeline": {"__prefect_kind": "jinja", "template": "{{ event.payload.pipeline }}"},
        # A template gives text; read as JSON it is a list again.
        "manifests": {"__prefect_kind": "json", "value": manifests},
    }
    return AutomationCore(
        name=f"{PREFIX}transform {pipeline}",
        description="Starts the deployment that loads what an ingest has landed, if the ingest did not load it.",
        trigger=EventTrigger(
            match={RUN_ID: pipeline_resource(pipeline)[RUN_ID], LOAD_LABEL: "by-event"}, expect={LANDED}
        ),
        actions=[
            RunDeployment(
                source="selected", deployment_id=deployment, parameters={"request": request}, job_variables=None
            )
        ],
    )


def _alert(watched: Watched, what: str, happened: str, remedy: str, trigger: EventTrigger) -> AutomationCore:
    body = (
        f"{happened}\nPipeline: {PIPELINE}\nRun:      {{{{ flow_run.name }}}}\n"
        f"Link:     {run_link('{{ flow_run.id }}')}\n\nRemedy: {remedy}\n"
    )
    return AutomationCore(
        name=f"{PREFIX}{what}",
        description="Tells what the process of a run cannot tell itself.",
        trigger=trigger,
        actions=_tell(watched, f"{PIPELINE}: {{{{ flow.name }}}} {what}", body),
    )


def _tell(watched: Watched, subject: str, body: str) -> list[Any]:
    return [
        SendNotification(block_document_id=channel, subject=f"[millrace] {subject}", body=body)
        for channel in watched.channels
    ]


def _reactive(state: str, flows: Sequence[str]) -> EventTrigger:
    return EventTrigger(expect={f"prefect.flow-run.{state}"}, match_related=_deployed(flows))


def _proactive(
    after: set[str], expect: set[str], for_each: set[str], within: timedelta, flows: Sequence[str]
) -> EventTrigger:
    return EventTrigger(
        posture=Posture.Proactive,
        after={f"prefect.flow-run.{state}" for state in after},
        expect=expect,
        for_each=for_each,
        within=within,
        match_related=_deployed(flows),
    )


def _deployed(flows: Sequence[str]) -> list[Any]:
    return [
        {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)},
        {"prefect.resource.role": "deployment"},
    ]
