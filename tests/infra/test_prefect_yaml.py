"""prefect.yaml: nothing in it is dropped, all of it is valid, and a real server holds what it declares."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.utilities.schema_tools import validate

from infra import work_pool
from millrace.declaration import find
from tests.infra.deployments import document, flow_of, job_variables_schema, unknown_keys

IMAGE, VERSION = "millrace:3f1c9ab", "0.1.0+3f1c9ab"
RELEASE = {
    "MILLRACE_WORK_POOL": work_pool.NAME,
    "MILLRACE_IMAGE": IMAGE,
    "MILLRACE_VERSION": VERSION,
    "MILLRACE_IMAGE_READY": "1",
}
DEPLOY = ("--no-prompt", "deploy")
DEPLOYMENTS = document()["deployments"]
MEMORY_MIB_BY_CPU = {512: range(1024, 4097, 1024), 1024: range(2048, 8193, 1024), 2048: range(4096, 16385, 1024)}
"""Pairs that Fargate offers."""


def full_name(deployment: dict[str, Any]) -> str:
    return f"{flow_of(deployment).name}/{deployment['name']}"


BY_NAME = {full_name(one): one for one in DEPLOYMENTS}
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)


def test_nothing_in_it_is_unknown() -> None:
    assert unknown_keys(document()) == []


@pytest.mark.parametrize(
    ("misspelt", "place"),
    [
        (lambda file: file.update(deployment=[]), ".deployment"),
        (lambda file: file["build"][0]["prefect.deployments.steps.run_shell_script"].update(scripts=""), "scripts"),
        (lambda file: stori(file).update(concurency_limit=1), ".deployments[0].concurency_limit"),
        (lambda file: stori(file)["concurrency_limit"].update(colision="ENQUEUE"), ".concurrency_limit.colision"),
        (lambda file: stori(file)["schedules"][0].update(timezon="UTC"), ".schedules[0].timezon"),
        (lambda file: stori(file)["schedules"][0].update(parameters={"pipeline": 1}), ".parameters.pipeline"),
        (lambda file: stori(file)["work_pool"].update(queue="backfill"), ".work_pool.queue"),
        (lambda file: stori(file)["work_pool"]["job_variables"].update(cpus=1), ".job_variables.cpus"),
        (lambda file: stori(file)["parameters"]["request"].update(pipe="stori"), ".parameters.request.pipe"),
        (lambda file: stori(file)["parameters"]["request"].update(window={"begin": ""}), ".request.window.begin"),
        (lambda file: stori(file).update(triggers=[{"expect": ["a"], "expects": ["a"]}]), ".triggers[0].expects"),
        (lambda file: stori(file).update(pull=[{"prefect.deployments.steps.git_clone": {"bran": ""}}]), "bran"),
    ],
)
def test_a_misspelt_key_is_found(misspelt: Callable[[dict[str, Any]], object], place: str) -> None:
    # Through JSON, so that deployments share nothing: in the file they do, by anchors.
    file = json.loads(json.dumps(document()))
    misspelt(file)
    [found] = unknown_keys(file)
    assert found.endswith(place)


def stori(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = file["deployments"][0]
    return found


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(DEPLOYMENTS)


@each_deployment
def test_parameters_are_what_the_flow_takes(deployment: dict[str, Any]) -> None:
    assert deployment["enforce_parameter_schema"] is True
    flow_of(deployment).validate_parameters(deployment["parameters"])
    named = deployment["parameters"]["request"].get("pipeline")
    assert named is None or named in find.pipeline_names()


@each_deployment
def test_a_flow_can_be_served(deployment: dict[str, Any]) -> None:
    """``flow.serve()`` copies the function into another process, without the names that only annotations mention. So
    these modules do without ``from __future__ import annotations``.
    """
    parameters = inspect.signature(flow_of(deployment).fn).parameters.values()
    assert not [one.name for one in parameters if isinstance(one.annotation, str)]


@each_deployment
def test_each_says_what_it_is(deployment: dict[str, Any]) -> None:
    assert deployment["description"].strip().endswith(".")
    assert deployment["tags"]
    assert deployment["version"] == "{{ $MILLRACE_VERSION }}"


@each_deployment
def test_where_each_runs(deployment: dict[str, Any]) -> None:
    pool, variables = deployment["work_pool"], deployment["work_pool"]["job_variables"]
    assert (pool["name"], pool["work_queue_name"] in work_pool.QUEUES) == ("{{ $MILLRACE_WORK_POOL }}", True)
    assert variables["image"] == "{{ $MILLRACE_IMAGE }}"
    assert not validate(variables, job_variables_schema(), raise_on_error=False)
    assert variables["memory"] in MEMORY_MIB_BY_CPU[variables["cpu"]]


@each_deployment
def test_what_a_person_asks_for_is_never_cancelled_by_the_limit(deployment: dict[str, Any]) -> None:
    """A limit for each; what does not fit waits. That runs of a schedule do not pile up: tests/flows/test_turn.py."""
    limit = deployment["concurrency_limit"]
    assert limit["limit"] >= 1
    assert ConcurrencyLimitStrategy(limit["collision_strategy"]) == ConcurrencyLimitStrategy.ENQUEUE


def test_code_is_in_the_image() -> None:
    assert document()["pull"] == []
    assert not any("pull" in deployment for deployment in DEPLOYMENTS)


@pytest.mark.parametrize("name", find.pipeline_names())
def test_a_pipeline_s_deployment_runs_when_the_pipeline_says(name: str) -> None:
    """The same moments, in summer and in winter."""
    deployment = BY_NAME[f"replicate/{name}"]
    [schedule] = deployment["schedules"]
    assert deployment["parameters"] == {"request": {"pipeline": name}}
    for begin in (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 7, 1, tzinfo=UTC)):
        assert moments(schedule["cron"], schedule["timezone"], begin) == moments(
            find.find_pipeline(name).schedule, "UTC", begin
        )


def moments(cron: str, timezone: str, begin: datetime) -> list[datetime]:
    fires = CronSim(cron, begin.astimezone(ZoneInfo(timezone)))
    return [next(fires).astimezone(UTC) for _ in range(100)]


def test_a_collector_never_starts_together_with_the_run_that_loads() -> None:
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    [collect], [load] = BY_NAME["extract-queue/events"]["schedules"], BY_NAME["replicate/events"]["schedules"]
    assert not {*moments(collect["cron"], "UTC", begin)} & {*moments(load["cron"], "UTC", begin)}
