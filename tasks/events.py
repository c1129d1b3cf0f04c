"""Events that Millrace sends to Prefect: batches landed, batches loaded, freshness breached, alert sent.

Every event of a pipeline is about one resource, ``millrace.pipeline.<name>``; automations react to them
(automation_rules.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event

LANDED = "millrace.landed"
LOADED = "millrace.loaded"
WATCHED = "millrace.watched"
BREACHED = "millrace.freshness.breached"
ALERTED = "millrace.alerted"
LOAD_LABEL = "millrace.load"
LoadedBy = Literal["by-run", "by-event"]
"""Who loads landed batches: the same run, or the deployment ``transform/<pipeline>``, which the event starts."""


def pipeline_resource(name: str) -> dict[str, str]:
    """Return the resource that the events of a pipeline are about."""
    return {"prefect.resource.id": f"millrace.pipeline.{name}", "prefect.resource.name": name}


def emit_landed(name: str, address: str, manifests: Sequence[str], load: LoadedBy) -> None:
    """Emit that batches have landed. ``address`` is how a request names the pipeline, by name or by path."""
    emit_event(
        LANDED,
        resource=pipeline_resource(name) | {LOAD_LABEL: load},
        payload={"pipeline": address, "manifests": list(manifests)},
    )


def emit_loaded(name: str, counts: Mapping[str, Any], freshness: Mapping[str, Any]) -> None:
    """Emit that a load has finished, also one that had nothing to load: the data is fresh.

    ``counts`` and ``freshness`` are by table.
    """
    emit_event(
        LOADED,
        resource=pipeline_resource(name),
        payload={"pipeline": name, "counts": dict(counts), "freshness": dict(freshness)},
    )


def emit_watched(name: str) -> None:
    """Emit that the freshness of a pipeline is watched from now on, even if it never loaded."""
    emit_event(WATCHED, resource=pipeline_resource(name))


def emit_breached(name: str, objective: timedelta, streams: Mapping[str, Mapping[str, float]]) -> None:
    """Emit that changes became visible later than the objective; ``streams`` has their ages in seconds, by stream."""
    payload = {"pipeline": name, "objective_seconds": objective.total_seconds(), "streams": dict(streams)}
    emit_event(BREACHED, resource=pipeline_resource(name), payload=payload)


def emit_alerted(flow_name: str, flow_run: FlowRun, state: State[Any]) -> None:
    """Emit that an alert was sent about this state of a run, so that the server sends none."""
    related = [_make_related("flow", flow_run.flow_id, flow_name)]
    if flow_run.deployment_id:
        related.append(_make_related("deployment", flow_run.deployment_id))
    emit_event(
        ALERTED,
        resource={"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name},
        related=related,
        # The server ignores an event that seems older than the state before it, and clocks differ.
        occurred=max(datetime.now(UTC), state.timestamp + timedelta(milliseconds=1)),
    )


def _make_related(role: str, identifier: object, name: str = "") -> dict[str, str]:
    resource = {"prefect.resource.id": f"prefect.{role}.{identifier}", "prefect.resource.role": role}
    return resource | ({"prefect.resource.name": name} if name else {})
