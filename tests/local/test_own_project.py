"""A project in a folder of its own, as examples/shop: it runs from Python, by `serve` and by a worker's deployments."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from infra.pool_template import pool_template
from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace import Incremental, Pipeline, Stream
from millrace.base.errors import ConfigurationError
from millrace.declaration.find import find_pipeline
from millrace.declaration.values import register_value
from millrace.flows.parameters import PIPELINES_VARIABLE
from millrace.flows.replicate import replicate
from tests.local.test_on_a_laptop import BIN, ROOT, ran, running
from tests.saved_blocks import save_blocks

POOL, NAME = "projects", "shop.pipelines:pipeline"
FILE = "shop/pipelines.py:pipeline"
DEPLOYMENT = f"""
pull:
  - prefect.deployments.steps.git_clone: {{{{repository: "{{repository}}", branch: main}}}}
deployments:
  - name: fetched
    entrypoint: millrace.flows.replicate.replicate
    parameters: {{{{request: {{{{pipeline: "{FILE}"}}}}}}}}
    work_pool:
      name: {{pool}}
      job_variables: {{{{env: {{{{MILLRACE_PIPELINES: "{FILE}"}}}}}}}}
"""
EXAMPLE = ROOT / "examples" / "shop"
ORDERS = (
    "CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, amount numeric(10, 2), updated_at timestamptz "
    "NOT NULL DEFAULT now()); INSERT INTO orders VALUES (1, 'Ada', 12.5), (2, 'Grace', 99); "
    "GRANT SELECT ON orders TO public"
)


@pytest.fixture
async def project(prefect_server: PrefectServer, stack: Stack, environment: dict[str, str], tmp_path: Path) -> Path:
    """A copy of the example, whose table has two rows; its blocks are saved, and no deployment has its name."""
    await save_blocks(environment)
    async with get_client() as client:
        for deployment in await client.read_deployments():
            if deployment.name == "shop":
                await client.delete_deployment(deployment.id)
    stack.postgres.execute(ORDERS, database=environment["SOURCE_POSTGRES_URL"].rpartition("/")[2])
    return Path(shutil.copytree(EXAMPLE, tmp_path / "shop"))


@pytest.fixture
def variables(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of a machine that knows its Prefect server, and no pipeline but those that ship."""
    monkeypatch.delenv(PIPELINES_VARIABLE, raising=False)
    return {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home), "DO_NOT_TRACK": "1"}


def rows(stack: Stack) -> list[tuple[Any, ...]]:
    return stack.postgres.execute("SELECT id FROM shop.orders ORDER BY id", database=stack.warehouse.database)


async def run_program(folder: Path, *command: str, **variables: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={"PATH": str(BIN), **variables}, stdout=-1, stderr=-1
    )
    out, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    return out.decode()


async def test_a_flow_of_ones_own_calls_replicate(project: Path, variables: dict[str, str], stack: Stack) -> None:
    """In one process, with the pipeline as a value: no environment allows a file."""
    out = await run_program(project, sys.executable, "-m", "shop.flows", **variables)
    assert out.endswith("2 rows loaded\n")
    assert rows(stack) == [(1,), (2,)]
    assert "nothing new" in await run_program(project, str(BIN / "millrace"), "run", NAME, **variables)


async def test_a_project_serves_its_pipeline(project: Path, variables: dict[str, str], stack: Stack) -> None:
    log = project / "serve.log"
    with running([sys.executable, "serve.py"], {"PATH": str(BIN), **variables}, log):
        run = await ran("replicate/shop", None, log)
        with pytest.raises(PrefectHTTPStatusError, match="is not one of"):
            await ran("replicate/shop", {"request": {"pipeline": f"{project}/shop/flows.py:pipeline"}}, log)
    assert run.state is not None
    assert run.state.is_completed(), log.read_text()
    assert run.parameters == {"request": {"pipeline": f"{project}/shop/pipelines.py:pipeline"}}
    assert rows(stack) == [(1,), (2,)]


