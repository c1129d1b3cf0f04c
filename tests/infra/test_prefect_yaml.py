"""prefect.yaml: nothing in it is dropped, all of it is valid, and a real server holds what it declares."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.steps.core import run_steps
from prefect.testing.cli import CycloptsCliRunner
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.schema_tools import validate

import pipelines
from infra import work_pool
from local.prefect_server import PrefectServer
from local.processes import neutral_environment
from tests.infra.deployments import FILE, document, flow_of, job_variables_schema, unknown_keys
from tests.infra.stack_outputs import OUTPUTS, SECRETS

IMAGE, VERSION = "millrace:3f1c9ab", "0.1.0+3f1c9ab"
RELEASE = {"MILLRACE_IMAGE": IMAGE, "MILLRACE_VERSION": VERSION, "MILLRACE_IMAGE_READY": "1"}
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
    assert named is None or named in pipelines.names()


@each_deployment
def test_each_says_what_it_is(deployment: dict[str, Any]) -> None:
    assert deployment["description"].strip().endswith(".")
    assert deployment["tags"]
    assert deployment["version"] == "{{ $MILLRACE_VERSION }}"


@each_deployment
def test_where_each_runs(deployment: dict[str, Any]) -> None:
    pool, variables = deployment["work_pool"], deployment["work_pool"]["job_variables"]
    assert (pool["name"], pool["work_queue_name"] in work_pool.QUEUES) == (work_pool.NAME, True)
    assert variables["image"] == "{{ $MILLRACE_IMAGE }}"
    assert not validate(variables, job_variables_schema(), raise_on_error=False)
    assert variables["memory"] in MEMORY_MIB_BY_CPU[variables["cpu"]]


@each_deployment
def test_none_piles_up(deployment: dict[str, Any]) -> None:
    """A limit for each; what comes by schedule is left out rather than put off, but for what comes once a week."""
    limit = deployment["concurrency_limit"]
    strategy = ConcurrencyLimitStrategy(limit["collision_strategy"])
    assert limit["limit"] >= 1
    if deployment.get("schedules") and full_name(deployment) != "replicate/reconcile":
        assert strategy == ConcurrencyLimitStrategy.CANCEL_NEW


def test_code_is_in_the_image() -> None:
    assert document()["pull"] == []
    assert not any("pull" in deployment for deployment in DEPLOYMENTS)


@pytest.mark.parametrize("name", pipelines.names())
def test_a_pipeline_s_deployment_runs_when_the_pipeline_says(name: str) -> None:
    """The same moments, in summer and in winter."""
    deployment = BY_NAME[f"replicate/{name}"]
    [schedule] = deployment["schedules"]
    assert deployment["parameters"] == {"request": {"pipeline": name}}
    for begin in (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 7, 1, tzinfo=UTC)):
        assert moments(schedule["cron"], schedule["timezone"], begin) == moments(
            pipelines.find(name).schedule, "UTC", begin
        )


def moments(cron: str, timezone: str, begin: datetime) -> list[datetime]:
    fires = CronSim(cron, begin.astimezone(ZoneInfo(timezone)))
    return [next(fires).astimezone(UTC) for _ in range(100)]


def test_a_collector_never_starts_together_with_the_run_that_loads() -> None:
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    [collect], [load] = BY_NAME["extract-queue/events"]["schedules"], BY_NAME["replicate/events"]["schedules"]
    assert not {*moments(collect["cron"], "UTC", begin)} & {*moments(load["cron"], "UTC", begin)}


async def test_the_image_is_built_and_pushed_unless_it_is_there(
    prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps run as Prefect runs them, in a directory whose Makefile only notes what was asked."""
    (tmp_path / "Makefile").write_text("image push:\n\t@echo $@ $$MILLRACE_IMAGE >> asked\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLRACE_IMAGE", IMAGE)
    for ready in ("1", ""):
        monkeypatch.setenv("MILLRACE_IMAGE_READY", ready)
        for section in ("build", "push"):
            await run_steps(document()[section], print_function=lambda *_, **__: None)
        assert (tmp_path / "asked").exists() == (not ready)
    assert (tmp_path / "asked").read_text() == f"image {IMAGE}\npush {IMAGE}\n"


Deployments = dict[str, DeploymentResponse]


