"""Flows that a real runner starts in processes of their own: one that waits to be killed, one that fails, and one in
the place of `transform`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from prefect import flow, serve

from millrace.base.errors import MillraceError
from millrace.flows.alerts import alert_cancellation, alert_failure


@flow(name="watched", on_failure=[alert_failure], on_cancellation=[alert_cancellation], persist_result=False)
async def watched(request: dict[str, Any]) -> None:
    """Waits until it is ended from outside, or fails when the file ``fail`` is there."""
    while not Path(request["fail"]).exists():  # noqa: ASYNC110, ASYNC240 (another process makes it, and nobody waits for this one)
        await asyncio.sleep(0.1)
    raise MillraceError("no key", place="stream design", remedy="declare one")


@flow(name="transform", persist_result=False)
async def transform(request: dict[str, Any]) -> None:
    """Its parameters are what is looked at."""


if __name__ == "__main__":
    deployments = [watched.to_deployment("shop"), transform.to_deployment("shop")]
    serve(*deployments, pause_on_shutdown=False, query_seconds=1)  # type: ignore[arg-type]  # in sync code it is sync