async def test_a_worker_runs_the_deployments_of_a_project(
    project: Path, variables: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    """Its `prefect.yaml`; the two variables of its Dockerfile are those of the worker here."""
    template, log = tmp_path / "process.json", project / "worker.log"
    template.write_text(json.dumps(pool_template("process")))
    known = variables | {"PATH": str(BIN), "PYTHONPATH": str(project), PIPELINES_VARIABLE: NAME}
    prefect = [str(BIN / "prefect"), "--no-prompt"]
    create = ["work-pool", "create", POOL, "--type", "process", "--base-job-template", str(template), "--overwrite"]
    deploy = ["deploy", "--all", "--prefect-file", str(project / "prefect.yaml")]
    for command in (create, deploy):
        await run_program(project, *prefect, *command, **known, MILLRACE_WORK_POOL=POOL, IMAGE="thin")
    with running([*prefect, "worker", "start", "--pool", POOL], known, log):
        run = await ran("replicate/shop", None, log)
        nightly = await ran("nightly/nightly", None, log)
    for one in (run, nightly):
        assert one.state is not None
        assert one.state.is_completed(), log.read_text()
    assert rows(stack) == [(1,), (2,)]


async def test_a_run_fetches_a_project_from_its_repository(
    project: Path, variables: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    """As docs/running/own-project.md says it for Millrace's own image: nothing of the project is where it runs."""
    known = variables | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "shop"]):
        await run_program(project, "git", *arguments, **known)
    deployment = DEPLOYMENT.format(repository=f"file://{project}", pool=POOL)
    (tmp_path / "prefect.yaml").write_text(deployment)
    (tmp_path / "process.json").write_text(json.dumps(pool_template("process")))
    prefect, log = [str(BIN / "prefect"), "--no-prompt"], tmp_path / "worker.log"
    create = ["work-pool", "create", POOL, "--type", "process", "--base-job-template", "process.json", "--overwrite"]
    for command in (create, ["deploy", "--all"]):
        await run_program(tmp_path, *prefect, *command, **known, MILLRACE_PIPELINES=FILE)
    with running([*prefect, "worker", "start", "--pool", POOL], known, log):
        run = await ran("replicate/fetched", None, log)
    assert run.state is not None
    assert run.state.is_completed(), log.read_text()
    assert rows(stack) == [(1,), (2,)]


@pytest.mark.usefixtures("project")
async def test_a_value_and_a_file_run_in_this_process(stack: Stack, tmp_path: Path) -> None:
    stream = Stream("orders", "postgres:public.orders", "id", Incremental("updated_at"))
    report = await replicate(Pipeline("shop", [stream]))
    assert [(one.stream, one.loaded) for one in report.streams] == [("orders", 2)]
    # With a number behind it if this process ran another pipeline of this name before.
    assert report.pipeline.startswith("python:shop")
    report = await replicate(str(EXAMPLE / "shop" / "pipelines.py"), mode="full", streams=["orders"])
    assert [(one.stream, one.unchanged) for one in report.streams] == [("orders", 2)]
    async with get_client() as client:
        assert [run.parameters for run in await client.read_flow_runs() if run.name.startswith("python:shop")]


@pytest.mark.usefixtures("variables")
async def test_a_pipeline_without_a_name_is_not_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = Pipeline("shop", [Stream("orders", "postgres:public.orders", "id", Incremental("updated_at"))])
    parameters = {"request": {"pipeline": nameless}}
    remedy = "no module that it can import has it as an attribute. Remedy: assign it to a name at the top of a module"
    with pytest.raises(ConfigurationError, match=remedy):
        replicate.serve("shop", parameters=parameters)
    with pytest.raises(ConfigurationError, match=remedy):
        await replicate.to_deployment("shop", parameters=parameters)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from shop.pipelines import pipeline  # type: ignore[import-not-found]  # noqa: PLC0415

    deployment = await replicate.to_deployment("shop", parameters={"request": {"pipeline": pipeline}})
    assert deployment.parameters == {"request": {"pipeline": NAME}}
    assert find_pipeline(NAME).cli_name == NAME
    with pytest.raises(ConfigurationError, match="given as a value to a flow of another process"):
        find_pipeline(f"{register_value(nameless)}-elsewhere")
