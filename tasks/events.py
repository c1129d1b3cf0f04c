"""What Millrace tells Prefect's event stream: landed, loaded, a breach of freshness, an alert that was sent.

Every event of a pipeline is about one resource, ``millrace.pipeline.<name>``; automations listen (flows/watch.py).
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
"""Who loads what landed: the run that landed it, or the deployment ``transform/<pipeline>``, started by the event."""


def pipeline_resource(name: str) -> dict[str, str]:
    """The resource that a pipeline's events are about."""
    return {"prefect.resource.id": f"millrace.pipeline.{name}", "prefect.resource.name": name}


def emit_landed(name: str, address: str, manifests: Sequence[str], load: LoadedBy) -> None:
    """An ingest is finished. ``address`` is how a request names the pipeline (``stori``, ``path.py:attribute``)."""
    emit_event(
        LANDED,
        resource=pipeline_resource(name) | {LOAD_LABEL: load},
        payload={"pipeline": address, "manifests": list(manifests)},
    )


def emit_loaded(name: str, counts: Mapping[str, Any], freshness: Mapping[str, Any]) -> None:
    """A load is finished, also one that had nothing to load: the pipeline is fresh. Both mappings are by table."""
    emit_event(
        LOADED,
        resource=pipeline_resource(name),
        payload={"pipeline": name, "counts": dict(counts), "freshness": dict(freshness)},
    )


def emit_watched(name: str) -> None:
    """From now on silence of this pipeline counts, though it never loaded."""
    emit_event(WATCHED, resource=pipeline_resource(name))


def emit_breached(name: str, objective: timedelta, streams: Mapping[str, Mapping[str, float]]) -> None:
    """Changes were older than the objective when they became visible; ages in seconds, by stream."""
    payload = {"pipeline": name, "objective_seconds": objective.total_seconds(), "streams": dict(streams)}
    emit_event(BREACHED, resource=pipeline_resource(name), payload=payload)


def emit_alerted(flow_name: str, flow_run: FlowRun, state: State[Any]) -> None:
    """Somebody was told of this state of this run, so that the server need not."""
    related = [_related("flow", flow_run.flow_id, flow_name)]
    if flow_run.deployment_id:
        related.append(_related("deployment", flow_run.deployment_id))
    emit_event(
        ALERTED,
        resource={"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name},
        related=related,
        # The server passes over an event that seems older than the state it follows, and clocks differ.
        occurred=max(datetime.now(UTC), state.timestamp + timedelta(milliseconds=1)),
    )


def _related(role: str, identifier: object, name: str = "") -> dict[str, str]:
    resource = {"prefect.resource.id": f"prefect.{role}.{identifier}", "prefect.resource.role": role}
    return resource | ({"prefect.resource.name": name} if name else {})
