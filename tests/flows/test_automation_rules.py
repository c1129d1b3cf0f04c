"""Which flows the automations watch."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.server.utilities.user_templates import render_user_template_sync, validate_user_template

from millrace.flows.automation_rules import AFTER_CRASH, FLOWS
from tests.infra.deployments import document, flow_of


def test_whatever_starts_by_itself_is_watched() -> None:
    scheduled = [one for one in document()["deployments"] if one.get("schedules")]
    assert {flow_of(one).name for one in scheduled} | {"transform"} == set(FLOWS)


def test_what_is_watched_tells_of_its_failure_itself() -> None:
    """Else the automation would tell of every failure a minute later, without its reason."""
    for one in document()["deployments"]:
        if flow_of(one).name in FLOWS:
            assert [hook.__name__ for hook in flow_of(one).on_failure_hooks] == ["alert_failure"]


@pytest.mark.parametrize(
    ("flow", "request_", "remedy"),
    [
        ("replicate", {"pipeline": "stori"}, "the next run repairs it"),
        (
            "replicate",
            {"pipeline": "stori", "mode": "incremental", "streams": ["trades"], "window": None},
            "the next run",
        ),
        ("replicate", {"pipeline": "stori", "mode": "sweep"}, "retry this run"),
        ("replicate", {"pipeline": "stori", "mode": "full"}, "retry this run"),
        ("replicate", {"pipeline": "stori", "window": {"start": "2026-01-01"}}, "retry this run"),
        ("replicate", {"accept_rejects": True}, "retry this run"),
        ("replicate", None, "the next run repairs it"),
        ("extract-queue", {"pipeline": "events", "seconds": 60}, "the next run repairs it"),
    ],
)
def test_after_a_crash_the_remedy_fits_what_the_run_was_asked_for(
    flow: str, request_: dict[str, Any] | None, remedy: str
) -> None:
    context = {"flow": {"name": flow}, "flow_run": {"parameters": {"request": request_} if request_ else {}}}
    validate_user_template(AFTER_CRASH)
    assert render_user_template_sync(AFTER_CRASH, context).startswith(remedy)
