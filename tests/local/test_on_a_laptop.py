"""Runs without ECS: a work pool of processes, and ``flow.serve()``. On a Prefect server, from source to warehouse."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from infra.pool_template import pool_template
from local.prefect_server import PrefectServer
from local.processes import dies_with_parent
from local.stack import Stack
from tests.saved_blocks import save_blocks

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
POOL = "laptop"
DEADLINE_SECONDS = 180
OWN_PIPELINE = """
from millrace import Incremental, Pipeline, Stream

pipeline = Pipeline(
    name="own", streams=[Stream("thing", source="postgres:public.thing", key="id", capture=Incremental("changed"))]
)
"""
SERVED = """
from millrace.flows.replicate import replicate

if __name__ == "__main__":
    replicate.serve(name="own", parameters={{"request": {{"pipeline": "{pipeline}"}}}})
"""


@pytest.fixture
async def pipeline(
    prefect_server: PrefectServer, stack: Stack, environment: dict[str, str], tmp_path: Path
) -> AsyncIterator[str]:
    """An own pipeline by its path, whose table has two rows; its blocks are saved."""
    await save_blocks(environment)
    database = environment["SOURCE_POSTGRES_URL"].rpartition("/")[2]
    stack.postgres.execute(
        "CREATE TABLE thing (id int PRIMARY KEY, changed timestamptz NOT NULL DEFAULT now())", database=database
    )
    stack.postgres.execute("INSERT INTO thing VALUES (1), (2)", database=database)
    stack.postgres.execute("GRANT SELECT ON thing TO public", database=database)
    path = tmp_path / "own.py"
    path.write_text(OWN_PIPELINE)
    yield f"{path}:pipeline"


@pytest.fixture
def variables(prefect_server: PrefectServer) -> dict[str, str]:
    """The variables of a laptop that knows its Prefect server."""
    return {
        **os.environ,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_HOME": str(prefect_server.home),
        "MILLRACE_ALLOW_PIPELINE_PATHS": "true",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def running(command: list[str], variables: dict[str, str], log: Path) -> Iterator[None]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            dies_with_parent(command), env=variables, cwd=log.parent, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def done(command: list[str], variables: dict[str, str]) -> None:
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def ran(name: str, parameters: dict[str, Any] | None, log: Path) -> FlowRun:
    """A run of the deployment, at its end."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    async with get_client() as client:
        while True:
            found = [one for one in await client.read_deployments() if one.name == name.partition("/")[2]]
            if found:
                break
            assert time.monotonic() < deadline, said(log)
            await asyncio.sleep(0.5)
        run = await client.create_flow_run_from_deployment(found[0].id, parameters=parameters)
        while not (state := run.state) or not state.is_final():
            assert time.monotonic() < deadline, said(log)
            await asyncio.sleep(0.5)
            run = await client.read_flow_run(run.id)
    return run


def said(log: Path) -> str:
    return log.read_text()


def rows(stack: Stack) -> list[tuple[Any, ...]]:
    return stack.postgres.execute("SELECT id FROM own.thing ORDER BY id", database=stack.warehouse.database)


async def test_a_flow_that_is_served_runs(
    pipeline: str, variables: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    script, log = tmp_path / "serve.py", tmp_path / "serve.log"
    script.write_text(SERVED.format(pipeline=pipeline))
    with running([sys.executable, str(script)], variables, log):
        run = await ran("replicate/own", None, log)
    assert run.state is not None
    assert run.state.is_completed(), log.read_text()
    assert rows(stack) == [(1,), (2,)]


async def test_a_worker_runs_deployments_as_processes(
    pipeline: str, variables: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    """The commands of docs/running/laptop.md."""
    template, log = tmp_path / "process.json", tmp_path / "worker.log"
    template.write_text(json.dumps(pool_template("process")))
    prefect = [str(BIN / "prefect"), "--no-prompt"]
    create = ["work-pool", "create", POOL, "--type", "process", "--base-job-template", str(template), "--overwrite"]
    release = {"MILLRACE_WORK_POOL": POOL, "MILLRACE_IMAGE_READY": "1", "MILLRACE_VERSION": "0"}
    for command in (create, ["deploy", "--name", "millrace.flows.replicate.replicate/stori"]):
        await asyncio.to_thread(done, [*prefect, *command], variables | release)
    with running([*prefect, "worker", "start", "--pool", POOL], variables, log):
        run = await ran("replicate/stori", {"request": {"pipeline": pipeline}}, log)
    assert run.state is not None
    assert run.state.is_completed(), log.read_text()
    assert rows(stack) == [(1,), (2,)]
