"""Which flows the automations watch."""

from __future__ import annotations

from flows.watch import FLOWS
from tests.infra.deployments import document, flow_of


def test_whatever_starts_by_itself_is_watched() -> None:
    scheduled = [one for one in document()["deployments"] if one.get("schedules")]
    assert {flow_of(one).name for one in scheduled} | {"transform"} == set(FLOWS)


def test_what_is_watched_tells_of_its_failure_itself() -> None:
    """Else the automation would tell of every failure a minute later, without its reason."""
    for one in document()["deployments"]:
        if flow_of(one).name in FLOWS:
            assert [hook.__name__ for hook in flow_of(one).on_failure_hooks] == ["alert_failure"]
