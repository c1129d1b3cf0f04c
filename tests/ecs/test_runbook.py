"""Every command that docs/runbook.md marks as bash, in its order, on the stack of this machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from uuid import UUID

import pytest
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.testing.cli import CycloptsCliRunner
from typer.testing import CliRunner

from infra import work_pool
from infra.deploy import application
from tests.ecs.chain import Chain

TEXT = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
# This stack has no MySQL: its secret has no value, and `status` says so.
EXIT_CODES = {"python -m infra.deploy status --env prod": 1}


def invoke(command: str, variables: Mapping[str, str], environment: Mapping[str, str]) -> tuple[int, str]:
    """In this process, which has imported everything; what a shell would make of it. Exit code, and what was said."""
    words = shlex.split(Template(command).substitute(variables))
    assigned = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word) and word is not words[-1])
    program, *arguments = words[len(assigned) :]
    if program == "prefect":
        done = CycloptsCliRunner().invoke(arguments)
        return done.exit_code, done.output
    assert [program, *arguments[:2]] == ["python", "-m", "infra.deploy"]
    local = ["local" if word == "prod" else word for word in arguments[2:]]
    told = CliRunner().invoke(application, local, env={**environment, **assigned})
    return told.exit_code, told.output


@contextmanager
def arranged(chain: Chain, command: str) -> Iterator[dict[str, str]]:
    """What the command is about: a run that failed, one at work, another value; and afterwards, what became of it."""
    if "$RUNNING" in command:
        with chain.ends.held_source():
            running = chain.run()
            chain.wait_until_held(running)
            yield {"RUNNING": str(running)}
        assert chain.state_of(running).name == "Cancelled"
    elif "$RUN" in command:
        chain.ends.change()
        with chain.ends.refusing_target("stori.trades"):
            failed = chain.run()
            assert chain.state_of(failed).name == "Failed"
        yield {"RUN": str(failed)}
        assert chain.state_of(failed).name == "Completed"
        assert chain.flow_run(failed).run_count == 2
    elif "$NEW_URL" in command:
        new = chain.stack.environment()["SOURCE_POSTGRES_URL"] + "?application_name=rotated"
        yield {"NEW_URL": new}
        secret = chain.stack.aws.client("secretsmanager").get_secret_value(
            SecretId="millrace/local/SOURCE_POSTGRES_URL"
        )
        assert secret["SecretString"] == new
    elif "schedule resume" in command:
        pool(chain, is_paused=True)
        yield {}
        for deployment in chain.client.read_deployments():
            for schedule in deployment.schedules:
                assert schedule.active
                chain.client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        pool(chain, is_paused=False)
    else:
        yield {}


def pool(chain: Chain, *, is_paused: bool) -> None:
    """So that a schedule starts nothing, or again what is asked for."""
    chain.client.update_work_pool(work_pool.NAME, WorkPoolUpdate(is_paused=is_paused))


@pytest.mark.parametrize("command", COMMANDS)
def test_it_does_what_it_says(chain: Chain, command: str) -> None:
    with arranged(chain, command) as variables:
        code, said = invoke(command, variables, chain.stack.environment())
        assert code == EXIT_CODES.get(command, 0), said
    if started := re.search(r"UUID: (\S+)", said):
        assert chain.state_of(UUID(started[1])).name == "Completed"


def test_there_are_commands_for_every_day() -> None:
    wanted = (
        "infra.deploy up",
        "deployment run",
        "flow-run retry",
        "flow-run cancel",
        "replicate/backfill",
        "--set-secrets",
    )
    assert [words for words in wanted if not any(words in command for command in COMMANDS)] == []
