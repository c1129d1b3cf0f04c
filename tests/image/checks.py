"""``make test-image``: the image that MILLRACE_IMAGE names is what ECS should run. BUILDER, with its options, runs it.

By this name pytest does not collect it with the rest: it needs an image, and docker or podman.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.stack import Stack
from millrace.blocks.environment import VARIABLES

ROOT = Path(__file__).parents[2]
IMAGE, BUILDER = os.environ["MILLRACE_IMAGE"], tuple(os.environ["BUILDER"].split())
SIZE_LIMIT_BYTES = 1_200_000_000
"""What a task fetches before it starts grows unnoticed otherwise."""
USER = 10001
LOAD_FLOWS = """
import sys
from prefect.flows import load_flow_from_entrypoint
for entrypoint in sys.argv[1:]:
    load_flow_from_entrypoint(entrypoint)
    print(entrypoint)
"""
TRANSACTIONS, TRADES = 2_000, 500
# No limits above those of this machine: where it may not raise them, no container would start.
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


def _output(command: tuple[str, ...], given: str = "", environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, input=given, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def _inside(*command: str, given: str = "", environment: dict[str, str] | None = None, image: str = IMAGE) -> str:
    """Standard output of a command in a container; its variables' values are in no argument."""
    names = [f"--env={name}" for name in environment or {}]
    return _output(
        (*BUILDER, "run", "--rm", "--interactive", "--network=host", *LIMITS, *names, image, *command),
        given,
        environment,
    )


@cache
def told() -> dict[str, Any]:
    """What the image tells of itself."""
    script = (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(_inside("python", "-", given=script).splitlines()[-1])
    return found


@cache
def inspected() -> dict[str, Any]:
    """What the builder knows of it."""
    found: list[dict[str, Any]] = json.loads(_output((*BUILDER, "image", "inspect", IMAGE)))
    return found[0]


def _locked(file: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)(?:\[.*?\])?==", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_module_of_ours_is_there_and_imports() -> None:
    # The folders beside `millrace` are its packages by way of links, which rglob does not follow.
    folders = os.walk(ROOT / "millrace", followlinks=True)
    paths = [
        Path(folder, name).relative_to(ROOT) for folder, _, files in folders for name in files if name.endswith(".py")
    ]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths if path.suffix == ".py"}
    assert set(told()["modules"]) == names


def test_the_flow_of_every_deployment_loads() -> None:
    entrypoints = sorted(set(re.findall(r"entrypoint: (\S+)", (ROOT / "prefect.yaml").read_text())))
    assert entrypoints
    assert _inside("python", "-c", LOAD_FLOWS, *entrypoints).split() == entrypoints


def test_prefect_runs() -> None:
    locked = re.findall(r"^prefect==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert re.findall(r"^Version: +(\S+)", _inside("prefect", "version"), re.MULTILINE) == locked


def test_it_runs_as_nobody_in_particular() -> None:
    assert told()["user"] == USER
    assert told()["writable"] == {"code": False, "home": True, "root": False}


def test_nothing_of_development_is_inside() -> None:
    assert (told()["foreign"], told()["test_data"]) == ([], [])
    assert set(told()["distributions"]) <= _locked("requirements.txt") | {"millrace"}


def test_no_secret_is_inside() -> None:
    assert told()["suspicious"] == []
    secret = {variable.name for variable in VARIABLES if variable.secret}
    assert not secret & set(told()["environment"])
    history = _output((*BUILDER, "history", "--no-trunc", "--format={{.CreatedBy}}", IMAGE))
    assert "useradd" in history
    assert not [name for name in secret if name in history]


def test_it_is_compiled() -> None:
    assert told()["uncompiled"] == []


def test_it_says_what_it_is() -> None:
    labels = inspected()["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == os.environ["COMMIT"]
    version = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert [labels["org.opencontainers.image.version"]] == version


def test_the_worker_s_command_is_run_as_it_is() -> None:
    assert not inspected()["Config"].get("Entrypoint")


def test_it_is_not_larger_than_it_was() -> None:
    assert inspected()["Size"] < SIZE_LIMIT_BYTES


def test_a_thin_image_on_top_of_it_holds_a_project_of_ones_own() -> None:
    """That of docs/running/own-project.md: its pipeline is found and tested, and deployments may run it."""
    thin, name = f"{IMAGE}-shop", "shop.pipelines:pipeline"
    chroot = ("--isolation=chroot",) if "podman" in BUILDER[0] else ()
    project = str(ROOT / "examples" / "shop")
    _output((*BUILDER, "build", *chroot, "--build-arg", f"MILLRACE_IMAGE={IMAGE}", "--tag", thin, project))
    try:
        assert "orders: 2 rows, 2 rejected" in _inside("millrace", "test", name, image=thin)
        assert _inside("python", "-c", LOAD_FLOWS, "shop.flows.nightly", image=thin).split() == ["shop.flows.nightly"]
        allowed = _inside(
            "python", "-c", "from millrace.flows.parameters import allowed_names; print(allowed_names())", image=thin
        )
        assert name in allowed
    finally:
        _output((*BUILDER, "image", "rm", thin))


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The variables of a whole stack beside the container, with a Prefect server."""
    with Stack(prefect=True) as stack:
        yield stack.environment()


def test_it_replicates_the_main_job(environment: dict[str, str]) -> None:
    assert "created" in _inside("python", "-m", "millrace.blocks.bootstrap", environment=environment)
    seed = ("millrace", "seed", "stori", "--rows", str(TRANSACTIONS), "--documents", str(TRADES), "--json")
    _inside(*seed, environment=environment)
    report = json.loads(_inside("millrace", "run", "stori", "--json", environment=environment))
    inserted = {stream["stream"]: stream["inserted"] for stream in report["streams"]}
    assert inserted == {"transactions": TRANSACTIONS, "trades": TRADES}
