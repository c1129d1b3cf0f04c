"""The automations that Prefect's server has for Millrace.

They send an alert about what no hook in a flow's process can see (a crash, a run that does not start, a failure before
the hook, no run at all), and start the deployment ``transform/<pipeline>`` when landed batches ask for it. They watch
only runs of deployments: a person sees a run that they started, and a subflow has a parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from millrace.tasks.events import ALERTED, LANDED, LOAD_LABEL, LOADED, WATCHED, pipeline_resource
from millrace.tasks.messages import SCHEDULED_FIELDS, duration_text, run_link

PREFIX = "millrace: "
"""How names of Millrace's automations begin; only code creates, changes and removes these."""
FLOWS = ("replicate", "follow", "transform", "extract-queue", "chart")
"""Flows with a schedule, or that an event starts: nobody looks at them while they run."""
RUN_ID = "prefect.resource.id"
STARTED = ("Running", "Retrying", "Completed", "Failed", "TimedOut", "Crashed", "Cancelling", "Cancelled")
PUT_OFF = ("Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Suspended")
MOVED_ON = {f"prefect.flow-run.{state}" for state in (*STARTED, *PUT_OFF)}
# The message of an unexpected exception may contain a row's value; all other reasons of a crash are by Prefect or AWS.
CRASH_REASON = (
    "{% if 'exception' in (flow_run.state.message or '') %}an unexpected exception, see the run's log"
    "{% else %}{{ flow_run.state.message or 'not known' }}{% endif %}"
)
# No other run repeats one that a person, or a schedule with other parameters, asks for (see tasks/messages.py).
AFTER_CRASH = (
    "{% set asked = (flow_run.parameters.request or {}).items() | selectattr(1) "
    f"| rejectattr(0, 'in', {sorted(SCHEDULED_FIELDS)}) | rejectattr(1, 'eq', 'incremental') | list %}}"
    "{% if asked and flow.name == 'replicate' %}retry this run: no other run does what it was asked for"
    "{% else %}the next run repairs it{% endif %}"
)
PIPELINE = "{{ flow_run.parameters.request.pipeline }}"


@dataclass(frozen=True)
class Patience:
    """How long the server waits before it sends an alert. Prefect allows no less than 10 seconds."""

    unheard: timedelta = timedelta(minutes=1)
    """How long it waits for the alert of a failed run's hook before it sends one itself."""
    pending: timedelta = timedelta(minutes=10)
    """How long a run that was submitted may take to start."""
    late: timedelta = timedelta(minutes=10)
    """How long a deployment with a late run may have no run that is picked up."""


@dataclass(frozen=True)
class Watched:
    """What the automations refer to."""

    channels: Sequence[UUID]
    """Ids of the notification blocks that get alerts."""
    transforms: Mapping[str, UUID]
    """Ids of the deployments of `transform`, by pipeline."""
    fresh_within: Mapping[str, timedelta]
    """The greatest age that data may have, by pipeline."""
    flows: Sequence[str] = FLOWS
    """Names of the flows that are watched."""
    patience: Patience = Patience()
    """How long the server waits before it sends an alert."""


def declare_automations(watched: Watched) -> Iterator[AutomationCore]:
    """Yield every automation that Prefect should have; without a channel there are none for alerts."""
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
        f"{{{{ flow.name }}}} {PIPELINE} crashed: its process ended without a message.\nReason:   {CRASH_REASON}",
        f"{AFTER_CRASH}; if it happens again, see whether memory suffices (exit code 137) and the image starts.",
        _reactive("Crashed", watched.flows),
    )
    yield _alert(
        watched,
        "failed",
        f"{{{{ flow.name }}}} {PIPELINE} failed, and its process could not send an alert.",
        "see the run's log for the reason, and check that its role may publish to the channels.",
        _proactive({"Failed", "TimedOut"}, {ALERTED}, {RUN_ID}, patience.unheard, watched.flows),
    )
    yield _alert(
        watched,
        "pending",
        f"{{{{ flow.name }}}} {PIPELINE} was submitted, but did not start within {duration_text(patience.pending)}.",
        "see the worker's log and the stopped tasks of the ECS cluster: image, subnets, capacity.",
        _proactive({"Pending"}, MOVED_ON, {RUN_ID}, patience.pending, watched.flows),
    )
    picked_up = MOVED_ON | {"prefect.flow-run.Pending"}
    yield _alert(
        watched,
        "late",
        f"{{{{ flow.name }}}} {PIPELINE} is late: no run of its deployment was picked up for "
        f"{duration_text(patience.late)}.",
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
            description="Sends an alert when no load has finished for as long as the pipeline's data may be old.",
            trigger=trigger,
            actions=_tell(
                watched,
                f"{pipeline}: no fresh data for {duration_text(within)}",
                f"No load of {pipeline} has finished for {duration_text(within)}; the last sign of it was at "
                "{{ event.occurred.strftime('%Y-%m-%d %H:%M') }} UTC.\n\n"
                "Remedy: see whether its runs are late, fail, or do not start, and that its schedule is not paused.",
            ),
        )


def _transform(pipeline: str, deployment: UUID) -> AutomationCore:
    manifests = {"__prefect_kind": "jinja", "template": "{{ event.payload.manifests | tojson }}"}
    request: dict[str, Any] = {
        "pipeline": {"__prefect_kind": "jinja", "template": "{{ event.payload.pipeline }}"},
        # A template returns text; parsed as JSON it is a list again.
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


def _link() -> str:
    """Return the link to a run, whose id the server puts in."""
    # Not run_link of the template itself: from 3.9 on Prefect encodes what it puts into an address.
    some = uuid4()
    return run_link(some).replace(str(some), "{{ flow_run.id }}")


def _alert(watched: Watched, what: str, happened: str, remedy: str, trigger: EventTrigger) -> AutomationCore:
    body = (
        f"{happened}\nPipeline: {PIPELINE}\nRun:      {{{{ flow_run.name }}}}\n"
        f"Link:     {_link()}\n\nRemedy: {remedy}\n"
    )
    return AutomationCore(
        name=f"{PREFIX}{what}",
        description="Sends an alert that the process of a run cannot send itself.",
        trigger=trigger,
        actions=_tell(watched, f"{PIPELINE}: {{{{ flow.name }}}} {what}", body),
    )


def _tell(watched: Watched, subject: str, body: str) -> list[Any]:
    return [
        SendNotification(block_document_id=channel, subject=f"[millrace] {subject}", body=body)
        for channel in watched.channels
    ]


def _reactive(state: str, flows: Sequence[str]) -> EventTrigger:
    return EventTrigger(expect={f"prefect.flow-run.{state}"}, match_related=_match_deployments(flows))


def _proactive(
    after: set[str], expect: set[str], for_each: set[str], within: timedelta, flows: Sequence[str]
) -> EventTrigger:
    return EventTrigger(
        posture=Posture.Proactive,
        after={f"prefect.flow-run.{state}" for state in after},
        expect=expect,
        for_each=for_each,
        within=within,
        match_related=_match_deployments(flows),
    )


def _match_deployments(flows: Sequence[str]) -> list[Any]:
    return [
        {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)},
        {"prefect.resource.role": "deployment"},
    ]
