"""The command `millrace` as a new user types it: results on stdout, exit codes, wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.prefect_server import PrefectServer
from tests.conftest import unique

ROOT = Path(__file__).parents[2]


def millrace(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )


def test_help_names_the_commands() -> None:
    done = millrace("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("run", "plan", "sweep", "replay", "rejects", "seed"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nope"), "there is no pipeline 'nope'. Remedy: choose from events, stocks, stori"),
        (("run", "stori", "--stream", "nope"), "choose from transactions, trades"),
        (("run", "absent.py:pipeline"), "there is no such file"),
        (("run", "README.md:pipeline"), "this is no Python module"),
        (("run", "pipelines/stori.py:absent"), "'absent' is not a Pipeline"),
        (("run", "stori", "--from", "2026-01-02", "--to", "2026-01-01"), "the window ends before it starts"),
        (("sweep", "stori", "--stream", "nope"), "choose from transactions, trades"),
        (("rejects", "nope"), "there is no pipeline 'nope'"),
        (("seed", "events"), "there is no sample data for 'events'"),
    ],
)
def test_a_wrong_request_is_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    done = millrace(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def environment_of_a_user(bootstrapped: dict[str, str], prefect_server: PrefectServer) -> dict[str, str]:
    """What `make up` prints."""
    return bootstrapped | {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}


def test_run_plan_and_seed(environment_of_a_user: dict[str, str]) -> None:
    """Seed, plan, run with JSON, and a run that fails for a reason in the source."""
    environment = environment_of_a_user | {"PREFECT_LOGGING_LEVEL": "ERROR"}
    seeded = millrace("seed", "stori", "--rows", "50", "--documents", "20", environment=environment)
    assert seeded.returncode == 0, seeded.stderr
    assert "txns.csv" in seeded.stdout
    planned = millrace("plan", "stori", "--stream", "transactions", environment=environment)
    assert planned.returncode == 0, planned.stderr
    assert "create table stori.transactions" in planned.stdout
    done = millrace("run", "stori", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {one["stream"]: one["inserted"] for one in report["streams"]} == {"transactions": 50, "trades": 20}
    swept = millrace("sweep", "stori", "--json", environment=environment)
    assert swept.returncode == 0, swept.stderr
    assert {one["kind"]: one["deleted"] for one in json.loads(swept.stdout)["streams"]} == {"sweep": 0}
    rejected = millrace("rejects", "stori", environment=environment)
    assert (rejected.returncode, rejected.stdout) == (0, "No rejected rows are open.\n")
    replayed = millrace("replay", "stori", "--json", environment=environment)
    assert replayed.returncode == 0, replayed.stderr
    assert {one["read"] for one in json.loads(replayed.stdout)["streams"]} == {0}


def test_a_missing_table_is_named_without_a_traceback(environment_of_a_user: dict[str, str], tmp_path: Path) -> None:
    name = unique("absent")
    module = tmp_path / "shop.py"
    module.write_text(
        "from millrace import Incremental, Pipeline, Stream\n"
        f"shop = Pipeline('shop', [Stream('{name}', source='postgres:public.{name}', key='id', "
        "capture=Incremental('changed'))])\n"
    )
    done = millrace("run", f"{module}:shop", environment=environment_of_a_user)
    assert done.returncode == 2
    assert f"stream {name} (postgres:public.{name})" in done.stderr
    assert "\nmillrace: stream" in done.stderr
    assert "Remedy:" in done.stderr