@pytest.fixture(scope="module")
def deployed(prefect_server: PrefectServer) -> Iterator[tuple[Deployments, Deployments]]:
    """What the server holds after ``prefect deploy --all``, and after it was run again."""
    run_coro_as_sync(_make_pool())
    run = subprocess.run(
        [sys.executable, "-m", "prefect", *DEPLOY, "--all"],
        cwd=FILE.parent,
        env=neutral_environment()
        | {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}
        | RELEASE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    first = run_coro_as_sync(_read())
    again = deploy("--all", **RELEASE)
    assert again.exit_code == 0, again.output
    second = run_coro_as_sync(_read())
    yield first, second
    run_coro_as_sync(_delete(second))


def deploy(*arguments: str, **environment: str) -> Any:
    """In this process, which has imported all flows: that takes a process of its own longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FILE.parent)
        for name, value in ({"MILLRACE_IMAGE_READY": "1"} | environment).items():
            patch.setenv(name, value)
        return CycloptsCliRunner().invoke([*DEPLOY, *arguments])


async def _make_pool() -> None:
    async with get_client() as client:
        pool = WorkPoolCreate(
            name=work_pool.NAME, type=work_pool.TYPE, base_job_template=work_pool.filled(OUTPUTS, SECRETS)
        )
        await client.create_work_pool(pool, overwrite=True)
        await client.create_work_queue("backfill", work_pool_name=work_pool.NAME, priority=work_pool.QUEUES["backfill"])


async def _read() -> Deployments:
    async with get_client() as client:
        flows = {flow.id: flow.name for flow in await client.read_flows()}
        found = await client.read_deployments()
    ours = [one for one in found if one.work_pool_name == work_pool.NAME]
    return {f"{flows[one.flow_id]}/{one.name}": one for one in ours}


async def _delete(deployments: Deployments) -> None:
    async with get_client() as client:
        for deployment in deployments.values():
            await client.delete_deployment(deployment.id)
        await client.delete_work_pool(work_pool.NAME)


def test_all_are_deployed_and_nothing_else(deployed: tuple[Deployments, Deployments]) -> None:
    assert deployed[0].keys() == BY_NAME.keys()


def test_deploying_again_changes_nothing(deployed: tuple[Deployments, Deployments]) -> None:
    first, second = ({name: settled(one) for name, one in held.items()} for held in deployed)
    assert first == second


def settled(deployment: DeploymentResponse) -> dict[str, Any]:
    """But for moments, and the ids of schedules, which Prefect makes anew."""
    content = deployment.model_dump(exclude={"updated", "status", "last_polled", "schedules"})
    return content | {"schedules": [(one.slug, one.schedule, one.active) for one in deployment.schedules]}


@each_deployment
def test_the_server_holds_what_is_declared(
    deployed: tuple[Deployments, Deployments], deployment: dict[str, Any]
) -> None:
    held, limit = deployed[1][full_name(deployment)], deployment["concurrency_limit"]
    assert held.parameters == deployment["parameters"]
    assert held.enforce_parameter_schema is True
    assert held.entrypoint == deployment["entrypoint"]
    assert held.pull_steps == []
    assert (held.version, held.tags) == (VERSION, deployment["tags"])
    assert held.description == deployment["description"]
    assert held.work_queue_name == deployment["work_pool"]["work_queue_name"]
    assert held.job_variables == deployment["work_pool"]["job_variables"] | {"image": IMAGE}
    assert held.global_concurrency_limit is not None
    assert held.global_concurrency_limit.limit == limit["limit"]
    assert held.concurrency_options is not None
    assert held.concurrency_options.collision_strategy == limit["collision_strategy"]
    declared = [
        (one["slug"], CronSchedule(cron=one["cron"], timezone=one["timezone"]), True)
        for one in deployment.get("schedules", [])
    ]
    assert [(one.slug, one.schedule, one.active) for one in held.schedules] == declared


def test_without_an_image_nothing_is_deployed(deployed: tuple[Deployments, Deployments]) -> None:
    """Else the worker would take Prefect's own image, without our code."""
    assert deploy("-n", "replay", MILLRACE_VERSION=VERSION).exit_code != 0
    assert run_coro_as_sync(_read())["replicate/replay"].job_variables["image"] == IMAGE
